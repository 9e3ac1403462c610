//! The table put together from its parts, and what a change of some parts changes in it.

use std::collections::{BTreeMap, BTreeSet};

use client::Key;
use nft::{Table, Transaction};

/// The name of a set and the key of an element in it.
type Place = (String, String);

/// The frame and the parts of all Services. It knows who claims which element, because two Services may want the
/// same external address: the first by name has it, the next takes over when the first lets go.
#[derive(Debug)]
pub struct Assembly {
    frame: Table,
    parts: BTreeMap<Key, Table>,
    claims: BTreeMap<Place, BTreeMap<Key, Option<String>>>,
}

impl Assembly {
    /// A table with the frame alone.
    pub fn new(frame: Table) -> Self {
        Self { frame, parts: BTreeMap::new(), claims: BTreeMap::new() }
    }

    /// The whole table.
    pub fn whole(&self) -> Table {
        let mut whole = self.frame.clone();
        // In the order of keys, so that the first claim counts here too.
        for part in self.parts.values() {
            whole.merge(part);
        }
        whole
    }

    /// Takes changed parts in (`None` for one that is gone) and says what that changes in the table.
    pub fn update(&mut self, changes: Vec<(Key, Option<Table>)>) -> Transaction {
        let mut touched = BTreeSet::new();
        for (key, part) in &changes {
            touched.extend(self.parts.get(key).iter().flat_map(|part| places(part)));
            touched.extend(part.iter().flat_map(places));
        }
        let mut old = self.held(&touched);
        let mut new = self.frame.emptied();
        for (key, part) in changes {
            if let Some(before) = self.parts.remove(&key) {
                self.let_go(&key, &before);
                old.chains.extend(before.chains);
                old.sets.extend(before.sets);
            }
            if let Some(part) = part {
                self.claim(&key, &part);
                new.chains.extend(part.chains.clone());
                new.sets.extend(part.sets.clone());
                self.parts.insert(key, part);
            }
        }
        new.elements = self.held(&touched).elements;
        nft::diff(&old, &new)
    }

    /// The elements that are at these places.
    fn held(&self, places: &BTreeSet<Place>) -> Table {
        let mut table = self.frame.emptied();
        for place in places {
            if let Some((_, value)) = self.claims.get(place).and_then(BTreeMap::first_key_value) {
                let (set, key) = place;
                table.elements.entry(set.clone()).or_default().insert(key.clone(), value.clone());
            }
        }
        table
    }

    fn claim(&mut self, key: &Key, part: &Table) {
        for (set, elements) in &part.elements {
            for (element, value) in elements {
                let place = (set.clone(), element.clone());
                self.claims.entry(place).or_default().insert(key.clone(), value.clone());
            }
        }
    }

    fn let_go(&mut self, key: &Key, part: &Table) {
        for place in places(part) {
            if let Some(claims) = self.claims.get_mut(&place) {
                claims.remove(key);
                if claims.is_empty() {
                    self.claims.remove(&place);
                }
            }
        }
    }
}

fn places(part: &Table) -> impl Iterator<Item = Place> {
    part.elements
        .iter()
        .flat_map(|(set, elements)| elements.keys().map(move |element| (set.clone(), element.clone())))
}

#[cfg(test)]
mod tests {
    use nft::{Chain, Family, Verdict};

    use super::*;

    fn part(chain: &str, elements: &[&str]) -> Table {
        let mut table = Table::new(Family::Ip, "t");
        table.chain(chain, Chain::of(["accept"]));
        for element in elements {
            table.verdict("m", *element, &Verdict::Goto(chain.to_owned()));
        }
        table
    }

    #[test]
    fn an_element_that_two_claim_is_the_firsts_until_it_lets_go() {
        let (a, b) = (Key::new("d", "a"), Key::new("d", "b"));
        let mut assembly = Assembly::new(Table::new(Family::Ip, "t"));
        let steps: &[(&Key, Option<Table>, &str)] = &[
            (
                &b,
                Some(part("b", &["80"])),
                "add chain ip t b\nadd element ip t m { 80 : goto b }\nadd rule ip t b accept\n",
            ),
            (
                &a,
                Some(part("a", &["80", "81"])),
                "add chain ip t a\ndelete element ip t m { 80 }\n\
                 add element ip t m { 80 : goto a, 81 : goto a }\nadd rule ip t a accept\n",
            ),
            (&a, Some(part("a", &["80", "81"])), ""),
            (
                &a,
                None,
                "flush chain ip t a\ndelete element ip t m { 80, 81 }\nadd element ip t m { 80 : goto b }\n\
                 delete chain ip t a\n",
            ),
            (&a, None, ""),
        ];
        for (key, part, expected) in steps {
            let transaction = assembly.update(vec![((*key).clone(), part.clone())]);
            assert_eq!(transaction.text(), *expected);
        }
        assert_eq!(assembly.whole(), part("b", &["80"]));
    }
}
