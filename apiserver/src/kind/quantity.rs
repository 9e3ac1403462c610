//! Quantities: exact arithmetic on amounts like `100m`, `1.5Gi` and `2e3`, and their canonical text.

use std::cmp::Ordering;

/// An amount in billionths, the finest unit a quantity may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    nano: i128,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Binary,
    Decimal,
    Exponent,
}

/// Billionths in one.
const NANO: i128 = 1_000_000_000;

const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nano.cmp(&other.nano))
    }
}

impl Quantity {
    pub(crate) const ZERO: Self = Self { nano: 0, form: Form::Decimal };

    /// Reads a quantity; `None` where the text is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let split = text
            .char_indices()
            .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
            .map_or(text.len(), |(at, _)| at);
        let (number, suffix) = text.split_at(split);
        let (scale, form) = scale_of(suffix)?;
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && part.is_empty() || part.contains('.') {
            return None;
        }
        let mut amount: i128 = 0;
        for byte in whole.bytes().chain(part.bytes()) {
            amount = amount.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        let divisor = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
        let nano = match scale {
            Scale::Power(power) => {
                let shift = power + 9;
                let (up, down) = if shift >= 0 {
                    (10_i128.checked_pow(u32::try_from(shift).ok()?)?, 1)
                } else {
                    (1, 10_i128.checked_pow(u32::try_from(-shift).ok()?)?)
                };
                ceiling(amount.checked_mul(up)?, divisor.checked_mul(down)?)
            }
            Scale::Bits(bits) => ceiling(amount.checked_mul(NANO)?.checked_mul(1 << bits)?, divisor),
        };
        Some(Self { nano: if negative { -nano } else { nano }, form })
    }

    /// The text every server writes for this amount.
    pub(crate) fn canonical(self) -> String {
        if self.nano == 0 {
            return "0".to_owned();
        }
        if self.form == Form::Binary && self.nano % NANO == 0 {
            let whole = self.nano / NANO;
            if whole.abs() >= 1024 {
                for (suffix, bits) in BINARY {
                    if whole % (1 << bits) == 0 {
                        return format!("{}{suffix}", whole >> bits);
                    }
                }
            }
            return whole.to_string();
        }
        for (suffix, power) in DECIMAL {
            let unit = 10_i128.pow(u32::try_from(power + 9).unwrap_or_default());
            if self.nano % unit == 0 {
                let suffix = match (self.form, power) {
                    (Form::Exponent, 0) => String::new(),
                    (Form::Exponent, power) => format!("e{power}"),
                    _ => suffix.to_owned(),
                };
                return format!("{}{suffix}", self.nano / unit);
            }
        }
        self.nano.to_string()
    }

    pub(crate) const fn is_negative(self) -> bool {
        self.nano < 0
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// Rounded up to a whole number of thousandths.
    pub(crate) fn to_milli(self) -> Self {
        Self { nano: ceiling(self.nano, NANO / 1000) * (NANO / 1000), form: self.form }
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        let form = if self.nano == 0 { other.form } else { self.form };
        Self { nano: self.nano + other.nano, form }
    }

    /// How many times the other one this is.
    pub(crate) fn over(self, other: Self) -> f64 {
        self.nano as f64 / other.nano as f64
    }
}

enum Scale {
    Power(i32),
    Bits(u32),
}

fn scale_of(suffix: &str) -> Option<(Scale, Form)> {
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Bits(*bits), Form::Binary));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Power(*power), Form::Decimal));
    }
    let power = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-30..=30).contains(&power).then_some((Scale::Power(power), Form::Exponent))
}

const fn ceiling(amount: i128, divisor: i128) -> i128 {
    (amount + divisor - 1) / divisor
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn canonical_text() {
        for (given, expected) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("100Ki", "100Ki"),
            ("1e3", "1e3"),
            ("2000", "2k"),
            ("0", "0"),
            ("0Gi", "0"),
            ("0.5Gi", "512Mi"),
            ("-1", "-1"),
            ("1", "1"),
        ] {
            let quantity = Quantity::parse(given).unwrap();
            assert_eq!(quantity.canonical(), expected, "{given}");
        }
        for bad in ["", "x", "1x", "1..2", "Gi", "1 Gi", "--1"] {
            assert!(Quantity::parse(bad).is_none(), "{bad}");
        }
    }
}
