//! Pods in the middle of things, and what is reported of them.

use serde_json::{Value, json};

use super::super::observed::Sandbox;
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn seen(name: &str, attempt: u32, state: State) -> Seen {
    Seen {
        id: format!("{name}-{attempt}"),
        name: name.to_owned(),
        attempt,
        sandbox: "s".to_owned(),
        state,
        image: String::new(),
        image_id: "sha256:1".to_owned(),
        hash: None,
        pid: None,
        log: String::new(),
    }
}

fn running() -> State {
    State::Running { started: at(10) }
}

fn exited(code: i32) -> State {
    let reason = if code == 0 { "Completed" } else { "Error" };
    State::Exited(Exit {
        code,
        reason: reason.to_owned(),
        message: String::new(),
        started: at(10),
        finished: at(20),
    })
}

struct Case {
    spec: Value,
    runs: Vec<Seen>,
    waiting: Option<(&'static str, &'static str)>,
    ready: bool,
    /// Phase, ready condition, and each container as `name:state:restarts`.
    expected: (&'static str, &'static str, &'static str),
}

fn summary(status: &PodStatus) -> (String, String, String) {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let containers: Vec<String> = lists
        .into_iter()
        .flatten()
        .flatten()
        .map(|container| {
            let state = container.state.clone().unwrap_or_default();
            let words = match (state.waiting, state.running, state.terminated) {
                (Some(waiting), _, _) => waiting.reason.unwrap_or_default(),
                (_, Some(_), _) if container.ready => "ready".to_owned(),
                (_, Some(_), _) => "running".to_owned(),
                (_, _, ended) => ended.and_then(|ended| ended.reason).unwrap_or_default(),
            };
            format!("{}:{words}:{}", container.name, container.restart_count)
        })
        .collect();
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready").unwrap();
    let words = ready.reason.clone().unwrap_or_else(|| ready.status.clone());
    (status.phase.clone().unwrap(), words, containers.join(" "))
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn cases() -> Vec<Case> {
    let one = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "web"}]});
    let probed = json!({"containers": [{"name": "web", "readinessProbe": {}}]});
    let init = json!({"initContainers": [{"name": "a"}], "containers": [{"name": "web"}]});
    let crash = Some(("web", "CrashLoopBackOff"));
    let case = |spec: &Value, runs: Vec<Seen>, waiting, ready, expected| Case {
        spec: spec.clone(),
        runs,
        waiting,
        ready,
        expected,
    };
    vec![
        case(
            &one("Always"),
            vec![],
            None,
            false,
            ("Pending", "ContainersNotReady", "web:ContainerCreating:0"),
        ),
        case(
            &one("Always"),
            vec![seen("web", 0, running())],
            None,
            false,
            ("Running", "True", "web:ready:0"),
        ),
        case(
            &probed,
            vec![seen("web", 0, running())],
            None,
            false,
            ("Running", "ContainersNotReady", "web:running:0"),
        ),
        case(&probed, vec![seen("web", 0, running())], None, true, ("Running", "True", "web:ready:0")),
        case(
            &one("Always"),
            vec![seen("web", 3, exited(1))],
            crash,
            false,
            ("Running", "ContainersNotReady", "web:CrashLoopBackOff:3"),
        ),
        case(
            &one("Never"),
            vec![seen("web", 0, exited(0))],
            None,
            false,
            ("Succeeded", "PodCompleted", "web:Completed:0"),
        ),
        case(
            &one("Never"),
            vec![seen("web", 0, exited(2))],
            None,
            false,
            ("Failed", "PodFailed", "web:Error:0"),
        ),
        case(
            &one("OnFailure"),
            vec![seen("web", 1, exited(2))],
            crash,
            false,
            ("Running", "ContainersNotReady", "web:CrashLoopBackOff:1"),
        ),
        case(
            &one("Always"),
            vec![],
            Some(("web", "ErrImagePull")),
            false,
            ("Pending", "ContainersNotReady", "web:ErrImagePull:0"),
        ),
        case(
            &init,
            vec![seen("a", 0, running())],
            None,
            false,
            ("Pending", "ContainersNotReady", "a:running:0 web:PodInitializing:0"),
        ),
        case(
            &init,
            vec![seen("web", 0, running()), seen("a", 0, exited(0))],
            None,
            false,
            ("Running", "True", "a:Completed:0 web:ready:0"),
        ),
    ]
}

#[test]
fn stages_of_life() {
    for case in cases() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": case.spec})).unwrap();
        let sandbox = Sandbox {
            id: "s".to_owned(),
            attempt: 0,
            ready: true,
            created: at(0),
            ips: vec!["10.42.0.2".parse().unwrap()],
        };
        let observed = Observed { sandboxes: vec![sandbox], containers: case.runs };
        let health = Health { id: "web-0".to_owned(), started: true, ready: case.ready, ..Health::default() };
        let waiting = case.waiting.map(|(name, reason)| {
            (name.to_owned(), Waiting { reason: reason.to_owned(), message: String::new() })
        });
        let status = status(&Input {
            pod: &pod,
            before: None,
            observed: &observed,
            probes: &[("web".to_owned(), health)].into(),
            waiting: &waiting.into_iter().collect(),
            verdict: None,
            ending: false,
            runtime: "containerd",
            host_ips: &["192.0.2.1".parse().unwrap()],
            now: at(100),
        });
        let found = summary(&status);
        let (phase, ready, containers) = case.expected;
        assert_eq!(found, (phase.to_owned(), ready.to_owned(), containers.to_owned()), "{}", case.spec);
        assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.2"));
    }
}

#[test]
fn a_report_of_the_same_thing_is_the_same() {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "web"}]}}))
            .unwrap();
    let observed = Observed { sandboxes: vec![], containers: vec![seen("web", 0, running())] };
    let report = |before: Option<&PodStatus>, now: i64| {
        status(&Input {
            pod: &pod,
            before,
            observed: &observed,
            probes: &BTreeMap::new(),
            waiting: &BTreeMap::new(),
            verdict: None,
            ending: false,
            runtime: "containerd",
            host_ips: &[],
            now: at(now),
        })
    };
    let first = report(None, 100);
    let echo: PodStatus = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
    assert_eq!(report(Some(&echo), 200), first);
}

#[test]
fn what_was_removed_stays_known() {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "web"}]}}))
            .unwrap();
    let report = |observed: &Observed, before: Option<&PodStatus>| {
        status(&Input {
            pod: &pod,
            before,
            observed,
            probes: &BTreeMap::new(),
            waiting: &BTreeMap::new(),
            verdict: None,
            ending: true,
            runtime: "containerd",
            host_ips: &[],
            now: at(100),
        })
    };
    let ended = Observed { sandboxes: vec![], containers: vec![seen("web", 2, exited(0))] };
    let before = report(&ended, None);
    assert_eq!(
        summary(&before),
        ("Succeeded".to_owned(), "PodCompleted".to_owned(), "web:Completed:2".to_owned())
    );
    assert_eq!(report(&Observed::default(), Some(&before)), before);
}
