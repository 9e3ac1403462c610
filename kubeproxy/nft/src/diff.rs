//! What must be done to turn one table into another, and its text.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use crate::set::Elements;
use crate::table::{Chain, Family, Table};

/// Elements in one command. A refusal names a command, so a command should be short enough to read; nft itself has
/// no limit.
const ELEMENTS_PER_COMMAND: usize = 200;

/// Commands that the kernel carries out together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    commands: Vec<String>,
}

/// The sets and chains of a [`diff()`] that cannot stay as they are.
struct Changes<'a> {
    old: &'a Table,
    new: &'a Table,
    /// Sets to be deleted, of which some come back with another definition.
    sets_gone: BTreeSet<&'a str>,
    /// Sets to be made.
    sets_made: BTreeSet<&'a str>,
    /// Chains whose rules are written anew, made ones among them.
    chains_written: BTreeSet<&'a str>,
    /// Base chains that hang elsewhere now.
    chains_moved: BTreeSet<&'a str>,
    /// Chains to be deleted.
    chains_gone: BTreeSet<&'a str>,
}

impl Transaction {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// The commands, one a line, as `nft -f` reads them.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.commands.iter().map(|command| command.len() + 1).sum());
        for command in &self.commands {
            out.push_str(command);
            out.push('\n');
        }
        out
    }

    /// The command on this line of the text, counted from one.
    pub fn line(&self, number: usize) -> Option<&str> {
        self.commands.get(number.checked_sub(1)?).map(String::as_str)
    }

    /// Does all that `other` does after all that this does.
    pub fn append(&mut self, mut other: Self) {
        self.commands.append(&mut other.commands);
    }

    fn say(&mut self, command: impl Display) {
        self.commands.push(command.to_string());
    }

    fn elements(&mut self, verb: &str, table: &Table, set: &str, elements: &[String]) {
        let Table { family, name, .. } = table;
        for chunk in elements.chunks(ELEMENTS_PER_COMMAND) {
            self.say(format_args!("{verb} element {family} {name} {set} {{ {} }}", chunk.join(", ")));
        }
    }

    fn chain(&mut self, table: &Table, name: &str, chain: &Chain) {
        match chain.hook {
            Some(hook) => {
                self.say(format_args!("add chain {} {} {name} {{ {hook} }}", table.family, table.name));
            }
            None => self.say(format_args!("add chain {} {} {name}", table.family, table.name)),
        }
    }
}

impl Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// The transaction that makes this table, whatever was there under its name.
pub fn replace(table: &Table) -> Transaction {
    let mut transaction = remove(table.family, &table.name);
    transaction.say(format_args!("add table {} {}", table.family, table.name));
    transaction.append(diff(&table.emptied(), table));
    transaction
}

/// The transaction that leaves nothing of a table, whether it was there or not.
pub fn remove(family: Family, name: &str) -> Transaction {
    let mut transaction = Transaction::default();
    transaction.say(format_args!("add table {family} {name}"));
    transaction.say(format_args!("delete table {family} {name}"));
    transaction
}

/// The transaction after which all of `part` is there, beside whatever others have put into the table.
///
/// Chains of `part` then hold exactly its rules. Sets that are there already must have the same definition, and
/// elements the same values, or the kernel refuses it all.
pub fn ensure(part: &Table) -> Transaction {
    let Table { family, name: table, .. } = part;
    let mut transaction = Transaction::default();
    transaction.say(format_args!("add table {family} {table}"));
    for (name, chain) in &part.chains {
        transaction.chain(part, name, chain);
        transaction.say(format_args!("flush chain {family} {table} {name}"));
    }
    // What is added to nothing is what the part has; chains are made again, which is no change.
    transaction.append(diff(&part.emptied(), part));
    transaction
}

/// The transaction after which nothing of `part` is left, whether it was there or not; sets stay, others use them.
pub fn withdraw(part: &Table) -> Transaction {
    let mut left = part.emptied();
    left.sets.clone_from(&part.sets);
    // Deleting asks for what exists, so it is made to exist first.
    let mut transaction = ensure(part);
    transaction.append(diff(part, &left));
    transaction
}

/// The transaction that turns `old`, which is in the kernel, into `new`; what is equal is not touched.
pub fn diff(old: &Table, new: &Table) -> Transaction {
    let changes = Changes::between(old, new);
    let mut transaction = Transaction::default();
    // Everything must exist before something refers to it, and nothing may refer to what is deleted: hence the order.
    changes.make_chains(&mut transaction);
    changes.flush_chains(&mut transaction);
    changes.delete_elements(&mut transaction);
    changes.exchange_sets(&mut transaction);
    changes.move_chains(&mut transaction);
    changes.add_elements(&mut transaction);
    changes.add_rules(&mut transaction);
    changes.delete_chains(&mut transaction);
    transaction
}

