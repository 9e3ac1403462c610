//! Durable creates per second through etcd v3: `cargo bench -p datastore --bench creates -- ENDPOINT...`
//!
//! Each endpoint (`unix:///path`, `http://host:port`) is measured in turn, with [`CLIENTS`] connections at once.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use store::remote::Remote;
use store::{Commit, Error, Store};
use tokio::time::Instant;

/// Connections at once: what the design's targets are stated for.
const CLIENTS: usize = 16;

/// How long each endpoint is measured.
const TIME: Duration = Duration::from_secs(5);

/// The size of a value: a small object's.
const BYTES: usize = 1_500;

/// Creates keys until the time is over and returns how long each took.
async fn client(endpoint: &str, client: usize, end: Instant) -> Result<Vec<Duration>, Error> {
    let store = Remote::connect(&[endpoint.to_owned()], None).await?;
    let value = Bytes::from(vec![7; BYTES]);
    let mut taken = Vec::new();
    while Instant::now() < end {
        let key = format!("/bench/{}/{client}/{}", std::process::id(), taken.len());
        let start = Instant::now();
        match store.put(key.as_bytes(), value.clone(), 0, 0).await? {
            Commit::Made(_) => taken.push(start.elapsed()),
            Commit::Refused(_) => return Err(Error::Unavailable(format!("{key} exists already"))),
        }
    }
    Ok(taken)
}

async fn measure(endpoint: &str) -> Result<String, Error> {
    let end = Instant::now() + TIME;
    let clients = (0..CLIENTS).map(|number| client(endpoint, number, end));
    let mut taken: Vec<Duration> = try_join_all(clients).await?.into_iter().flatten().collect();
    taken.sort();
    let part = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let rate = taken.len() as f64 / TIME.as_secs_f64();
    Ok(format!("{endpoint:<44} {rate:>10.0} {:>10.2} {:>10.2}\n", part(0.5), part(0.99)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let mut text = format!("{:<44} {:>10} {:>10} {:>10}\n", "endpoint", "creates/s", "p50 ms", "p99 ms");
    let mut code = ExitCode::SUCCESS;
    for endpoint in std::env::args().skip(1).filter(|argument| argument.contains("://")) {
        text += &match measure(&endpoint).await {
            Ok(row) => row,
            Err(error) => {
                code = ExitCode::FAILURE;
                format!("{endpoint}: {error}\n")
            }
        };
    }
    if out.write_all(text.as_bytes()).is_err() { ExitCode::FAILURE } else { code }
}
