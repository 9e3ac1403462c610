//! Reading a quantity's text.

use super::{Error, Format, NANO, Quantity};

/// The most digits before the point: any number of so many fits an `i128`.
const DIGITS: usize = 38;

/// The most digits after the point that are kept of a binary amount; more cannot be told apart in nanos.
const BINARY_DIGITS: usize = 18;

/// The largest exponent accepted in `1e<exponent>`; upstream has no bound, but nothing measures that.
const EXPONENT: i64 = 1_000;

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

/// Reads a quantity.
pub(super) fn quantity(text: &str) -> Result<Quantity, Error> {
    if text.is_empty() {
        return Err(Error::Form);
    }
    let parts = split(text)?;
    let (base, exponent, format) = suffix(parts.suffix).ok_or(Error::Suffix)?;
    if parts.whole.len() > DIGITS {
        return Err(Error::Numeric);
    }
    let magnitude = if base == 2 { binary(&parts, exponent) } else { decimal(&parts, exponent) }?;
    let sub_unit = base == 2
        && magnitude.1 < 0
        && 10i128.checked_pow(magnitude.1.unsigned_abs()).is_none_or(|one| magnitude.0 < one);
    let format = if sub_unit { Format::DecimalSi } else { format };
    let mantissa = if parts.negative { -magnitude.0 } else { magnitude.0 };
    let mut quantity = Quantity::of(mantissa, magnitude.1, format);
    if keeps_text(&parts, base, exponent) {
        quantity.text = Some(text.into());
    }
    Ok(quantity)
}

/// Whether upstream takes the text for canonical already: it tells by a few cheap signs.
fn keeps_text(parts: &Parts<'_>, base: u32, exponent: i32) -> bool {
    let digits = parts.whole.len() + parts.fraction.len();
    let last = parts.whole.bytes().chain(parts.fraction.bytes()).rev();
    if base == 2 {
        let value = parts.whole.parse::<i64>();
        return parts.fraction.is_empty()
            && digits + (exponent as usize * 3 / 10) < 15
            && value.is_ok_and(|value| value & 7 != 0);
    }
    let scale = exponent - i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
    digits <= 18
        && scale >= NANO
        && scale % 3 == 0
        && !parts.whole.starts_with('0')
        && !(digits >= 3 && last.take(3).all(|digit| digit == b'0'))
}

fn decimal(parts: &Parts<'_>, exponent: i32) -> Result<(i128, i32), Error> {
    let (mut mantissa, mut scale) = (0i128, exponent);
    for digit in parts.whole.bytes() {
        mantissa = mantissa * 10 + i128::from(digit - b'0');
    }
    let mut rest = false;
    for digit in parts.fraction.bytes() {
        if scale > NANO && mantissa < 10i128.pow(36) {
            mantissa = mantissa * 10 + i128::from(digit - b'0');
            scale -= 1;
        } else {
            rest |= digit != b'0';
        }
    }
    // What lies below a nano is rounded up to one.
    while scale < NANO && mantissa != 0 {
        rest |= mantissa % 10 != 0;
        mantissa /= 10;
        scale += 1;
        if mantissa == 0 && rest {
            scale = NANO;
        }
    }
    Ok((mantissa + i128::from(rest), scale))
}

fn binary(parts: &Parts<'_>, exponent: i32) -> Result<(i128, i32), Error> {
    let factor = 1i128 << exponent;
    let whole = parts.whole.parse::<i128>().map_err(|_| Error::Numeric)?.checked_mul(factor);
    let most = i128::from(i64::MAX);
    let Some(whole) = whole.filter(|whole| *whole < most) else { return Ok((most, 0)) };
    let digits = &parts.fraction[..parts.fraction.len().min(BINARY_DIGITS)];
    if digits.is_empty() {
        return Ok((whole, 0));
    }
    let fraction = digits.parse::<i128>().map_err(|_| Error::Numeric)? * factor;
    let unit = 10i128.pow(u32::try_from(digits.len()).unwrap_or_default());
    let (more, below) = (fraction / unit, fraction % unit);
    let nanos = if digits.len() > 9 {
        let step = unit / 1_000_000_000;
        (below + step - 1) / step
    } else {
        below * (1_000_000_000 / unit)
    };
    Ok(((whole + more).min(most) * 1_000_000_000 + nanos, NANO))
}

fn split(text: &str) -> Result<Parts<'_>, Error> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let number = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        let whole = if whole.is_empty() { "0" } else { whole };
        Ok(Parts { negative, whole, fraction, suffix })
    } else {
        Err(Error::Form)
    }
}

fn suffix(text: &str) -> Option<(u32, i32, Format)> {
    let decimal = |exponent| Some((10, exponent, Format::DecimalSi));
    let binary = |exponent| Some((2, exponent, Format::BinarySi));
    match text {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = text.strip_prefix(['e', 'E'])?.parse::<i64>().ok()?;
            let exponent = i32::try_from(exponent.clamp(-EXPONENT, EXPONENT)).ok()?;
            Some((10, exponent, Format::DecimalExponent))
        }
    }
}
