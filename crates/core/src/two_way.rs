//! Who is right when both sides of a two-way map have changed a record: decided from what each change knew of the
//! other side, and without a clock.
//!
//! Every change that a user makes enters its journal with a [`Stamp`]: how far the opposite flow was in the user's
//! own app, as that app's log tells it. A change *knew* another of the opposite side if that one lies at or below its
//! stamp. Two changes of a record are **in conflict** if neither knew the other; that one of them is queued, in
//! flight or set aside is all this one test. Among versions of one side, the later one counts.
//!
//! Saying who wins is not enough: what lost may have been written over the winner, at the winner's home, before
//! anybody knew of the winner. The echo of that write tells (it comes behind the winner in the home's log), and the
//! winner is then written back: a *correction*.

use crate::{Seq, Stamp, WallTime};
use serde::{Deserialize, Serialize};

/// A side of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideName {
    /// The left one.
    Left,
    /// The right one.
    Right,
}

/// Who wins a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The left side.
    #[default]
    LeftWins,
    /// The right side.
    RightWins,
    /// The side that was changed later by its own clock; the left one if both say the same.
    LatestWins,
    /// Nobody: both changes are set aside for a person to decide.
    Park,
}

impl ConflictPolicy {
    /// All of them.
    pub const ALL: [ConflictPolicy; 4] = [
        ConflictPolicy::LeftWins,
        ConflictPolicy::RightWins,
        ConflictPolicy::LatestWins,
        ConflictPolicy::Park,
    ];

    /// Its name, the same on every surface.
    pub fn name(self) -> &'static str {
        match self {
            ConflictPolicy::LeftWins => "left_wins",
            ConflictPolicy::RightWins => "right_wins",
            ConflictPolicy::LatestWins => "latest_wins",
            ConflictPolicy::Park => "park",
        }
    }
}

/// What becomes of what an app's own triggers change within our transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideEffects {
    /// It is brought to the other side like a user's change; once, lest two triggers play ping-pong.
    #[default]
    Sync,
    /// It stays where it is.
    Ignore,
}

/// One change of a record by a user of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Where it was made.
    pub side: SideName,
    /// Its number in the journal of its side.
    pub seq: Seq,
    /// What it knew.
    pub stamp: Stamp,
}

impl Version {
    /// Whether it was made in sight of a version of the other side that was brought over in the ordinary way.
    pub fn knew(&self, other: &Version) -> bool {
        other.seq <= self.stamp.knew
    }

    /// Which of two versions that are in conflict wins: `None` if nobody does. The same whichever is asked.
    pub fn beats(&self, other: &Version, policy: ConflictPolicy) -> Option<bool> {
        let winner = match policy {
            ConflictPolicy::LeftWins => SideName::Left,
            ConflictPolicy::RightWins => SideName::Right,
            ConflictPolicy::Park => return None,
            ConflictPolicy::LatestWins => match (later(self, other), later(other, self)) {
                (true, _) => self.side,
                (_, true) => other.side,
                (false, false) => SideName::Left,
            },
        };
        Some(winner == self.side)
    }
}

fn later(one: &Version, other: &Version) -> bool {
    one.stamp.at > other.stamp.at
}

/// A version of the opposite side, as the one that is judged meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rival {
    /// The version.
    pub version: Version,
    /// It was set aside and is not resolved: it was not brought over, whatever a stamp says.
    pub set_aside: bool,
}

/// What becomes of a version when its turn comes to be written to the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is written.
    pub outcome: Outcome,
    /// The versions that it is in conflict with.
    pub conflicts: Vec<Seq>,
}

/// See [`Verdict::outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Write,
    /// Another version wins over it, or was made in sight of it: it is passed over.
    Lost,
    /// A person is to decide.
    Parked,
}

/// Judges a version against those of the opposite side that have been journaled; `version` is a rival to them as they are
/// to it. A pure function of what was journaled, so that asking again gives the same answer unless there are more rivals.
pub fn judge(version: &Rival, rivals: &[Rival], policy: ConflictPolicy) -> Verdict {
    let mut verdict = Verdict { outcome: Outcome::Write, conflicts: Vec::new() };
    let Rival { version, set_aside } = version;
    for rival in rivals {
        if version.knew(&rival.version) && !rival.set_aside {
            continue;
        }
        // What was set aside had gone past them, and nobody has seen it.
        if rival.version.knew(version) && !set_aside {
            verdict.outcome = Outcome::Lost;
            continue;
        }
        verdict.conflicts.push(rival.version.seq);
        match (version.beats(&rival.version, policy), verdict.outcome) {
            (Some(false), _) => verdict.outcome = Outcome::Lost,
            (None, Outcome::Write) => verdict.outcome = Outcome::Parked,
            (Some(true), _) | (None, _) => {}
        }
    }
    verdict
}

/// Whether a version is to be written back to its own side, over which a version of the other side was written that
/// did not know it. `others` are the versions of the other side that have been journaled.
pub fn is_to_be_restored(version: &Version, others: &[Version], policy: ConflictPolicy) -> bool {
    others.iter().all(|other| {
        let superseded = other.knew(version);
        let known = version.knew(other);
        known || (!superseded && version.beats(other, policy) == Some(true))
    })
}

