//! The supervisor and every daemon in one executable: its name or its first argument says which of them runs.

use std::path::Path;
use std::process::ExitCode;

mod table;

/// Exit status for a mistake on the command line, as sysexits(3) has it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let called = words.first().and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str());
    let called = called.unwrap_or_default();
    // A runtime calls a CNI plugin by its link's name and without arguments; `flannel` the daemon has a prefix.
    if flannel::cni::PLUGINS.contains(&called) {
        return flannel::cni::main(&words);
    }
    if let Some(entry) = called.strip_prefix("isopod-").and_then(table::entry) {
        return entry(words.into_iter().skip(1).collect());
    }
    match words.get(1) {
        Some(word) if supervisor::knows(word) => {
            supervisor::main(words.into_iter().skip(1).collect(), supervisor::Programs::Itself)
        }
        word => match word.and_then(|word| table::entry(word)) {
            Some(entry) => entry(words.into_iter().skip(2).collect()),
            None => {
                let known: Vec<&str> = table::DAEMONS.iter().map(|(name, _)| *name).collect();
                daemon::log::complain(&format!(
                    "{called}: name a command (server, agent, token, help) or a daemon first: {}",
                    known.join(", ")
                ));
                ExitCode::from(USAGE)
            }
        },
    }
}
