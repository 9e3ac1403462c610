//! What a real kube-apiserver 1.36 answered, replayed: every difference is tolerated for a reason that stands beside
//! it in `golden/tolerated.json`, or fails.
#![expect(clippy::print_stdout, reason = "a test says how much it looked at, and why it looked at nothing")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apiserver::Settings;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::Cluster;
use tokio::time::Instant;

mod client;
mod compare;
mod openapi;
mod wire;

use client::Client;
use compare::{ABSENT, Bound, Difference, compare, fits, matches, substitute};

/// How long a step that the recorder had to repeat may take to come right: caches here are milliseconds behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often such a step is tried.
const LOOK: Duration = Duration::from_millis(20);

/// How many scenarios of an area run at once: many wait for a watch to end.
const AT_ONCE: usize = 4;

/// How many differences of one scenario are shown.
const SHOWN: usize = 5;

#[derive(Deserialize)]
struct Scenario {
    name: String,
    #[serde(default = "yes")]
    namespace: bool,
    #[serde(default)]
    loose: BTreeMap<String, String>,
    steps: Vec<Step>,
}

impl Scenario {
    /// The step that a difference is in.
    fn step(&self, path: &str) -> Option<&Step> {
        self.steps.get(path.split('/').nth(2)?.parse::<usize>().ok()?)
    }
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Step {
    #[serde(rename = "as")]
    user: Option<String>,
    method: String,
    path: String,
    query: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    retry: f64,
    #[serde(default)]
    watch: bool,
    #[serde(default)]
    during: Vec<Step>,
    expect: Expected,
}

#[derive(Deserialize)]
struct Expected {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    events: Option<Value>,
}

/// What may differ.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tolerated {
    /// Whole areas that are not replayed.
    later: Vec<Area>,
    differences: Vec<Pattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    area: String,
    #[expect(dead_code, reason = "for readers of the file; that it is there is checked")]
    reason: String,
}

/// Patterns of what may differ.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    #[serde(default = "anything")]
    area: String,
    #[serde(default = "anything")]
    scenario: String,
    #[serde(default = "anything")]
    path: String,
    /// The steps it is tolerated in; all where there are none.
    #[serde(default)]
    steps: Vec<usize>,
    /// Method, path and media type of the body.
    #[serde(default = "anything")]
    request: String,
    /// What is recorded, as JSON.
    #[serde(default = "anything")]
    expected: String,
    #[expect(dead_code, reason = "for readers of the file; that it is there is checked")]
    reason: String,
}

impl Tolerated {
    fn covers(&self, area: &str, scenario: &Scenario, difference: &Difference) -> bool {
        let request = scenario.step(&difference.path).map_or_else(String::new, |step| {
            let media_type = step.headers.get("Content-Type").and_then(Option::as_deref);
            format!("{} {} {}", step.method, step.path, media_type.unwrap_or_default())
        });
        let expected = difference.expected.to_string();
        let place = difference.path.split('/').nth(2).and_then(|place| place.parse().ok());
        self.differences.iter().any(|one| {
            fits(&one.area, area)
                && fits(&one.scenario, &scenario.name)
                && fits(&one.path, &difference.path)
                && (one.steps.is_empty() || one.steps.iter().any(|step| Some(*step) == place))
                && fits(&one.request, &request)
                && fits(&one.expected, &expected)
        })
    }
}

fn anything() -> String {
    "*".to_owned()
}

/// The folder with what a real server answered, if it is there.
fn recorded() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("ISOPOD_SHARED").map_or(beside, PathBuf::from);
    let golden = shared.join("reference/golden");
    if golden.is_dir() {
        return Some(golden);
    }
    println!("skipped: there is no {}; set ISOPOD_SHARED", golden.display());
    None
}

fn tolerated() -> Tolerated {
    serde_json::from_str(include_str!("golden/tolerated.json")).unwrap()
}

fn scenarios(area: &str) -> Vec<Scenario> {
    let Some(golden) = recorded() else { return Vec::new() };
    let files = std::fs::read_dir(golden.join("scenarios").join(area)).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()).collect()
}

/// A key for tokens of service accounts. The recorded server signed with RSA, which no library of ours makes keys for.
fn signing_key() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        let made = std::process::Command::new("openssl").args(["genrsa", "2048"]).output().unwrap();
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        made.stdout
    })
}

