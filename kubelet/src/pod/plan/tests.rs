//! Pods in the middle of things, and what is to be done about them.

use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec}))
        .unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// `s0 ready`, `s0 dead`, `web#1 running`, `web#0 exited 3`, `web#0 created`, each optionally ` in s1`.
fn observed(pod: &Pod, lines: &[&str]) -> Observed {
    let mut out = Observed::default();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["ready" | "dead"] = words[1..] {
            out.sandboxes.push(Sandbox {
                id: words[0].to_owned(),
                attempt: words[0][1..].parse().unwrap(),
                ready: words[1] == "ready",
                created: at(0),
                ips: vec!["10.42.0.2".parse().unwrap()],
            });
            continue;
        }
        let (name, attempt) = words[0].split_once('#').unwrap();
        let state = match words[1] {
            "running" => State::Running { started: at(0) },
            "created" => State::Created,
            "exited" => State::Exited(Exit {
                code: words[2].parse().unwrap(),
                reason: String::new(),
                message: String::new(),
                started: at(0),
                finished: at(100),
            }),
            _ => State::Unknown,
        };
        let sandbox = words.iter().position(|word| *word == "in").map_or("s0", |index| words[index + 1]);
        out.containers.push(Seen {
            id: words[0].to_owned(),
            name: name.to_owned(),
            attempt: attempt.parse().unwrap(),
            sandbox: sandbox.to_owned(),
            state,
            image: String::new(),
            image_id: String::new(),
            hash: member(&spec(pod), name).map(|member| hash(&member.container)),
            pid: None,
            log: String::new(),
        });
    }
    out
}

fn member<'a>(spec: &'a PodSpec, name: &str) -> Option<Member<'a>> {
    super::super::member(spec, name)
}

fn words(action: &Action) -> String {
    match action {
        Action::Reset { sandboxes, containers } => {
            format!("reset {} {}", sandboxes.join(","), containers.join(","))
        }
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::Start { name, attempt, .. } => format!("start {name}#{attempt}"),
        Action::Stop { id, .. } => format!("stop {id}"),
        Action::Remove { id } | Action::RemoveSandbox { id } => format!("remove {id}"),
    }
}

fn check(spec: &Value, seen: &[&str], expected: &[&str]) {
    let pod = pod(spec.clone());
    let observed = observed(&pod, seen);
    let plan = plan(&Input {
        pod: &pod,
        observed: &observed,
        probes: &BTreeMap::new(),
        backoff: &Backoff::default(),
        held: &BTreeMap::new(),
        now: at(101),
    });
    let actions: Vec<String> = plan.actions.iter().map(words).collect();
    assert_eq!(actions, expected, "{seen:?} of {spec}");
}

#[test]
fn what_each_stage_of_life_calls_for() {
    let one = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "web"}]});
    let full = json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "a"}, {"name": "side", "restartPolicy": "Always"}, {"name": "b"},
        ],
        "containers": [{"name": "web"}, {"name": "api"}],
    });
    let always = one("Always");
    let failing = one("OnFailure");
    let never = one("Never");
    let cases: &[(&Value, &[&str], &[&str])] = &[
        (&always, &[], &["sandbox 0"]),
        (&always, &["s0 ready"], &["start web#0"]),
        (&always, &["s0 ready", "web#0 running"], &[]),
        (&always, &["s0 ready", "web#0 created"], &["remove web#0", "start web#0"]),
        (&always, &["s0 ready", "web#0 unknown"], &["stop web#0"]),
        (&always, &["s0 ready", "web#0 exited 0"], &["start web#1"]),
        (&failing, &["s0 ready", "web#0 exited 0"], &[]),
        (&failing, &["s0 ready", "web#0 exited 1"], &["start web#1"]),
        (&never, &["s0 ready", "web#0 exited 1"], &[]),
        // Dead runs are kept two deep.
        (&always, &["s0 ready", "web#2 running", "web#1 exited 1", "web#0 exited 1"], &["remove web#0"]),
        // A sandbox that died is replaced, unless nothing shall run in it.
        (&always, &["s0 dead", "web#0 exited 137"], &["sandbox 1"]),
        (&always, &["s1 ready", "s0 dead", "web#0 exited 137"], &["start web#1"]),
        (&always, &["s0 dead", "web#0 running"], &["reset  web#0", "sandbox 1"]),
        (&always, &["s1 ready", "s0 dead", "web#1 running in s1"], &["remove s0"]),
        (&never, &["s0 dead", "web#0 exited 137"], &[]),
        (&failing, &["s0 dead", "web#0 exited 0"], &[]),
        // Init containers one by one, sidecars as soon as they run.
        (&full, &["s0 ready"], &["start a#0"]),
        (&full, &["s0 ready", "a#0 running"], &[]),
        (&full, &["s0 ready", "a#0 exited 1"], &[]),
        (&full, &["s0 ready", "a#0 exited 0"], &["start side#0"]),
        (&full, &["s0 ready", "side#0 running", "a#0 exited 0"], &["start b#0"]),
        (
            &full,
            &["s0 ready", "b#0 exited 0", "side#0 running", "a#0 exited 0"],
            &["start web#0", "start api#0"],
        ),
        // Once under way, a sidecar comes back and finished init containers stay finished.
        (
            &full,
            &["s0 ready", "api#0 running", "web#0 running", "side#0 exited 1", "a#0 exited 0"],
            &["start side#1"],
        ),
    ];
    for (spec, seen, expected) in cases {
        check(spec, seen, expected);
    }
}