/// The time that a version is stamped with: its own, but never before that of an earlier version of its record on the
/// same side, so that a clock that steps back does not let a beaten version win.
pub fn frozen_time(committed_at: WallTime, earlier: Option<WallTime>) -> WallTime {
    earlier.map_or(committed_at, |earlier| earlier.max(committed_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(side: SideName, seq: u64, knew: u64, at: i64) -> Version {
        Version { side, seq: Seq(seq), stamp: Stamp { knew: Seq(knew), at: WallTime(at) } }
    }

    fn rival(version: Version) -> Rival {
        Rival { version, set_aside: false }
    }

    use ConflictPolicy::{LatestWins, LeftWins, Park, RightWins};
    use SideName::{Left, Right};

    #[test]
    fn what_was_made_in_sight_of_the_other_is_no_conflict() {
        // Right 7 had seen left 5; so left 5 is old, and right 7 is written without a word.
        let (left, right) = (version(Left, 5, 3, 0), version(Right, 7, 5, 0));
        for policy in ConflictPolicy::ALL {
            let verdict = judge(&rival(right), &[rival(left)], policy);
            assert_eq!(verdict, Verdict { outcome: Outcome::Write, conflicts: vec![] });
            let verdict = judge(&rival(left), &[rival(right)], policy);
            assert_eq!(verdict, Verdict { outcome: Outcome::Lost, conflicts: vec![] });
        }
    }

    #[test]
    fn of_two_that_did_not_know_each_other_one_side_wins_whoever_asks() {
        let (left, right) = (version(Left, 5, 3, 100), version(Right, 7, 4, 200));
        let table = [
            (LeftWins, Outcome::Write, Outcome::Lost),
            (RightWins, Outcome::Lost, Outcome::Write),
            (LatestWins, Outcome::Lost, Outcome::Write),
            (Park, Outcome::Parked, Outcome::Parked),
        ];
        for (policy, of_left, of_right) in table {
            let verdict = judge(&rival(left), &[rival(right)], policy);
            assert_eq!((verdict.outcome, verdict.conflicts), (of_left, vec![Seq(7)]), "{policy:?}");
            let verdict = judge(&rival(right), &[rival(left)], policy);
            assert_eq!((verdict.outcome, verdict.conflicts), (of_right, vec![Seq(5)]), "{policy:?}");
        }
    }

    #[test]
    fn at_the_same_moment_the_left_side_is_the_later_one() {
        let (left, right) = (version(Left, 5, 0, 100), version(Right, 7, 0, 100));
        assert_eq!(left.beats(&right, LatestWins), Some(true));
        assert_eq!(right.beats(&left, LatestWins), Some(false));
    }

    #[test]
    fn what_was_set_aside_was_not_brought_over_whatever_the_stamp_says() {
        let (left, right) = (version(Left, 5, 3, 0), version(Right, 7, 6, 0));
        let aside = Rival { version: left, set_aside: true };
        let verdict = judge(&rival(right), &[aside], LeftWins);
        assert_eq!(verdict, Verdict { outcome: Outcome::Lost, conflicts: vec![Seq(5)] });
        // Nor is it when its own turn comes again: both decide alike, or the sides would differ.
        for (policy, outcome) in [(LeftWins, Outcome::Write), (RightWins, Outcome::Lost)] {
            assert_eq!(judge(&aside, &[rival(right)], policy), Verdict { outcome, conflicts: vec![Seq(7)] });
        }
    }

    #[test]
    fn one_lost_comparison_is_enough() {
        let mine = version(Left, 5, 3, 100);
        let rivals = [rival(version(Right, 7, 4, 50)), rival(version(Right, 8, 4, 150))];
        let verdict = judge(&rival(mine), &rivals, LatestWins);
        assert_eq!(verdict, Verdict { outcome: Outcome::Lost, conflicts: vec![Seq(7), Seq(8)] });
    }

    #[test]
    fn a_winner_is_restored_unless_it_was_superseded_meanwhile() {
        let right = version(Right, 7, 4, 0);
        let older = version(Left, 5, 3, 0);
        assert!(is_to_be_restored(&right, &[older], RightWins));
        assert!(!is_to_be_restored(&right, &[older], LeftWins));
        assert!(!is_to_be_restored(&right, &[older], Park));
        // Somebody on the left has changed it in sight of the right's version.
        let newer = version(Left, 9, 7, 0);
        assert!(!is_to_be_restored(&right, &[older, newer], RightWins));
        // What the right knew of is no rival.
        assert!(is_to_be_restored(&right, &[version(Left, 4, 0, 0)], LeftWins));
    }

    #[test]
    fn a_clock_that_steps_back_does_not_make_a_version_older_than_the_one_before_it() {
        assert_eq!(frozen_time(WallTime(5), Some(WallTime(9))), WallTime(9));
        assert_eq!(frozen_time(WallTime(5), None), WallTime(5));
    }
}
