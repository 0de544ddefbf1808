//! Parts of a whole, compared exactly.
//!
//! A setting says 0.8 and a queue has so many bytes of so many. Neither becomes a float where it is compared, so
//! that a limit is reached at one byte and not near it, on every machine.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// The finest part that a [`Share`] knows: a millionth.
const WHOLE: u32 = 1_000_000;

/// A part of a whole that somebody set, from 0 to 1, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(u32);

/// A number that is no part of a whole.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not between 0 and 1")]
pub struct NoShare(f64);

impl Share {
    /// So many hundredths; 100 if there are more.
    pub const fn percent(percent: u32) -> Self {
        Self(if percent > 100 { WHOLE } else { percent * (WHOLE / 100) })
    }

    /// The least part of `whole` that is at least this share.
    pub fn of(self, whole: u64) -> u64 {
        let part = (u128::from(self.0) * u128::from(whole)).div_ceil(u128::from(WHOLE));
        // No share is more than the whole.
        u64::try_from(part).unwrap_or(whole)
    }

    /// Whether `part` of `whole` is at least this share. Of nothing, every share is reached.
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) >= u128::from(self.0) * u128::from(whole)
    }
}

impl TryFrom<f64> for Share {
    type Error = NoShare;

    fn try_from(part: f64) -> Result<Self, NoShare> {
        if !(0.0..=1.0).contains(&part) {
            return Err(NoShare(part));
        }
        // In range by the line above; the cast cuts nothing but what is finer than a millionth.
        Ok(Self((part * f64::from(WHOLE)).round() as u32))
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        f64::from(share.0) / f64::from(WHOLE)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / f64::from(WHOLE / 100))
    }
}

/// How full something is: what is used of what there may be, in one unit. May be more than full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fullness {
    /// What is used.
    pub used: u64,
    /// What there may be.
    pub max: u64,
}

impl Fullness {
    /// Whether nothing more may come.
    pub fn is_full(self) -> bool {
        self.used >= self.max
    }

    /// Whether it is at least that full.
    pub fn reaches(self, share: Share) -> bool {
        share.is_reached(self.used, self.max)
    }

    /// Which of two is fuller, whatever their units. Without any room there is nothing fuller.
    pub fn compare(self, other: Fullness) -> Ordering {
        match (self.max, other.max) {
            (0, 0) => Ordering::Equal,
            (0, _) => Ordering::Greater,
            (_, 0) => Ordering::Less,
            _ => (u128::from(self.used) * u128::from(other.max))
                .cmp(&(u128::from(other.used) * u128::from(self.max))),
        }
    }

    /// In hundredths, cut: 99 until it is full.
    pub fn percent(self) -> u64 {
        match self.max {
            0 => 100,
            max => u64::try_from(u128::from(self.used) * 100 / u128::from(max)).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Fullness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_reached_at_one_byte_and_not_near_it() {
        let share = Share::try_from(0.8).unwrap();
        assert_eq!(share, Share::percent(80));
        let max = 1_000_000_000;
        assert!(Fullness { used: 800_000_000, max }.reaches(share));
        assert!(!Fullness { used: 799_999_999, max }.reaches(share));
        assert!(Fullness { used: u64::MAX, max: u64::MAX }.is_full());
        assert_eq!(Fullness { used: 999_999_999, max }.percent(), 99);
        let of = |whole| (share.of(whole), share.is_reached(share.of(whole), whole));
        assert_eq!([of(max), of(1), of(0)], [(800_000_000, true), (1, true), (0, true)]);
        assert!(!share.is_reached(share.of(max) - 1, max));
        assert_eq!((share.to_string().as_str(), f64::from(share)), ("80 %", 0.8));
    }

    #[test]
    fn what_is_no_part_of_a_whole_is_refused() {
        for bad in [-0.1, 1.000_1, f64::NAN, f64::INFINITY] {
            assert!(Share::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_fuller_of_two_is_found_whatever_their_units() {
        let half = Fullness { used: 5, max: 10 };
        let third = Fullness { used: u64::MAX / 3, max: u64::MAX };
        assert_eq!(half.compare(third), Ordering::Greater);
        assert_eq!(half.compare(Fullness { used: 50, max: 100 }), Ordering::Equal);
        assert_eq!(half.compare(Fullness { used: 0, max: 0 }), Ordering::Less);
    }
}