#[test]
fn a_crashing_container_waits_with_upstreams_message() {
    let pod = pod(json!({"containers": [{"name": "web"}]}));
    let observed = observed(&pod, &["s0 ready", "web#1 exited 1", "web#0 exited 1"]);
    let mut backoff = Backoff::default();
    backoff.grow(&backoff_id(&spec(&pod).containers[0]), at(99), at(99));
    let mut input = Input {
        pod: &pod,
        observed: &observed,
        probes: &BTreeMap::new(),
        backoff: &backoff,
        held: &BTreeMap::new(),
        now: at(101),
    };
    let waiting = plan(&input);
    assert_eq!(waiting.actions, []);
    assert_eq!(waiting.wake, Some(at(110)));
    assert_eq!(waiting.crashing["web"], "back-off 10s restarting failed container=web pod=p_d(u)");
    input.now = at(110);
    assert_eq!(plan(&input).actions.iter().map(words).collect::<Vec<_>>(), ["start web#2"]);
}

#[test]
fn probes_hold_back_and_kill() {
    let pod = pod(json!({
        "initContainers": [{"name": "side", "restartPolicy": "Always", "startupProbe": {}}],
        "containers": [{"name": "web"}],
    }));
    let seen = observed(&pod, &["s0 ready", "side#0 running"]);
    let health = |started, failed: Option<&str>| Health {
        id: "side#0".to_owned(),
        started,
        failed: failed.map(str::to_owned),
        ..Health::default()
    };
    let cases: &[(Health, &[&str])] = &[
        (health(false, None), &[]),
        (health(true, None), &["start web#0"]),
        (health(true, Some("no")), &["stop side#0"]),
        // Of an earlier run: says nothing about this one.
        (Health { id: "old".to_owned(), ..health(true, Some("no")) }, &[]),
    ];
    for (health, expected) in cases {
        let probes = BTreeMap::from([("side".to_owned(), health.clone())]);
        let (backoff, held) = (Backoff::default(), BTreeMap::new());
        let input =
            Input { pod: &pod, observed: &seen, probes: &probes, backoff: &backoff, held: &held, now: at(9) };
        assert_eq!(plan(&input).actions.iter().map(words).collect::<Vec<_>>(), *expected, "{health:?}");
    }
}

#[test]
fn sidecars_leave_last_and_in_reverse() {
    let pod = pod(json!({
        "initContainers": [{"name": "x", "restartPolicy": "Always"}, {"name": "y", "restartPolicy": "Always"}],
        "containers": [{"name": "web"}, {"name": "api"}],
    }));
    let cases: &[(&[&str], &[&str])] = &[
        (&["x#0 running", "y#0 running", "web#0 running", "api#0 running"], &["web#0", "api#0"]),
        (&["x#0 running", "y#0 running", "web#0 exited 0"], &["y#0"]),
        (&["x#0 running", "y#0 exited 0"], &["x#0"]),
        (&["x#0 exited 0"], &[]),
    ];
    for (seen, expected) in cases {
        assert_eq!(farewell(&spec(&pod), &observed(&pod, seen)), *expected, "{seen:?}");
    }
}
