//! Numbers, by their text.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::value::RawValue;

/// A number as it was written. Two of them are equal when they have the same value: `1`, `1.0` and `10e-1`
/// are. Nothing is computed with them, so none is ever rounded.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Number(Box<RawValue>);

/// The digits of a value without zeros at either end, and the power of ten that the last of them stands for.
/// Zero has no digits.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    /// Takes a text that the reader has found to be a number.
    pub(super) fn new(text: &str) -> Self {
        Self(RawValue::from_string(text.to_owned()).expect("the reader has checked it"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value, where it is a whole number of 64 bits, whatever its notation.
    pub fn whole(&self) -> Option<u64> {
        let Decimal { negative, mut digits, exponent } = Decimal::of(self.as_str())?;
        if digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(exponent).ok().filter(|zeros| *zeros < 20 && !negative)?;
        digits.extend(std::iter::repeat_n('0', zeros));
        digits.parse().ok()
    }

    /// One notation for each value.
    pub(super) fn canonical(&self) -> Self {
        let Some(Decimal { negative, mut digits, exponent }) = Decimal::of(self.as_str()) else {
            // It has an exponent of twenty digits: another notation of the same value would be a feat.
            return self.clone();
        };
        if digits.is_empty() {
            return Self::new("0");
        }
        if negative {
            digits.insert(0, '-');
        }
        let _ = write!(digits, "e{exponent}");
        Self::new(&digits)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || self.canonical().as_str() == other.canonical().as_str()
    }
}

impl Decimal {
    /// `None` when the exponent is beyond 64 bits, and the value not zero.
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_end_matches('0');
        let cut = all.len() - digits.len();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self { negative, digits: String::new(), exponent: 0 });
        }
        let power: i64 = power.parse().ok()?;
        let shift = i64::try_from(cut).ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        Some(Self { negative, digits: digits.to_owned(), exponent: power.checked_add(shift)? })
    }
}
