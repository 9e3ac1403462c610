//! Sets of completion indexes, as an Indexed Job's status writes them: `1,3-5,7`.

use std::collections::BTreeSet;

/// Reads a set; what is malformed or not below `limit` is left out.
pub(super) fn parse(text: &str, limit: i32) -> BTreeSet<i32> {
    let mut set = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<i32>(), last.trim().parse::<i32>()) {
            set.extend(first.max(0)..=last.min(limit - 1));
        }
    }
    set
}

/// Writes a set; three or more in a row become a range (upstream's form).
pub(super) fn format(set: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in set {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let words: Vec<_> = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_as_text() {
        for (text, limit, back) in
            [("", 5, ""), ("1,3-5,7", 9, "1,3-5,7"), ("0-1,4", 9, "0,1,4"), ("3-9", 5, "3,4")]
        {
            assert_eq!(format(&parse(text, limit)), back, "{text}");
        }
    }
}
