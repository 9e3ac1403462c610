//! A rolling update under requests: never fewer pods than the strategy allows, and no request lost.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use e2e::caller::Caller;
use e2e::stage::Stage;

/// 25 % of three, rounded down, may be missing: none.
const LEAST: u32 = 3;

pub(crate) fn run(stage: &Stage) -> Result<()> {
    let available = r#"jsonpath={.status.availableReplicas}{"\n"}"#;
    let words = ["-n", "shop", "get", "deployment", "web", "--watch", "-o", available];
    let mut watch =
        stage.kubectl().command(&words).stdout(Stdio::piped()).spawn().context("could not run kubectl")?;
    let output = watch.stdout.take().context("kubectl's output was asked for")?;
    let counts = std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).collect::<Vec<String>>()
    });
    let caller =
        Caller::start("the node port", &format!("{}:30081", stage.cluster.address(0)), "shop.example");
    let updated = stage.play(concat!(
        "$ kubectl -n shop set image deployment/web web=isopod.local/web:2\n",
        "deployment.apps/web image updated\n",
        "$ kubectl -n shop rollout status deployment/web --timeout=90s\n",
        "...\n",
        "deployment \"web\" successfully rolled out\n",
        "~ busybox wget -qO- http://$NODE1:30081/\n",
        "web 2 on web-*\n",
    ));
    let tally = caller.stop();
    drop(watch.kill());
    drop(watch.wait());
    let counts = counts.join().unwrap_or_default();
    updated?;
    ensure!(!counts.is_empty(), "the watch tells how many pods are available");
    let few =
        counts.iter().find(|count| count.parse().is_ok_and(|count: u32| count < LEAST) || count.is_empty());
    ensure!(few.is_none(), "fewer than {LEAST} pods were available: {counts:?}");
    ensure!(
        tally.missed.is_empty(),
        "{} requests were answered, these were not: {:#?}",
        tally.answered,
        tally.missed
    );
    ensure!(tally.answered > 0, "no request was made");
    Ok(())
}