/// A server as the recorded one was started, with keys of its own.
async fn start(folder: &Path) -> Cluster {
    let key = folder.join("service.key");
    std::fs::write(&key, signing_key()).unwrap();
    let tokens = folder.join("tokens.csv");
    std::fs::write(&tokens, "admin,admin,u1,\"system:masters\"\nalice,alice,u2\nbob,bob,u3\n").unwrap();
    let line = [
        "--etcd-servers=memory:".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        "--secure-port=0".to_owned(),
        "--tls-cert-file=none".to_owned(),
        "--tls-private-key-file=none".to_owned(),
        "--allow-privileged".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--service-cluster-ip-range=10.43.0.0/16".to_owned(),
        format!("--token-auth-file={}", tokens.display()),
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
    ];
    let (settings, _, _) = daemon::flag::parse::<Settings>(&line).unwrap();
    testkit::start_with(settings, Arc::new(store::memory::Memory::new())).await
}

/// Replays the scenarios of one area, each against a server of its own.
async fn replay(area: &str) {
    let tolerated = &tolerated();
    let all = scenarios(area);
    let steps: usize = all.iter().map(|scenario| scenario.steps.len()).sum();
    let outcomes: Vec<(usize, Option<String>)> = futures::stream::iter(&all)
        .map(|scenario| async move {
            let folder = tempfile::tempdir().unwrap();
            let cluster = start(folder.path()).await;
            let mut found = run(&cluster, scenario).await;
            let before = found.len();
            found.retain(|difference| !tolerated.covers(area, scenario, difference));
            report(area, &scenario.name, &found);
            (before - found.len(), (!found.is_empty()).then(|| describe(scenario, &found)))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let excused: usize = outcomes.iter().map(|(excused, _)| excused).sum();
    let failed: Vec<&str> = outcomes.iter().filter_map(|(_, failed)| failed.as_deref()).collect();
    println!("{area}: {} scenarios, {steps} steps, {excused} differences tolerated", all.len());
    assert!(failed.is_empty(), "{} of {} scenarios differ:\n{}", failed.len(), all.len(), failed.join("\n"));
}

/// Appends what differs to the file that the environment names, for whoever works on it.
fn report(area: &str, scenario: &str, differences: &[Difference]) {
    let Some(file) = std::env::var_os("ISOPOD_GOLDEN_REPORT") else { return };
    let differences: Vec<Value> = differences
        .iter()
        .map(|one| json!({"path": one.path, "expected": one.expected, "got": one.got}))
        .collect();
    let line = json!({"area": area, "name": scenario, "differences": differences});
    let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn describe(scenario: &Scenario, differences: &[Difference]) -> String {
    let mut text = format!("{}: {} differences", scenario.name, differences.len());
    for one in differences.iter().take(SHOWN) {
        let step =
            one.path.split('/').nth(2).and_then(|place| scenario.steps.get(place.parse::<usize>().ok()?));
        let request = step.map_or_else(String::new, |step| format!("{} {}", step.method, step.path));
        let short = |value: &Value| value.to_string().chars().take(400).collect::<String>();
        text += &format!("\n  {} {request}\n    {}\n    {}", one.path, short(&one.expected), short(&one.got));
    }
    text
}

async fn run(cluster: &Cluster, scenario: &Scenario) -> Vec<Difference> {
    let mut client = Client::new(cluster);
    if scenario.namespace {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scenario.name}});
        client.make("/api/v1/namespaces", &namespace).await;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        client.make(&format!("/api/v1/namespaces/{}/serviceaccounts", scenario.name), &account).await;
    }
    let (mut bound, mut found) = (Bound::new(), Vec::new());
    for (place, step) in scenario.steps.iter().enumerate() {
        found.extend(repeated(&mut client, step, &mut bound, &format!("/steps/{place}")).await);
    }
    found.retain(|one| !scenario.loose.keys().any(|pattern| fits(pattern, &one.path)));
    found
}

