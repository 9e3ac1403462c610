//! A server that starts, loses daemons and its own life, and stops.

use client::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use client::kube::Api;
use client::kube::api::{ListParams, PostParams};
use rustix::process::Signal;

use crate::node::{Place, Supervisor, administrator};

const DAEMONS: [&str; 4] = ["datastore", "apiserver", "controller-manager", "scheduler"];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn daemons_and_the_supervisor_come_back_and_nothing_is_lost() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let place = Place::new();
    let supervisor = Supervisor::ready(place.server(&[]));
    let client = administrator(&place.kubeconfig()).await;
    let namespaces = Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    assert!(
        namespaces.items.iter().any(|namespace| namespace.metadata.name.as_deref() == Some("kube-system"))
    );
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut map = ConfigMap::default();
    map.metadata.name = Some("kept".to_owned());
    maps.create(&PostParams::default(), &map).await.unwrap();
    for daemon in DAEMONS {
        let before = place.pid(daemon);
        place.kill(daemon);
        supervisor.says(&format!("{daemon} was ended by signal 9"));
        supervisor.says(&format!("{daemon} is ready"));
        assert_ne!(place.pid(daemon), before, "{daemon}");
        maps.get("kept").await.unwrap();
    }
    supervisor.signal(Signal::KILL);
    supervisor.ended();
    let supervisor = Supervisor::ready(place.server(&[]));
    maps.get("kept").await.unwrap();
    supervisor.signal(Signal::TERM);
    assert!(supervisor.ended().success());
    for daemon in DAEMONS {
        assert!(!place.runs(daemon), "{daemon} outlives the supervisor");
    }
}
