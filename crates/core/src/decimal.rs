//! Exact decimals: arithmetic on the digits themselves, so that nothing is ever rounded unless somebody said how.
//!
//! A decimal of a database may have a hundred thousand digits, and a binary float keeps fifteen. Here a decimal is
//! its digits and the place of its point. Work is bounded: adding and comparing are linear in the digits, and a
//! product of more than [`PRODUCT_MAX`] single steps is refused.

use std::cmp::Ordering;
use std::fmt;

/// The most digits of a decimal: what PostgreSQL has before and behind the point, together.
const DIGITS_MAX: usize = 150_000;
/// The most single steps of one product: two decimals of three thousand digits.
const PRODUCT_MAX: usize = 10_000_000;

/// An exact decimal that is finite. Its scale is kept: `1.50` is not written as `1.5`, although both are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// The last digit first, without zeros before the first.
    digits: Vec<u8>,
    /// How many of the digits are behind the point.
    scale: usize,
}

/// What becomes of digits that are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearest, a half to the even digit.
    HalfEven,
    /// To the nearest, a half away from zero.
    HalfUp,
    /// Towards zero.
    Down,
    /// Away from zero.
    Up,
    /// Towards minus infinity.
    Floor,
    /// Towards infinity.
    Ceiling,
    /// None may be cut off but zeros: the record is set aside.
    Exact,
}

impl Rounding {
    /// All of them, by the names that a config uses.
    pub const NAMED: [(&'static str, Rounding); 7] = [
        ("half_even", Rounding::HalfEven),
        ("half_up", Rounding::HalfUp),
        ("down", Rounding::Down),
        ("up", Rounding::Up),
        ("floor", Rounding::Floor),
        ("ceiling", Rounding::Ceiling),
        ("exact", Rounding::Exact),
    ];
}

impl Decimal {
    /// Reads an optional sign, digits with or without a point, and an optional exponent.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
        if whole.len() + part.len() == 0 || whole.len() + part.len() > DIGITS_MAX {
            return None;
        }
        if !is_number(whole) || !is_number(part) || exponent.unsigned_abs() > DIGITS_MAX as u64 {
            return None;
        }
        let mut digits: Vec<u8> = part.bytes().rev().chain(whole.bytes().rev()).map(|d| d - b'0').collect();
        let scale = i64::try_from(part.len()).ok()? - exponent;
        if scale < 0 {
            digits.splice(0..0, std::iter::repeat_n(0, usize::try_from(-scale).ok()?));
        }
        let scale = usize::try_from(scale.max(0)).ok()?;
        if digits.len().max(scale) > DIGITS_MAX {
            return None;
        }
        Some(Self { negative, digits, scale }.trimmed())
    }

    /// Without zeros before the first digit, and without a sign at zero.
    fn trimmed(mut self) -> Self {
        let zeros = self.digits.iter().rev().take_while(|digit| **digit == 0).count();
        self.digits.truncate(self.digits.len() - zeros);
        self.negative &= !self.digits.is_empty();
        self
    }

    /// Its digits as if it had a larger scale.
    fn digits_at(&self, scale: usize) -> Vec<u8> {
        let zeros = if self.digits.is_empty() { 0 } else { scale.saturating_sub(self.scale) };
        std::iter::repeat_n(0, zeros).chain(self.digits.iter().copied()).collect()
    }

    /// The sum; its scale is the larger of both. `None`: it has too many digits.
    pub(crate) fn add(&self, other: &Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let (a, b) = (self.digits_at(scale), other.digits_at(scale));
        if a.len().max(b.len()) >= DIGITS_MAX {
            return None;
        }
        let (negative, digits) = if self.negative == other.negative {
            (self.negative, sum(&a, &b))
        } else if compare(&a, &b) == Ordering::Less {
            (other.negative, difference(&b, &a))
        } else {
            (self.negative, difference(&a, &b))
        };
        Some(Self { negative, digits, scale }.trimmed())
    }

