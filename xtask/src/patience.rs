//! Waiting for what tells nobody: one loop, with a deadline that names what did not come.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};

/// How long to leave things alone between two looks: short against what is waited for, long against a look.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until there is something, or the look itself fails.
///
/// # Errors
/// Those of the look, and when the time is over.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = SystemTime::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed().unwrap_or(Duration::ZERO) > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the other side has nothing to wait on")]
fn pause() {
    std::thread::sleep(PAUSE);
}
