//! Namespaces.

use client::k8s_openapi::api::core::v1::Namespace;

/// Whether objects may still be made in a namespace.
pub(crate) fn is_open(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
}
