//! Quantities read, print, compare and add as upstream's do.

use std::panic::catch_unwind;

use super::*;

#[test]
fn canonical_text() {
    let cases = [
        ("0", "0"),
        ("0.0", "0"),
        ("00", "0"),
        ("0Ki", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1000", "1k"),
        ("1000m", "1"),
        ("1500", "1500"),
        ("1e3", "1e3"),
        ("1000e3", "1e6"),
        ("1E", "1E"),
        ("12E6", "12E6"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("1Ki", "1Ki"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("128Mi", "128Mi"),
        ("1025Ki", "1025Ki"),
        ("16Gi", "16Gi"),
        ("-1Ki", "-1Ki"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("1.1n", "2n"),
        ("-0.1n", "-1n"),
        ("100000000000000000000", "100E"),
        ("9223372036854775808Ki", "9223372036854775807"),
        (".5", "500m"),
        ("1.", "1."),
        ("123456789.123456789", "123456789.123456789"),
        ("0.0001Ki", "102400u"),
    ];
    for (text, expected) in cases {
        assert_eq!(Quantity::parse(text).unwrap().to_string(), expected, "{text}");
    }
}

#[test]
fn refused_text() {
    let cases = [
        ("", Error::Form),
        ("1 ", Error::Form),
        ("abc", Error::Form),
        ("1.1.1", Error::Form),
        ("1Kib", Error::Form),
        ("1K", Error::Suffix),
        ("1mi", Error::Suffix),
        ("1ee3", Error::Suffix),
        ("1i", Error::Suffix),
        ("9999999999999999999999999999999999999999", Error::Numeric),
    ];
    for (text, expected) in cases {
        assert_eq!(Quantity::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn values() {
    let cases = [
        ("1", 1, 1000),
        ("1m", 1, 1),
        ("1500m", 2, 1500),
        ("-1500m", -2, -1500),
        ("1Gi", 1 << 30, 1_073_741_824_000),
        ("1e30", i64::MAX, i64::MAX),
    ];
    for (text, value, milli) in cases {
        let quantity = Quantity::parse(text).unwrap();
        assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
    }
}

#[test]
fn arithmetic() {
    let cases = [
        ("1", "1", "2", "0", Ordering::Equal),
        ("0", "1Gi", "1Gi", "-1Gi", Ordering::Less),
        ("500m", "1", "1500m", "-500m", Ordering::Less),
        ("1Gi", "1G", "2073741824", "73741824", Ordering::Greater),
        (
            "1e30",
            "1n",
            "1000000000000000000000000000000000000001e-9",
            "999999999999999999999999999999999999999e-9",
            Ordering::Greater,
        ),
        ("1Ki", "1024", "2Ki", "0", Ordering::Equal),
    ];
    for (a, b, sum, difference, order) in cases {
        let (a, b) = (Quantity::parse(a).unwrap(), Quantity::parse(b).unwrap());
        assert_eq!(a.cmp(&b), order);
        if sum.len() < 30 {
            assert_eq!((&a + &b).to_string(), sum);
            assert_eq!((&a - &b).to_string(), difference);
        }
    }
}

#[test]
fn json() {
    for (text, expected) in [
        ("\"0.5\"", "\"500m\""),
        ("2", "\"2\""),
        ("null", "\"0\""),
        ("\" 1Gi\"", "\"1Gi\""),
        ("0.25", "\"250m\""),
    ] {
        let quantity: Quantity = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&quantity).unwrap(), expected);
    }
}

#[test]
fn foreign_text_never_panics() {
    let alphabet: Vec<char> = "019.-+eEinumkKMGTPé ".chars().collect();
    let mut state = 7u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..state % 60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(alphabet[(state >> 33) as usize % alphabet.len()]);
        }
        state = state.wrapping_add(1).rotate_left(9);
        let read =
            catch_unwind(|| Quantity::parse(&text).map(|one| (one.to_string(), one.value(), &one + &one)));
        assert!(read.is_ok(), "{text}");
    }
}
