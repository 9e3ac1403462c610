//! Amounts of resources, as in `500m` or `2Gi`: exact, with upstream's canonical text.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod parse;
#[cfg(test)]
mod tests;

/// The smallest power of ten kept; upstream rounds finer amounts up to it.
const NANO: i32 = -9;

/// The largest power of ten that has a suffix of its own.
const EXA: i32 = 18;

/// An amount, and how it likes to be written. Equal amounts are equal however they are written.
#[derive(Debug, Clone, Default)]
pub struct Quantity {
    /// The amount is `mantissa * 10^scale`; the mantissa does not end in a zero.
    mantissa: i128,
    scale: i32,
    format: Format,
    /// The text it was read from, kept only where upstream gives it back unchanged.
    text: Option<Box<str>>,
}

/// How an amount is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// With `e3`, `e6`, ...
    DecimalExponent,
    /// With `Ki`, `Mi`, ...
    BinarySi,
    /// With `m`, `k`, `M`, ...
    #[default]
    DecimalSi,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It has another form.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// Its digits are no number, or more than can be kept.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// Its suffix is none of the known ones.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::quantity(text)
    }

    /// A whole amount.
    pub fn new(value: i64, format: Format) -> Self {
        Self::of(i128::from(value), 0, format)
    }

    /// An amount in thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self::of(i128::from(value), -3, format)
    }

    fn of(mut mantissa: i128, mut scale: i32, format: Format) -> Self {
        if mantissa == 0 {
            scale = 0;
        }
        while mantissa != 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale += 1;
        }
        Self { mantissa, scale, format, text: None }
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The amount in whole units, rounded away from zero, at the bounds of an `i64` where it is beyond.
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// The amount in thousandths, rounded away from zero, at the bounds of an `i64` where it is beyond.
    pub fn milli_value(&self) -> i64 {
        self.scaled(-3)
    }

    /// The amount as a binary floating point number; for scores and metrics, not for accounts.
    pub fn approximate(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    fn scaled(&self, scale: i32) -> i64 {
        let bound = if self.mantissa < 0 { i64::MIN } else { i64::MAX };
        match self.at_scale(scale) {
            Some((value, _)) => i64::try_from(value).unwrap_or(bound),
            None => bound,
        }
    }

    /// The amount in units of `10^scale`, rounded away from zero, and whether that is exact.
    fn at_scale(&self, scale: i32) -> Option<(i128, bool)> {
        let shift = self.scale - scale;
        let factor = 10i128.checked_pow(shift.unsigned_abs());
        if shift >= 0 {
            return self.mantissa.checked_mul(factor?).map(|value| (value, true));
        }
        // A factor beyond the type leaves of any amount a rounded one.
        let (quotient, rest) = match factor {
            Some(factor) => (self.mantissa / factor, self.mantissa % factor),
            None => (0, self.mantissa),
        };
        Some((quotient + rest.signum(), rest == 0))
    }

    fn sum(&self, other: &Self, sign: i128) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        let scale = self.scale.min(other.scale);
        let both = self.at_scale(scale).zip(other.at_scale(scale));
        let total = both.and_then(|((a, _), (b, _))| a.checked_add(b * sign));
        // What cannot be held is at the bound of what can, as upstream does for its own bound.
        total.map_or_else(|| Self::of(i128::MAX, 0, format), |total| Self::of(total, scale, format))
    }

    /// The canonical text: no digit after a point, and the largest suffix that allows that.
    fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let large = self.cmp_whole(1024) != Ordering::Less;
        if let (Format::BinarySi, true, Some((mut value, true))) = (self.format, large, self.at_scale(0)) {
            let mut suffix = 0;
            while value % 1024 == 0 && suffix + 1 < BINARY.len() {
                value /= 1024;
                suffix += 1;
            }
            return format!("{value}{}", BINARY[suffix]);
        }
        let highest = if self.format == Format::DecimalExponent { i32::MAX } else { EXA };
        let exponent = self.scale.div_euclid(3).saturating_mul(3).min(highest);
        let zeroes = usize::try_from(self.scale - exponent).unwrap_or_default();
        let number = format!("{}{}", self.mantissa, "0".repeat(zeroes));
        match (self.format, exponent) {
            (Format::DecimalExponent, 0) => number,
            (Format::DecimalExponent, _) => format!("{number}e{exponent}"),
            _ => format!("{number}{}", DECIMAL[usize::try_from(exponent / 3 + 3).unwrap_or_default()]),
        }
    }

    /// Compares the magnitude with a whole number.
    fn cmp_whole(&self, whole: i64) -> Ordering {
        let magnitude = Self { mantissa: self.mantissa.abs(), ..self.clone() };
        magnitude.cmp(&Self::new(whole, Format::DecimalSi))
    }
}

/// The suffixes of powers of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The suffixes of powers of 1000, from `10^-9`.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => out.pad(text),
            None => out.pad(&self.canonical()),
        }
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.min(other.scale);
        match (self.at_scale(scale), other.at_scale(scale)) {
            (Some((a, _)), Some((b, _))) => a.cmp(&b),
            // Only one of them can be too large for the other's scale.
            (None, _) => self.sign().cmp(&0),
            (_, None) => 0.cmp(&other.sign()),
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl std::ops::Add for &Quantity {
    type Output = Quantity;

    fn add(self, other: &Quantity) -> Quantity {
        self.sum(other, 1)
    }
}

impl std::ops::Sub for &Quantity {
    type Output = Quantity;

    fn sub(self, other: &Quantity) -> Quantity {
        self.sum(other, -1)
    }
}

impl std::ops::AddAssign<&Quantity> for Quantity {
    fn add_assign(&mut self, other: &Quantity) {
        *self = self.sum(other, 1);
    }
}

impl std::ops::SubAssign<&Quantity> for Quantity {
    fn sub_assign(&mut self, other: &Quantity) {
        *self = self.sum(other, -1);
    }
}

impl std::ops::Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self::of(-self.mantissa, self.scale, self.format)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Takes a text, a number or null, as upstream does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => return Ok(Self::default()),
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Self::parse(text.trim()).map_err(serde::de::Error::custom)
    }
}
