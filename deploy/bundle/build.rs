//! Links the executable at a fixed address: see `deploy/decisions/0007-executables-at-a-fixed-address.md`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-no-pie");
}
