//! Black-box tests: kubectl and HTTP only.