/// A step, again and again where the recorder had to.
async fn repeated(client: &mut Client, step: &Step, bound: &mut Bound, path: &str) -> Vec<Difference> {
    let end = Instant::now() + if step.retry > 0.0 { PATIENCE } else { Duration::ZERO };
    loop {
        let mut trial = bound.clone();
        let found = Box::pin(once(client, step, &mut trial, path)).await;
        if found.is_empty() || Instant::now() >= end {
            *bound = trial;
            return found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn once(client: &mut Client, step: &Step, bound: &mut Bound, path: &str) -> Vec<Difference> {
    let asked = json!([step.path, step.query, step.user, step.headers, step.body]);
    let asked = match substitute(&asked, bound) {
        Ok(asked) => asked,
        Err(name) => {
            let expected = json!(format!("a value for {name}"));
            return vec![Difference {
                path: format!("{path}/request"),
                expected,
                got: json!("never received"),
            }];
        }
    };
    let text = |place: usize| asked[place].as_str();
    let target = match text(1) {
        Some(query) => format!("{}?{query}", text(0).unwrap_or_default()),
        None => text(0).unwrap_or_default().to_owned(),
    };
    let body = wire::request(&asked[4]);
    let answer = client.send(text(2), &step.method, &target, &asked[3], body, step.watch).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let got = json!(format!("{error:#}"));
            return vec![Difference { path: format!("{path}/request"), expected: json!("an answer"), got }];
        }
    };
    let mut found = Vec::new();
    for (place, nested) in step.during.iter().enumerate().filter(|_| answer.status == 200) {
        found.extend(repeated(client, nested, bound, &format!("{path}/during/{place}")).await);
    }
    found.extend(check(step, answer.whole().await, bound, path));
    found
}

fn check(step: &Step, answer: client::Whole, bound: &mut Bound, path: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    let recorded = &step.expect;
    compare(&json!(recorded.status), &json!(answer.status), bound, &format!("{path}/status"), &mut found);
    let names = recorded.headers.keys().map(String::as_str);
    let warning = ["Warning"].into_iter().filter(|name| !recorded.headers.contains_key(*name));
    for name in names.chain(warning) {
        let expected = recorded.headers.get(name).map_or(ABSENT, String::as_str);
        let got = answer.headers.get(&name.to_lowercase()).map_or(ABSENT, String::as_str);
        if (got == ABSENT) != (expected == ABSENT) || !matches(expected, got, bound) {
            let path = format!("{path}/headers/{name}");
            found.push(Difference { path, expected: json!(expected), got: json!(got) });
        }
    }
    if let Some(events) = &recorded.events {
        let got = if answer.status == 200 { events_of(&answer.body) } else { Value::Null };
        compare(&solid(events), &solid(&got), bound, &format!("{path}/events"), &mut found);
    } else if let Some(body) = &recorded.body {
        let media_type = answer.headers.get("content-type").map_or("", String::as_str);
        let whole = wire::answer(media_type, &answer.body);
        let as_events = step.watch && answer.status == 200;
        let got = if as_events { events_of(&answer.body) } else { whole };
        compare(body, &got, bound, &format!("{path}/body"), &mut found);
    }
    found
}

fn events_of(body: &[u8]) -> Value {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| serde_json::from_slice::<Value>(line).unwrap_or_default()).collect()
}

/// Events without the bookmarks that come with time.
fn solid(events: &Value) -> Value {
    let Value::Array(events) = events else { return events.clone() };
    let timed =
        |event: &Value| event["type"] == "BOOKMARK" && !event.to_string().contains("initial-events-end");
    events.iter().filter(|event| !timed(event)).cloned().collect()
}

/// A test for each area.
macro_rules! areas {
    ($($name:ident = $folder:literal),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            replay($folder).await;
        })*

        /// The areas that are replayed.
        const AREAS: &[&str] = &[$($folder),*];
    };
}

areas!(
    admission = "admission",
    auth = "auth",
    delete = "delete",
    discovery = "discovery",
    dryrun = "dryrun",
    immutable = "immutable",
    invalid = "invalid",
    kinds = "kinds",
    kinds_full = "kinds-full",
    list = "list",
    misc = "misc",
    names = "names",
    namespaces = "namespaces",
    negotiation = "negotiation",
    openapi_ = "openapi",
    patch = "patch",
    protobuf = "protobuf",
    rbac = "rbac",
    services = "services",
    subresource = "subresource",
    watch = "watch",
);

#[test]
fn every_area_is_replayed_or_later() {
    let Some(golden) = recorded() else { return };
    let later = tolerated().later;
    for folder in std::fs::read_dir(golden.join("scenarios")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        let is_later = later.iter().any(|row| row.area == name);
        assert_ne!(AREAS.contains(&name.as_str()), is_later, "{name}: replayed, or later, and not both");
    }
}