    /// The difference; its scale is the larger of both. `None`: it has too many digits.
    pub(crate) fn subtract(&self, other: &Self) -> Option<Self> {
        self.add(&Self { negative: !other.negative, ..other.clone() }.trimmed())
    }

    /// The product; its scale is the sum of both. `None`: it would take too long, or has too many digits.
    pub(crate) fn multiply(&self, other: &Self) -> Option<Self> {
        let steps = self.digits.len().checked_mul(other.digits.len())?;
        let scale = self.scale + other.scale;
        if steps > PRODUCT_MAX || scale > DIGITS_MAX {
            return None;
        }
        let mut places = vec![0_u32; self.digits.len() + other.digits.len()];
        for (shift, digit) in self.digits.iter().enumerate() {
            let onto = places.iter_mut().skip(shift);
            onto.zip(&other.digits).for_each(|(place, by)| *place += u32::from(*digit) * u32::from(*by));
        }
        let mut carry = 0;
        let digits = places
            .into_iter()
            .map(|place| {
                let here = place + carry;
                carry = here / 10;
                (here % 10) as u8
            })
            .collect();
        Some(Self { negative: self.negative != other.negative, digits, scale }.trimmed())
    }

    /// With so many digits behind the point. `None`: digits would be lost and none may be, or there are too many.
    pub(crate) fn rescale(&self, scale: usize, rounding: Rounding) -> Option<Self> {
        if scale >= self.scale {
            let digits = self.digits_at(scale);
            return (digits.len().max(scale) <= DIGITS_MAX).then_some(Self {
                negative: self.negative,
                digits,
                scale,
            });
        }
        let cut = self.scale - scale;
        let kept: Vec<u8> = self.digits.iter().skip(cut).copied().collect();
        let first = self.digits.get(cut - 1).copied().unwrap_or(0);
        let rest = self.digits.iter().take(cut - 1).any(|digit| *digit != 0);
        let lost = first != 0 || rest;
        let even = kept.first().is_none_or(|digit| digit % 2 == 0);
        let away = match rounding {
            Rounding::HalfEven => first > 5 || (first == 5 && (rest || !even)),
            Rounding::HalfUp => first >= 5,
            Rounding::Down => false,
            Rounding::Up => lost,
            Rounding::Floor => lost && self.negative,
            Rounding::Ceiling => lost && !self.negative,
            Rounding::Exact if lost => return None,
            Rounding::Exact => false,
        };
        let digits = if away { sum(&kept, &[1]) } else { kept };
        Some(Self { negative: self.negative, digits, scale }.trimmed())
    }

    /// The shortest form: no zeros at the end behind the point.
    pub(crate) fn shortest(mut self) -> Self {
        let zeros = self.digits.iter().take(self.scale).take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        self.scale = if self.digits.is_empty() { 0 } else { self.scale - zeros };
        self
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let scale = self.scale.max(other.scale);
        let size = compare(&self.digits_at(scale), &other.digits_at(scale));
        Some(match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size,
            (true, true) => size.reverse(),
        })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.digits.len().max(self.scale + 1);
        let mut text = String::with_capacity(length + 2);
        if self.negative {
            text.push('-');
        }
        for place in (0..length).rev() {
            text.push(char::from(b'0' + self.digits.get(place).copied().unwrap_or(0)));
            if place == self.scale && place > 0 {
                text.push('.');
            }
        }
        f.write_str(&text)
    }
}

/// Compares two rows of digits without leading zeros.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.iter().rev().cmp(b.iter().rev()))
}

fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let length = a.len().max(b.len()) + 1;
    let digit = |of: &[u8], place: usize| of.get(place).copied().unwrap_or(0);
    (0..length)
        .map(|place| {
            let here = digit(a, place) + digit(b, place) + carry;
            carry = here / 10;
            here % 10
        })
        .collect()
}

