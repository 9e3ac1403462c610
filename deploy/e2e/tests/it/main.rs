//! The whole of it, from outside: a server and an agent in network namespaces, kubectl and HTTP.
//!
//! One cluster serves all tests, which run in this order. `cargo test -p e2e -- --keep` leaves it running, and takes
//! the one that was left; `--one` starts a server alone; words choose tests by name.

use std::process::ExitCode;
use std::time::Duration;

use e2e::runner::{self, Test, Wish};
use e2e::stage::{NODES, Stage};
use xtask::report::say;

mod endurance;
mod forward;
mod ingress;
mod rollout;

/// How long a change may take to reach every node.
const SOON: Duration = Duration::from_secs(30);

const TESTS: &[Test<Stage>] = &[
    Test { name: "kubectl_apply", run: |stage| stage.play(include_str!("../script/apply.txt")) },
    Test { name: "kubectl_logs_of_a_job", run: |stage| stage.play(include_str!("../script/job.txt")) },
    Test { name: "kubectl_describe", run: |stage| stage.play(include_str!("../script/describe.txt")) },
    Test { name: "kubectl_exec_and_cp", run: |stage| stage.play(include_str!("../script/exec.txt")) },
    Test { name: "kubectl_port_forward", run: forward::run },
    Test { name: "kubectl_scale", run: |stage| stage.play(include_str!("../script/scale.txt")) },
    Test { name: "a_rolling_update_loses_nothing", run: rollout::run },
    Test { name: "kubectl_rollout_undo", run: |stage| stage.play(include_str!("../script/rollout.txt")) },
    Test {
        name: "kubectl_explain_and_errors",
        run: |stage| stage.play(include_str!("../script/discovery.txt")),
    },
    Test { name: "kubectl_delete", run: |stage| stage.play(include_str!("../script/delete.txt")) },
    Test { name: "the_demo_runs_on_both_nodes", run: ingress::deploy },
    Test { name: "names_from_a_pod", run: |stage| stage.play(include_str!("../script/names.txt")) },
    Test { name: "pods_services_and_ingress", run: |stage| stage.play(include_str!("../script/reach.txt")) },
    Test { name: "the_ingress_over_tls", run: ingress::tls },
    Test { name: "each_daemon_is_killed", run: endurance::each },
    Test { name: "all_daemons_are_killed_at_once", run: endurance::all },
    Test { name: "both_machines_lose_power", run: endurance::power },
];

fn main() -> ExitCode {
    let wish = Wish::parse(std::env::args().skip(1));
    if wish.list {
        runner::list(TESTS, &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let (stage, failed) = runner::run(&mut std::io::stdout(), TESTS, &wish, || {
        Stage::start(wish.keep, wish.nodes.unwrap_or(NODES))
    });
    if let Some(stage) = stage
        && let Err(error) = stage.end(!failed.is_empty())
    {
        say(&format!("the cluster could not be removed: {error:#}"));
        return ExitCode::FAILURE;
    }
    runner::exit(&failed)
}
