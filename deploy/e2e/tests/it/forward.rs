//! `kubectl port-forward`: to a Service and to a pod.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::stage::Stage;
use xtask::web;

/// Ends the forwarding with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn run(stage: &Stage) -> Result<()> {
    let pod = stage.kubectl().run(&["-n", "shop", "get", "pods", "-l", "app=web", "-o", "name"])?;
    let pod = pod.lines().next().context("there is a pod")?.to_owned();
    for target in ["service/web", pod.as_str()] {
        let mut command = stage.kubectl().command(&["-n", "shop", "port-forward", target, ":80"]);
        let mut forwarding = Ended(command.stdout(Stdio::piped()).spawn().context("could not run kubectl")?);
        let output = forwarding.0.stdout.take().context("kubectl's output was asked for")?;
        // Open until the end: kubectl tells of each connection, and dies where nobody listens.
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).context("could not read kubectl's output")?;
        // Forwarding from 127.0.0.1:41234 -> 80
        let address = line.split_whitespace().nth(2).with_context(|| format!("kubectl says {line:?}"))?;
        for _ in 0..3 {
            let answer = web::get(address, "shop.example", "/")?;
            ensure!(answer.body.starts_with("web 1 on web-"), "{target} answers {answer:?}");
        }
    }
    Ok(())
}