/// The larger less the smaller.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrowed = 0;
    a.iter()
        .enumerate()
        .map(|(place, digit)| {
            let less = b.get(place).copied().unwrap_or(0) + borrowed;
            borrowed = u8::from(*digit < less);
            digit + 10 * borrowed - less
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn a_decimal_is_written_as_it_was_read() {
        for text in ["0", "0.00", "-0.05", "12", "1.10", "-123456789012345678901234567890.123456789"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        for (text, shown) in
            [("-0", "0"), ("007", "7"), (".5", "0.5"), ("5.", "5"), ("1e3", "1000"), ("12e-4", "0.0012")]
        {
            assert_eq!(decimal(text).to_string(), shown, "{text}");
        }
        for bad in ["", ".", "-", "1.2.3", "NaN", "Infinity", "1 ", "0x10", "1e", "1e999999999", "٣"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn arithmetic_agrees_with_whole_numbers() {
        let numbers = [-1_000_i64, -999, -51, -50, -1, 0, 1, 9, 10, 49, 50, 99, 101, 12_345];
        for a in numbers {
            for b in numbers {
                let (x, y) = (decimal(&a.to_string()), decimal(&b.to_string()));
                assert_eq!(x.add(&y).unwrap().to_string(), (a + b).to_string(), "{a} + {b}");
                assert_eq!(x.subtract(&y).unwrap().to_string(), (a - b).to_string(), "{a} - {b}");
                assert_eq!(x.multiply(&y).unwrap().to_string(), (a * b).to_string(), "{a} * {b}");
                assert_eq!(x.partial_cmp(&y), a.partial_cmp(&b), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_a_float_would_round_is_exact() {
        assert_eq!(decimal("0.1").add(&decimal("0.2")).unwrap().to_string(), "0.3");
        assert_eq!(decimal("1.1").multiply(&decimal("12")).unwrap().to_string(), "13.2");
        assert_eq!(decimal("1.005").multiply(&decimal("100")).unwrap().to_string(), "100.500");
        assert_eq!(decimal("1.0").partial_cmp(&decimal("1.00")), Some(Ordering::Equal));
        assert_eq!(decimal("-1.50").shortest().to_string(), "-1.5");
        assert_eq!(decimal("100").shortest().to_string(), "100");
        assert_eq!(decimal("0.000").shortest().to_string(), "0");
    }

    #[test]
    fn rounding_is_as_it_was_named() {
        use Rounding::{Ceiling, Down, Exact, Floor, HalfEven, HalfUp, Up};
        let check = |text: &str, scale, rounding, expected: Option<&str>| {
            let seen = decimal(text).rescale(scale, rounding).map(|decimal| decimal.to_string());
            assert_eq!(seen.as_deref(), expected, "{text} {scale} {rounding:?}");
        };
        for (rounding, expected) in [
            (HalfEven, ["2.2", "2.4", "-2.4", "2.3", "0.0"]),
            (HalfUp, ["2.3", "2.4", "-2.4", "2.3", "0.1"]),
            (Down, ["2.2", "2.3", "-2.3", "2.2", "0.0"]),
            (Up, ["2.3", "2.4", "-2.4", "2.3", "0.1"]),
            (Floor, ["2.2", "2.3", "-2.4", "2.2", "0.0"]),
            (Ceiling, ["2.3", "2.4", "-2.3", "2.3", "0.1"]),
        ] {
            for (text, expected) in ["2.25", "2.35", "-2.35", "2.2501", "0.05"].into_iter().zip(expected) {
                check(text, 1, rounding, Some(expected));
            }
        }
        check("2.50", 1, Exact, Some("2.5"));
        check("2.51", 1, Exact, None);
        check("9.99", 1, HalfUp, Some("10.0"));
        check("1.5", 3, HalfEven, Some("1.500"));
        check("0", 2, HalfEven, Some("0.00"));
        check("-0.001", 2, HalfEven, Some("0.00"));
        check("0.0001", 2, Up, Some("0.01"));
    }
}
