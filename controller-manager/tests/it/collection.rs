//! What is owned goes with its owner, as was asked; and a namespace goes with all that is in it.

use client::k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use client::kube::Api;
use client::kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{self, Cluster};

async fn owner(cluster: &Cluster) -> ConfigMap {
    cluster.make(json!({"metadata": {"name": "owner"}})).await
}

fn owned_by(name: &str, owners: &[(&str, &str)], blocking: bool) -> Value {
    let owners: Vec<_> = owners
        .iter()
        .map(|(name, uid)| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": blocking})
        })
        .collect();
    json!({"metadata": {"name": name, "ownerReferences": owners}})
}

async fn exists(cluster: &Cluster, name: &str) -> bool {
    cluster.of::<Secret>().get_opt(name).await.unwrap().is_some()
}

#[tokio::test]
async fn cascades() {
    // How the owner is deleted, and whether the dependents outlive it.
    let cases = [
        ("background", DeleteParams::background(), false),
        ("foreground", DeleteParams::foreground(), false),
        ("orphan", DeleteParams::orphan(), true),
    ];
    let cluster = cluster::start("garbage-collector", &[]).await;
    for (name, params, outlives) in cases {
        let uid = owner(&cluster).await.metadata.uid.unwrap();
        cluster.make::<Secret>(owned_by(name, &[("owner", &uid)], true)).await;
        cluster.of::<ConfigMap>().delete("owner", &params).await.unwrap();
        cluster
            .until(name, || async {
                let owner = cluster.of::<ConfigMap>().get_opt("owner").await.unwrap();
                let dependent = cluster.of::<Secret>().get_opt(name).await.unwrap();
                let free =
                    |secret: &Secret| secret.metadata.owner_references.iter().flatten().next().is_none();
                owner.is_none()
                    && if outlives { dependent.is_some_and(|d| free(&d)) } else { dependent.is_none() }
            })
            .await;
    }
}

#[tokio::test]
async fn one_of_two_owners_and_owners_that_never_were() {
    let cluster = cluster::start("garbage-collector", &[]).await;
    let uid = owner(&cluster).await.metadata.uid.unwrap();
    let never = "0b5e2f3c-0000-4000-8000-000000000000";
    cluster.make::<Secret>(owned_by("kept", &[("owner", &uid), ("never", never)], false)).await;
    cluster.make::<Secret>(owned_by("lost", &[("never", never)], false)).await;
    cluster.until("the lost one goes", || async { !exists(&cluster, "lost").await }).await;
    cluster
        .until("the kept one has one owner", || async {
            let kept = cluster.of::<Secret>().get("kept").await.unwrap();
            kept.metadata.owner_references.unwrap_or_default().len() == 1
        })
        .await;
}

#[tokio::test]
async fn a_namespace_is_emptied_and_goes() {
    let cluster = cluster::start("namespace,serviceaccount", &[]).await;
    let namespaces: Api<Namespace> = cluster.all();
    let namespace: Namespace = serde_json::from_value(
        json!({"metadata": {"name": "doomed"}, "spec": {"finalizers": ["kubernetes"]}}),
    )
    .unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "doomed");
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    maps.create(&PostParams::default(), &serde_json::from_value(held).unwrap()).await.unwrap();
    namespaces.delete("doomed", &DeleteParams::default()).await.unwrap();
    let remaining = || async {
        let namespace = namespaces.get("doomed").await.unwrap();
        let conditions = namespace.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| {
            condition.type_ == "NamespaceFinalizersRemaining"
                && condition.message.as_deref().is_some_and(|text| text.contains("example.com/hold"))
        })
    };
    cluster.until("what holds it is named", remaining).await;
    let free = client::kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &Default::default(), &free).await.unwrap();
    cluster.until("it goes", || async { namespaces.get_opt("doomed").await.unwrap().is_none() }).await;
}
