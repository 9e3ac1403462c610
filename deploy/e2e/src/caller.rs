//! Somebody who calls a web server again and again, and notes when nobody answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use xtask::patience::until;
use xtask::web;

/// Between two calls: several within the shortest outage that a user would notice.
const PACE: Duration = Duration::from_millis(50);

/// A call that was not answered.
#[derive(Debug, Clone)]
pub struct Miss {
    /// When it was begun.
    pub begun: SystemTime,
    /// When it was over.
    pub ended: SystemTime,
    /// Why.
    pub why: String,
}

/// What came of all calls.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were answered with 200.
    pub answered: usize,
    /// The others.
    pub missed: Vec<Miss>,
}

/// A thread that calls until it is told to stop.
#[derive(Debug)]
pub struct Caller {
    /// What it calls, for messages.
    pub name: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Caller {
    /// Begins to call an address (with its port) by a host's name.
    pub fn start(name: &str, address: &str, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, address, host) = (Arc::clone(&stop), address.to_owned(), host.to_owned());
        let thread = std::thread::spawn(move || call(&told, &address, &host));
        Self { name: name.to_owned(), stop, thread }
    }

    /// Stops and tells.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn call(stop: &AtomicBool, address: &str, host: &str) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = SystemTime::now();
        let why = match web::get(address, host, "/") {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("status {}: {}", answer.status, answer.body)),
            Err(error) => Some(format!("{error:#}")),
        };
        match why {
            None => tally.answered += 1,
            Some(why) => tally.missed.push(Miss { begun, ended: SystemTime::now(), why }),
        }
        rest();
    }
    tally
}

/// Lets a moment pass.
fn rest() {
    let begun = SystemTime::now();
    let over = || Ok((begun.elapsed().unwrap_or(PACE) >= PACE).then_some(()));
    drop(until("a moment passes", PACE * 2, over));
}
