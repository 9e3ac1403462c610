//! The driver of a reconciler: takes keys from a queue, calls the function, and queues again what failed.

use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;

use futures::stream::{FuturesUnordered, StreamExt};

use crate::queue::{Next, Queue};

/// Works on a queue with at most `workers` items at a time, for ever.
///
/// `reconcile` gets a key and nothing else. Its error is logged and the key comes again after a growing delay;
/// it must not retry by itself. Run this in a task that ends when the process drains.
///
/// # Errors
/// None; the type fits what spawns it.
pub async fn run<T, F, Fut>(name: &str, queue: Queue<T>, workers: usize, reconcile: F) -> anyhow::Result<()>
where
    T: Clone + Eq + Hash + Display,
    F: Fn(T) -> Fut,
    Fut: Future<Output = anyhow::Result<Next>>,
{
    let mut working = FuturesUnordered::new();
    loop {
        tokio::select! {
            item = queue.next(), if working.len() < workers.max(1) => {
                let outcome = reconcile(item.clone());
                working.push(async move { (item, outcome.await) });
            }
            Some((item, outcome)) = working.next() => finish(name, &queue, &item, outcome),
        }
    }
}

fn finish<T: Clone + Eq + Hash + Display>(
    name: &str,
    queue: &Queue<T>,
    item: &T,
    outcome: anyhow::Result<Next>,
) {
    match outcome {
        Ok(next) => {
            queue.forget(item);
            if let Next::After(delay) = next {
                queue.add_after(item.clone(), delay);
            }
        }
        Err(error) => {
            tracing::warn!(controller = name, key = %item, "could not reconcile: {error:#}");
            queue.add_failed(item.clone());
        }
    }
    queue.done(item);
}
