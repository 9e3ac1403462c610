//! Instants and durations as Go reads and writes them.

/// Why a text is no instant or no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// The seconds of Go's zero instant, the year 1.
pub const ZERO: i64 = -62_135_596_800;

/// What `metav1.Time` is to look like, as errors name it.
pub const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
/// What `metav1.MicroTime` is to look like, as errors name it.
pub const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Days since 1970 of a date of the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date that is so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Writes an instant, given in seconds since 1970 and nanoseconds, in UTC; with microseconds if asked.
pub fn format(seconds: i64, nanos: i32, micros: bool) -> String {
    // The bounds of four-digit years; nothing else can be written in this form.
    let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let time = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let fraction = if micros { format!(".{:06}", nanos / 1000) } else { String::new() };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Reads an instant in RFC 3339 as seconds since 1970 and nanoseconds; `layout` is only named in the error.
pub fn parse(text: &str, layout: &str) -> Result<(i64, i32), Error> {
    parts(text).map_err(|(rest, wanted)| match wanted {
        "" => Error(format!("parsing time {text:?}: {rest}")),
        _ => Error(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {wanted:?}")),
    })
}

/// Reads the parts in order; an error is what was left and what it should have been.
fn parts(text: &str) -> Result<(i64, i32), (&str, &'static str)> {
    let mut rest = text;
    let mut number = |digits: usize, wanted, after: &'static str| -> Result<_, (&str, &'static str)> {
        let here = rest;
        let value = rest.get(..digits).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let value = value.and_then(|part| part.parse::<i64>().ok()).ok_or((here, wanted))?;
        rest = &rest[digits..];
        rest = rest.strip_prefix(after).ok_or((rest, after))?;
        Ok((value, rest))
    };
    let (year, _) = number(4, "2006", "-")?;
    let (month, _) = number(2, "01", "-")?;
    let (day, _) = number(2, "02", "T")?;
    let (hour, _) = number(2, "15", ":")?;
    let (minute, _) = number(2, "04", ":")?;
    let (second, mut rest) = number(2, "05", "")?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    for (out, what) in [
        (!(1..=12).contains(&month), "month out of range"),
        (!(1..=last).contains(&day), "day out of range"),
        (hour > 23, "hour out of range"),
        (minute > 59, "minute out of range"),
        (second > 59, "second out of range"),
    ] {
        if out {
            return Err((what, ""));
        }
    }
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err((rest, "Z07:00"));
        }
        nanos = format!("{:0<9.9}", &fraction[..digits]).parse().unwrap_or_default();
        rest = &fraction[digits..];
    }
    let offset = match rest {
        "Z" => 0,
        _ => zone(rest).ok_or((rest, "Z07:00"))?,
    };
    Ok((days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos))
}

/// The seconds that a zone such as `+02:00` is ahead of UTC.
fn zone(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes) = (digits(hours) && digits(minutes))
        .then_some((hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?))?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The units of a duration in nanoseconds, the longer names before their beginnings.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration, as in `1h2m3.5s`, in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, Error> {
    let invalid = || Error(format!("time: invalid duration {text:?}"));
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 {
            return Err(invalid());
        }
        let letters = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(letters);
        if name.is_empty() {
            return Err(Error(format!("time: missing unit in duration {text:?}")));
        }
        let Some((_, unit)) = UNITS.iter().find(|(unit, _)| *unit == name) else {
            return Err(Error(format!("time: unknown unit {name:?} in duration {text:?}")));
        };
        // Digits below a nanosecond do not count.
        let fraction = &fraction[..fraction.len().min(13)];
        let scale = 10i128.pow(u32::try_from(fraction.len()).unwrap_or_default());
        total += whole.parse::<i128>().unwrap_or_default() * unit;
        total += fraction.parse::<i128>().unwrap_or_default() * unit / scale;
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return Err(invalid());
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// Writes a duration, given in nanoseconds, as in `1h2m3.5s`.
pub fn format_duration(nanos: i64) -> String {
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        let text = if unit == 1 {
            value.to_string()
        } else {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        text + name
    };
    let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let text = match size {
        0 => "0s".to_owned(),
        1..1_000 => fraction(size, 1, "ns"),
        1_000..1_000_000 => fraction(size, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(size, 1_000_000, "ms"),
        _ => {
            let seconds = fraction(size % 60_000_000_000, 1_000_000_000, "s");
            match (size / 3_600_000_000_000, size / 60_000_000_000 % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_instants() {
        for (text, nanos, shown) in [
            ("1h", 3_600_000_000_000, "1h0m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("-90s", -90_000_000_000, "-1m30s"),
            ("1500us", 1_500_000, "1.5ms"),
            ("0", 0, "0s"),
            ("1ns", 1, "1ns"),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
            assert_eq!(format_duration(nanos), shown);
        }
        assert!(parse_duration("1x").is_err() && parse_duration("").is_err());
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("0001-01-01T00:00:00Z", ZERO),
        ] {
            assert_eq!(parse(text, SECONDS), Ok((seconds, 0)));
            assert_eq!(format(seconds, 0, false), text);
        }
    }

    #[test]
    fn refused_instants() {
        let cases = [
            ("x", "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""),
            ("2026-02-29T00:00:00Z", "parsing time \"2026-02-29T00:00:00Z\": day out of range"),
            (
                "2026-01-02T03:04:05",
                "parsing time \"2026-01-02T03:04:05\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, SECONDS).unwrap_err().to_string(), expected);
        }
        assert_eq!(parse("2026-01-02T03:04:05.678+01:00", MICROS), Ok((1_767_319_445, 678_000_000)));
    }
}
