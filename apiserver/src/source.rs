//! Keeps the cache at the store's heels: one list, then one watch over everything, for ever.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use store::{Error, Interval, KeyValue, Revision, Store, Update};

use crate::cache::Feed;
use crate::server::Server;

/// How many values are read at once: small enough not to hold up the store, large enough to be few.
const PAGE: usize = 1000;

/// The pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Follows the store for ever, whatever fails. `synced` is dropped once the first whole list is in the cache.
///
/// # Errors
/// None short of a bug.
pub async fn follow(server: Arc<Server>, synced: daemon::ready::Gate) -> anyhow::Result<()> {
    let mut feed = Feed::new(Arc::clone(server.cache()), Arc::clone(server.resources()));
    let mut synced = Some(synced);
    loop {
        let Err(error) = once(&server, &mut feed, &mut synced).await;
        tracing::warn!("the watch on the datastore ended and is begun again: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lists and watches until something fails.
async fn once(
    server: &Server,
    feed: &mut Feed,
    synced: &mut Option<daemon::ready::Gate>,
) -> Result<std::convert::Infallible, Error> {
    let store = server.store();
    let keys = Interval::prefix(format!("{}/", server.settings().etcd_prefix));
    let (items, revision) = list(store.as_ref(), &keys).await?;
    feed.replace(&items, revision);
    drop(items);
    let mut updates = store.watch(keys, revision + 1).await?;
    synced.take();
    while let Some(update) = updates.next().await {
        match update? {
            Update::Events(events) => feed.apply(&events),
            Update::Progress(revision) => feed.progress(revision),
        }
    }
    Err(Error::Unavailable("the stream of changes ended".to_owned()))
}

async fn list(store: &dyn Store, keys: &Interval) -> Result<(Vec<KeyValue>, Revision), Error> {
    let mut items: Vec<KeyValue> = Vec::new();
    let mut rest = keys.clone();
    let mut at = 0;
    loop {
        let page = store.range(rest.clone(), PAGE, at).await?;
        if at == 0 {
            at = page.revision;
        }
        let full = page.items.len() >= PAGE;
        items.extend(page.items);
        match items.last() {
            Some(last) if full => rest.start = [&last.key[..], &[0]].concat().into(),
            _ => return Ok((items, at)),
        }
    }
}
