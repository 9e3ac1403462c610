//! How the server is: `/livez`, `/readyz`, `/healthz`, each a list of checks, and each check below them.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::body;
use crate::fault::Fault;
use crate::request::{Call, Response};
use crate::route::Route;
use crate::server::Server;

pub(crate) const ROUTES: &[Route] = &[
    Route { path: "/livez", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/livez/*", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/readyz", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/readyz/*", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/healthz", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/healthz/*", handler: |server, call| Box::pin(answer(server, call)) },
];

/// How long the datastore may take to answer (upstream's default of `--etcd-healthcheck-timeout`).
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// What is wrong, or nothing.
type Verdict = Result<(), String>;

/// One thing that is checked.
struct Check {
    name: &'static str,
    /// Whether it says that the process should be started anew, not only that it should get no requests.
    vital: bool,
    run: for<'a> fn(&'a Server) -> BoxFuture<'a, Verdict>,
}

/// What is checked, under upstream's names.
const CHECKS: &[Check] = &[
    Check { name: "ping", vital: true, run: |_| Box::pin(async { Ok(()) }) },
    Check { name: "etcd", vital: true, run: |server| Box::pin(store(server)) },
    Check { name: "informer-sync", vital: false, run: |server| Box::pin(gate(server, "cache")) },
    Check {
        name: "poststarthook/rbac/bootstrap-roles",
        vital: false,
        run: |server| Box::pin(gate(server, "bootstrap")),
    },
    Check { name: "shutdown", vital: false, run: |server| Box::pin(draining(server)) },
];

/// The paths of all checks.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ["healthz", "livez", "readyz"]
        .into_iter()
        .flat_map(|page| of(page).map(move |check| format!("/{page}/{}", check.name)))
}

/// What a page checks.
fn of(page: &str) -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().filter(move |check| page == "readyz" || check.vital)
}

async fn store(server: &Server) -> Verdict {
    let key = format!("{}/health", server.settings().etcd_prefix);
    match tokio::time::timeout(STORE_PATIENCE, server.store().get(key.as_bytes())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the datastore did not answer within {} s", STORE_PATIENCE.as_secs())),
    }
}

/// Whether what the process waits for under this name is done.
async fn gate(server: &Server, name: &str) -> Verdict {
    if server.context().gates().pending().contains(&name) {
        Err(format!("waiting for {name}"))
    } else {
        Ok(())
    }
}

async fn draining(server: &Server) -> Verdict {
    if server.context().drain().is_signaled() {
        Err("the process is shutting down".to_owned())
    } else {
        Ok(())
    }
}

async fn answer(server: &Server, call: Call) -> Result<Response, Fault> {
    let path = call.info.path.trim_start_matches('/').trim_end_matches('/');
    let (page, below) = path.split_once('/').unwrap_or((path, ""));
    let mut checks = of(page);
    if !below.is_empty() {
        let Some(check) = checks.find(|check| check.name == below) else { return Ok(body::no_such_page()) };
        return Ok(match (check.run)(server).await {
            Ok(()) => body::text(200, "ok"),
            Err(why) => body::text(500, format!("internal server error: {why}\n")),
        });
    }
    let excluded = call.info.values("exclude");
    let mut verdicts = Vec::new();
    for check in checks {
        let verdict = if excluded.contains(&check.name) { None } else { Some((check.run)(server).await) };
        verdicts.push((check.name, verdict));
    }
    let (code, text) = report(page, &verdicts, &excluded, call.info.param("verbose").is_some());
    Ok(body::text(code, text))
}

/// What a page says of checks and their verdicts; those left out have none.
fn report(
    page: &str,
    verdicts: &[(&str, Option<Verdict>)],
    excluded: &[&str],
    verbose: bool,
) -> (u16, String) {
    let mut text = String::new();
    let mut failed = Vec::new();
    for (name, verdict) in verdicts {
        match verdict {
            None => text.push_str(&format!("[+]{name} excluded: ok\n")),
            Some(Ok(())) => text.push_str(&format!("[+]{name} ok\n")),
            Some(Err(why)) => {
                tracing::info!(check = name, "{page} failed: {why}");
                failed.push(*name);
                // Whoever asks may be anybody.
                text.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !verdicts.iter().any(|(known, _)| known == *name))
        .map(|name| crate::field::quoted(name))
        .collect();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        text.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if !failed.is_empty() {
        return (500, text + &format!("{page} check failed\n"));
    }
    if verbose { (200, text + &format!("{page} check passed\n")) } else { (200, "ok".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_in_words() {
        let well = || vec![("ping", Some(Ok(()))), ("etcd", Some(Ok(())))];
        let ill = || vec![("ping", Some(Ok(()))), ("etcd", Some(Err("gone".to_owned())))];
        let cases = [
            (well(), vec![], false, 200, "ok"),
            (well(), vec![], true, 200, "[+]ping ok\n[+]etcd ok\nlivez check passed\n"),
            (ill(), vec![], false, 500, "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n"),
            (
                vec![("etcd", None)],
                vec!["etcd", "x"],
                true,
                200,
                "[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\n\
                 livez check passed\n",
            ),
        ];
        for (verdicts, excluded, verbose, code, text) in cases {
            assert_eq!(report("livez", &verdicts, &excluded, verbose), (code, text.to_owned()));
        }
    }
}