impl<'a> Changes<'a> {
    fn between(old: &'a Table, new: &'a Table) -> Self {
        let mut sets_gone = BTreeSet::new();
        let mut sets_made = BTreeSet::new();
        for (name, set) in &old.sets {
            if new.sets.get(name) != Some(set) {
                sets_gone.insert(name.as_str());
            }
        }
        for (name, set) in &new.sets {
            if old.sets.get(name) != Some(set) {
                sets_made.insert(name.as_str());
            }
        }
        let refers_to_gone =
            |chain: &Chain| sets_gone.iter().any(|set| chain.rules.iter().any(|rule| rule.refers_to(set)));
        let mut chains_written = BTreeSet::new();
        let mut chains_moved = BTreeSet::new();
        for (name, chain) in &new.chains {
            let before = old.chains.get(name);
            let same = before.is_some_and(|before| before == chain);
            if !same || refers_to_gone(chain) {
                chains_written.insert(name.as_str());
            }
            if before.is_some_and(|before| before.hook != chain.hook) {
                chains_moved.insert(name.as_str());
            }
        }
        let chains_gone =
            old.chains.keys().filter(|name| !new.chains.contains_key(*name)).map(String::as_str).collect();
        Self { old, new, sets_gone, sets_made, chains_written, chains_moved, chains_gone }
    }

    fn make_chains(&self, transaction: &mut Transaction) {
        for (name, chain) in &self.new.chains {
            if !self.old.chains.contains_key(name) {
                transaction.chain(self.new, name, chain);
            }
        }
    }

    fn flush_chains(&self, transaction: &mut Transaction) {
        for (name, chain) in &self.old.chains {
            let name = name.as_str();
            let written = self.chains_written.contains(name) || self.chains_gone.contains(name);
            if written && !chain.rules.is_empty() {
                let Table { family, name: table, .. } = self.new;
                transaction.say(format_args!("flush chain {family} {table} {name}"));
            }
        }
    }

    fn delete_elements(&self, transaction: &mut Transaction) {
        let none = Elements::new();
        for (set, before) in &self.old.elements {
            if self.sets_gone.contains(set.as_str()) {
                continue;
            }
            let after = self.new.elements.get(set).unwrap_or(&none);
            let gone: Vec<String> = before
                .iter()
                .filter(|(key, value)| after.get(*key) != Some(value))
                .map(|(key, _)| key.clone())
                .collect();
            transaction.elements("delete", self.new, set, &gone);
        }
    }

    fn exchange_sets(&self, transaction: &mut Transaction) {
        let Table { family, name: table, .. } = self.new;
        for name in &self.sets_gone {
            let noun = self.old.sets[*name].noun();
            transaction.say(format_args!("delete {noun} {family} {table} {name}"));
        }
        for name in &self.sets_made {
            let set = &self.new.sets[*name];
            transaction.say(format_args!("add {} {family} {table} {name} {set}", set.noun()));
        }
    }

    fn move_chains(&self, transaction: &mut Transaction) {
        let Table { family, name: table, .. } = self.new;
        for name in &self.chains_moved {
            transaction.say(format_args!("delete chain {family} {table} {name}"));
            transaction.chain(self.new, name, &self.new.chains[*name]);
        }
    }

    fn add_elements(&self, transaction: &mut Transaction) {
        let none = Elements::new();
        for (set, after) in &self.new.elements {
            let anew = self.sets_made.contains(set.as_str());
            let before = if anew { &none } else { self.old.elements.get(set).unwrap_or(&none) };
            let fresh: Vec<String> = after
                .iter()
                .filter(|(key, value)| before.get(*key) != Some(value))
                .map(|(key, value)| match value {
                    Some(value) => format!("{key} : {value}"),
                    None => key.clone(),
                })
                .collect();
            transaction.elements("add", self.new, set, &fresh);
        }
    }

    fn add_rules(&self, transaction: &mut Transaction) {
        let Table { family, name: table, .. } = self.new;
        for name in &self.chains_written {
            for rule in &self.new.chains[*name].rules {
                transaction.say(format_args!("add rule {family} {table} {name} {rule}"));
            }
        }
    }

    fn delete_chains(&self, transaction: &mut Transaction) {
        let Table { family, name: table, .. } = self.new;
        for name in &self.chains_gone {
            transaction.say(format_args!("delete chain {family} {table} {name}"));
        }
    }
}

#[cfg(test)]
mod tests;
