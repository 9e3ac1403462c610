//! Reads a log file from the right place to its end, and on as it grows while its container runs.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

use super::format::{Line, Options};
use crate::pleg;
use crate::pod::observed::Seen;
use crate::runtime::Runtime;

/// What is read at once when looking for the last lines.
const BLOCK: u64 = 32 << 10;
/// A chunk is sent once it is this large, or there is nothing more to read for now.
const CHUNK: usize = 32 << 10;
/// One file and the names in its folder are watched: a few events fit, and one is enough.
const EVENT_BUFFER: usize = 1024;
/// How soon the runtime is asked again whether it has noticed an exit, first and at most.
const FIRST_LAG: Duration = Duration::from_millis(10);
const LONGEST_LAG: Duration = Duration::from_secs(1);

type Chunks = mpsc::Sender<io::Result<Bytes>>;

/// Sends what is wanted of a run's log.
///
/// # Errors
/// Where the file cannot be read.
pub(super) async fn send(runtime: &Runtime, run: &Seen, options: Options, chunks: &Chunks) -> io::Result<()> {
    let path = Path::new(&run.log);
    let growth = if options.follow && run.is_running() { Some(watch(path)?) } else { None };
    let mut file = File::open(path).await?;
    let begin = match options.tail {
        Some(lines) => last_lines(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(begin)).await?;
    let mut log =
        Log { lines: BufReader::new(file), line: Vec::new(), goes_on: false, left: options.limit, options };
    let wanted = log.drain(chunks).await?;
    let Some(mut growth) = growth.filter(|_| wanted) else { return Ok(()) };
    let ended = ended(runtime, run);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            event = growth.next() => {
                let event = event.transpose()?;
                if !log.drain(chunks).await? {
                    return Ok(());
                }
                // The old file was set aside and a new one of its name begun.
                if event.is_some_and(|event| event.name.as_deref() == path.file_name()) {
                    growth = watch(path)?;
                    log.lines = BufReader::new(File::open(path).await?);
                    if !log.drain(chunks).await? {
                        return Ok(());
                    }
                }
            }
            () = &mut ended => {
                log.drain(chunks).await?;
                return Ok(());
            }
            () = chunks.closed() => return Ok(()),
        }
    }
}

fn watch(path: &Path) -> io::Result<inotify::EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    inotify.watches().add(path, WatchMask::MODIFY)?;
    if let Some(folder) = path.parent() {
        inotify.watches().add(folder, WatchMask::CREATE)?;
    }
    inotify.into_event_stream(vec![0; EVENT_BUFFER])
}

/// Returns once the run is over and the runtime, which writes the log, knows it.
async fn ended(runtime: &Runtime, run: &Seen) {
    let mut lag = if pleg::exited(run.pid).await { FIRST_LAG } else { LONGEST_LAG };
    loop {
        let answer = runtime.container_status(&run.id).await;
        let state = answer.ok().and_then(|answer| answer.status).map(|status| status.state);
        if state != Some(proto::cri::v1::ContainerState::ContainerRunning as i32) {
            return;
        }
        tokio::time::sleep(lag).await;
        lag = (lag * 2).min(LONGEST_LAG);
    }
}

/// Where the last so many lines begin.
async fn last_lines(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.metadata().await?.len();
    let mut at = end;
    let mut left = lines;
    if left == 0 {
        return Ok(end);
    }
    let mut block = Vec::new();
    while at > 0 {
        let from = at.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(from)).await?;
        block.resize(usize::try_from(at - from).unwrap_or_default(), 0);
        file.read_exact(&mut block).await?;
        for (index, byte) in block.iter().enumerate().rev() {
            let place = from + index as u64 + 1;
            // The newline that ends the file ends the last line, and begins none.
            if *byte == b'\n' && place != end {
                left -= 1;
                if left == 0 {
                    return Ok(place);
                }
            }
        }
        at = from;
    }
    Ok(0)
}

struct Log {
    lines: BufReader<File>,
    /// The beginning of a line that is still being written.
    line: Vec<u8>,
    /// The line before was not whole: the next one goes on with it.
    goes_on: bool,
    left: Option<u64>,
    options: Options,
}

impl Log {
    /// Sends all whole lines there are; false where nobody wants more.
    async fn drain(&mut self, chunks: &Chunks) -> io::Result<bool> {
        let mut out = Vec::new();
        loop {
            let read = self.lines.read_until(b'\n', &mut self.line).await?;
            let whole = self.line.ends_with(b"\n");
            if whole {
                if let Some(line) = Line::parse(&self.line) {
                    line.show(self.goes_on, &self.options, &mut out);
                    self.goes_on = line.is_partial();
                }
                self.line.clear();
            }
            let over = read == 0 || !whole;
            let full = self.left.is_some_and(|left| out.len() as u64 >= left);
            if (over || full || out.len() >= CHUNK) && !self.send(&mut out, chunks).await {
                return Ok(false);
            }
            if over {
                return Ok(true);
            }
        }
    }

    async fn send(&mut self, out: &mut Vec<u8>, chunks: &Chunks) -> bool {
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        let chunk = std::mem::take(out);
        let sent = chunk.is_empty() || chunks.send(Ok(chunk.into())).await.is_ok();
        sent && self.left != Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = "x".repeat(40_000);
        let text = format!("a\n{long}\nb\nc\n");
        std::fs::write(&path, &text).unwrap();
        let length = text.len() as u64;
        for (lines, expected) in [(0, length), (1, length - 2), (2, length - 4), (3, 2), (4, 0), (9, 0)] {
            let mut file = File::open(&path).await.unwrap();
            assert_eq!(last_lines(&mut file, lines).await.unwrap(), expected, "{lines}");
        }
    }
}
