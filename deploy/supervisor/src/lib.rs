//! Starts the daemons of a node in order, keeps them alive, and lets other nodes join.
//!
//! `isopod server` makes the cluster's certificates, tokens and kubeconfigs and runs the control plane and a node;
//! `isopod agent` joins a node to a server. What runs is a table ([`plan`]); how it runs is one driver
//! ([`supervise`]). Daemons are processes: this crate links none of them.

use std::process::ExitCode;

pub mod certificate;
pub mod config;
pub mod host;
pub mod kubeconfig;
pub mod layout;
pub mod plan;
pub mod process;
pub mod supervise;
pub mod token;

mod authority;
mod containerd;
mod identity;
mod images;
mod join;
mod journal;
mod leftover;
mod mark;
mod pause;
mod role;
mod sys;

/// The name under which the supervisor is called.
pub const NAME: &str = "isopod";

/// Exit status for a mistake on the command line or in a file it names, as sysexits(3) has it.
const USAGE: u8 = 64;

/// Where the programs of the daemons are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// In the directory of this executable, as `isopod-<component>`.
    Beside,
    /// In this executable, when called as `isopod-<component>`.
    Itself,
}

/// What `isopod` can be asked to do.
struct Command {
    name: &'static str,
    help: &'static str,
    entry: fn(Vec<String>, Programs) -> ExitCode,
}

const COMMANDS: &[Command] = &[
    Command { name: "agent", help: "Run a node and join it to a server", entry: role::agent },
    Command { name: "server", help: "Run a server: the control plane, and a node", entry: role::server },
    Command {
        name: "images",
        help: "Import the archives of a folder into containerd (as the supervisor does)",
        entry: images::main,
    },
    Command { name: "token", help: "Print the token with which nodes join this server", entry: token::print },
];

/// Runs `isopod` with these words, without the program's name.
pub fn main(words: Vec<String>, programs: Programs) -> ExitCode {
    let name = words.first().map_or("help", String::as_str);
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return (command.entry)(words[1..].to_vec(), programs);
    }
    match name {
        "help" | "--help" | "-h" => {
            daemon::log::say(&help());
            ExitCode::SUCCESS
        }
        "version" | "--version" => {
            daemon::log::say(&format!("isopod version {}", daemon::VERSION));
            ExitCode::SUCCESS
        }
        _ => {
            let known: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
            daemon::log::complain(&format!(
                "isopod: there is no command {name:?}; there are: {}",
                known.join(", ")
            ));
            ExitCode::from(USAGE)
        }
    }
}

/// Whether the supervisor has a command of this name.
pub fn knows(name: &str) -> bool {
    COMMANDS.iter().any(|command| command.name == name)
        || matches!(name, "help" | "--help" | "-h" | "version" | "--version")
}

fn help() -> String {
    let mut out = format!("isopod {}\n\nUsage: isopod COMMAND [FLAGS]\n\nCommands:\n", daemon::VERSION);
    for Command { name, help, .. } in COMMANDS {
        out.push_str(&format!("  {name:<10} {help}\n"));
    }
    out.push_str("\n`isopod COMMAND --help` lists the flags of a command.");
    out
}
