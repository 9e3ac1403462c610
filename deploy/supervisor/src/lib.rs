//! The supervisor: certificates, tokens, join; starts the others in order and keeps them alive.
