//! The kinds the API server has, found by discovery and shared by those who work on all of them.

use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use client::kube::core::{ApiResource, GroupVersion};
use client::kube::{self, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A kind, in the one version in which it is worked on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    verbs: Vec<String>,
}

impl Resource {
    /// A namespaced kind for tests.
    #[cfg(test)]
    pub(crate) fn sample(plural: &str) -> Self {
        let api = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: plural.to_owned(),
            plural: plural.to_owned(),
        };
        Self { api, namespaced: true, verbs: Vec::new() }
    }

    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|has| has == verb)
    }
}

/// What discovery found, and what it could not.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) resources: Vec<Arc<Resource>>,
    /// Group versions that could not be read, with the reason.
    pub(crate) failures: Vec<(String, String)>,
}

/// Asks the API server for its kinds, and remembers the answer for a moment.
pub(crate) struct Discovery {
    client: Client,
    last: Mutex<Option<(Instant, Arc<Found>)>>,
}

impl Discovery {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, last: Mutex::default() }
    }

    /// The kinds as they were at most `age` ago.
    pub(crate) async fn within(&self, age: Duration) -> kube::Result<Arc<Found>> {
        // Held during the request on purpose: whoever else asks meanwhile wants the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < age
        {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(discover(&self.client).await?);
        *last = Some((Instant::now(), Arc::clone(&found)));
        Ok(found)
    }
}

async fn discover(client: &Client) -> kube::Result<Found> {
    let mut found = Found::default();
    for version in client.list_core_api_versions().await?.versions {
        let answer = client.list_core_api_resources(&version).await;
        found.take("", &version, answer);
    }
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.as_ref().map(|version| version.version.clone());
        let mut versions: Vec<_> = group.versions.iter().map(|version| version.version.clone()).collect();
        versions.sort_by_key(|version| Some(version) != preferred.as_ref());
        for version in versions {
            let answer = client.list_api_group_resources(&format!("{}/{version}", group.name)).await;
            found.take(&group.name, &version, answer);
        }
    }
    Ok(found)
}

impl Found {
    fn take(&mut self, group: &str, version: &str, answer: kube::Result<APIResourceList>) {
        let list = match answer {
            Ok(list) => list,
            Err(error) => {
                let name = GroupVersion::gv(group, version).api_version();
                return self.failures.push((name, error.to_string()));
            }
        };
        for resource in list.resources {
            let known = |has: &Arc<Resource>| has.api.group == group && has.api.plural == resource.name;
            // A slash: a part of a resource, such as pods/log. Known: in a version that is preferred.
            if resource.name.contains('/') || self.resources.iter().any(known) {
                continue;
            }
            let api = ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                api_version: GroupVersion::gv(group, version).api_version(),
                kind: resource.kind,
                plural: resource.name,
            };
            let resource = Resource { api, namespaced: resource.namespaced, verbs: resource.verbs };
            self.resources.push(Arc::new(resource));
        }
    }

    /// The kind that an owner reference names, in whatever version it is worked on.
    pub(crate) fn kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|has| has.api.group == group && has.api.kind == kind)
    }
}
