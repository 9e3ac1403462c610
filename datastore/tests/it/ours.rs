//! Our datastore within the test process, on a unix socket in a directory of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::Context;
use daemon::drain::Trigger;
use datastore::config::Settings;
use store::Store;
use store::remote::Remote;
use tokio::task::JoinHandle;

/// A running datastore.
pub(crate) struct Ours {
    pub(crate) endpoint: String,
    trigger: Trigger,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Ours {
    /// Starts one on `data` with further flags, and returns once it is ready.
    pub(crate) async fn start(data: &Path, flags: &[&str]) -> Self {
        let mut line = vec!["--data-dir".to_owned(), data.to_str().unwrap().to_owned()];
        line.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let (settings, _, _) = daemon::flag::parse::<Settings>(&line).unwrap();
        let endpoint = settings.listen[0].to_string();
        let (context, trigger) = Context::new(datastore::NAME);
        #[expect(
            clippy::disallowed_methods,
            reason = "the daemon under test is not a task of the daemon's own"
        )]
        let mut running = tokio::spawn({
            let context = context.clone();
            async move { datastore::run(settings, context).await }
        });
        tokio::select! {
            biased;
            ended = &mut running => panic!("the datastore did not start: {ended:?}"),
            () = context.gates().ready() => {}
        }
        Self { endpoint, trigger, running }
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        connect(&self.endpoint).await
    }

    /// Drains it and waits for its end.
    pub(crate) async fn stop(self) {
        self.trigger.start();
        self.running.await.unwrap().unwrap();
    }
}

pub(crate) async fn connect(endpoint: &str) -> Arc<dyn Store> {
    Arc::new(Remote::connect(&[endpoint.to_owned()], None).await.unwrap())
}

/// The file a datastore keeps in its data directory.
pub(crate) fn file(data: &Path) -> PathBuf {
    data.join("state.db")
}
