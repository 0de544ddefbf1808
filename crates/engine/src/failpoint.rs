//! Fail points: the places at which a test takes the engine away as `kill -9` does, each between two effects of
//! which a crash may leave only the first.
//!
//! They are compiled in by the feature `failpoints` alone, which no released build has. Then
//! `TANDEM_FAILPOINT=journal.appended` ends the process the first time that it passes that point, and
//! `journal.appended@7` the seventh time. Without the feature a point is nothing at all.
//!
//! Under the same feature are [`Mistake`]s: a harness that cannot fail proves nothing, so the engine can be told to make
//! one (`TANDEM_MISTAKE=acknowledge_early`), and a run must find it.

macro_rules! fail_points {
    ($($(#[$doc:meta])+ $point:ident = $name:literal,)+) => {
        /// A place at which the process may be ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailPoint { $($(#[$doc])+ $point,)+ }

        impl FailPoint {
            /// All of them.
            pub const ALL: &[FailPoint] = &[$(FailPoint::$point,)+];

            /// The name by which it is armed.
            pub const fn name(self) -> &'static str {
                match self { $(FailPoint::$point => $name,)+ }
            }
        }
    };
}

fail_points! {
    /// A group is appended to the journal and not synced.
    JournalAppended = "journal.appended",
    /// A group is on the disk and not acknowledged to the source.
    JournalSynced = "journal.synced",
    /// A position was acknowledged.
    JournalAcknowledged = "journal.acknowledged",
    /// A segment is synced and the next one does not exist.
    SegmentSealed = "segment.sealed",
    /// The next segment has its name, and the folder is not synced.
    SegmentNamed = "segment.named",
    /// The next segment is there, and the catalog in memory does not know it.
    SegmentRolled = "segment.rolled",
    /// A shelf's segments are written, and its manifest does not name them.
    ShelfCopied = "shelf.copied",
    /// A shelf's manifest names new segments.
    ShelfNamed = "shelf.named",
    /// The journal's floor is raised, and the segments below it are still there.
    ReclaimFloor = "reclaim.floor",
    /// One of the segments below the floor is gone.
    ReclaimUnlinked = "reclaim.unlinked",
    /// The destination has not been told to commit.
    CommitUnsent = "commit.unsent",
    /// The destination was told to commit; the end comes up to 3 ms later, before or after it has done it.
    CommitInFlight = "commit.in_flight",
    /// The destination has committed, and we have not taken note.
    CommitUnnoted = "commit.unnoted",
    /// A part of an initial sync is committed, and its progress not saved.
    ChunkUnsaved = "chunk.unsaved",
    /// The progress of an initial sync is saved.
    ChunkSaved = "chunk.saved",
    /// What is asked of errors is decided, and not recorded.
    ErrorsUnrecorded = "errors.unrecorded",
    /// What is asked of errors is recorded, and nothing is done yet.
    ErrorsRecorded = "errors.recorded",
    /// A retry has ended, and that is not saved.
    RetryUnsaved = "retry.unsaved",
    /// It is saved that a retry has ended.
    RetrySaved = "retry.saved",
    /// A queue was let go of for good, and what becomes of it is not saved.
    SkipUnsaved = "skip.unsaved",
    /// What becomes of a queue is saved, and it is still there.
    SkipSaved = "skip.saved",
    /// Progress is known and not saved.
    ProgressUnsaved = "progress.unsaved",
    /// Progress is saved.
    ProgressSaved = "progress.saved",
    /// A new epoch is saved, and older connections are not fenced.
    EpochSaved = "epoch.saved",
    /// Older connections are fenced and watermarks read; what follows from them is not saved.
    FencedUnsaved = "fenced.unsaved",
    /// What follows from the watermarks is saved.
    FencedSaved = "fenced.saved",
    /// A flow is put into a lane of its own, which is not saved.
    OpenUnsaved = "open.unsaved",
    /// A flow's own lane is saved and does not run.
    OpenSaved = "open.saved",
    /// A lane is split, which is not saved.
    SplitUnsaved = "split.unsaved",
    /// A split is saved, and neither lane runs.
    SplitSaved = "split.saved",
    /// Flows were taken out of their lane to rest, which is not saved.
    LetGoUnsaved = "let_go.unsaved",
    /// Flows rest, and the map's state does not say so.
    LetGoSaved = "let_go.saved",
    /// Two lanes are joined, which is not saved.
    JoinUnsaved = "join.unsaved",
    /// A join is saved, and the lane does not run.
    JoinSaved = "join.saved",
    /// A pause's hold is recorded, and no lane was told.
    PauseRecorded = "pause.recorded",
    /// Nothing of the map is written any more, and its state does not say so.
    PausedUnsaved = "paused.unsaved",
    /// The map is paused.
    PausedSaved = "paused.saved",
    /// A resume was asked for and is not recorded.
    ResumeUnrecorded = "resume.unrecorded",
    /// A resume is recorded, and no lane was told.
    ResumeRecorded = "resume.recorded",
    /// A flow has caught up, and its map's state does not say so.
    CaughtUpUnsaved = "caught_up.unsaved",
    /// The map runs again.
    CaughtUpSaved = "caught_up.saved",
}

/// Something that the engine must never do, done on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Acknowledge to the source what is not in the journal yet.
    AcknowledgeEarly,
    /// Let a resumed flow begin at the end of the journal, without its queue.
    ForgetQueue,
    /// Go on from what was saved, whatever the destination's watermark says.
    ForgetWatermark,
    /// Call a map paused while its lane goes on.
    PauseInName,
    /// Apply what comes behind an error as if there were none.
    OvertakeErrors,
    /// Write over what the other side of a two-way map has changed, too.
    OverlookRivals,
    /// Take what was set aside for brought over.
    DeliverSetAside,
    /// Leave a loser standing at the winner's own home.
    KeepLosers,
    /// Take all that is journaled for known to the other side's users.
    KnowTooMuch,
    /// Begin after a restart as if nothing of ours had come back.
    ForgetSeen,
    /// Take our own writes for those of users.
    JournalEchoes,
    /// Believe clocks that step back.
    RawTimes,
    /// Let go of what is applied, though it has not come back.
    ReclaimApplied,
    /// Project every record by the shape of the first one.
    ForgetShapes,
    /// Go on with records of a shape that their flow was not resolved for.
    OverlookShapes,
    /// Write the key by which a value is looked up.
    ForgetLookups,
}

impl Mistake {
    /// Those that whoever kills the whole binary must find.
    pub const OF_THE_BINARY: &[Mistake] =
        &[Self::AcknowledgeEarly, Self::ForgetQueue, Self::ForgetWatermark, Self::PauseInName];
    /// Those that schedules of maps that go one way must find.
    pub const OF_ONE_WAY: &[Mistake] =
        &[Self::ForgetQueue, Self::ForgetWatermark, Self::PauseInName, Self::OvertakeErrors];
    /// Those that schedules of tables that change, and of lookups, must find.
    pub const OF_SHAPES: &[Mistake] = &[Self::ForgetShapes, Self::OverlookShapes, Self::ForgetLookups];
    /// Those that schedules of maps that go both ways must find.
    pub const OF_BOTH_WAYS: &[Mistake] = &[
        Self::OverlookRivals,
        Self::DeliverSetAside,
        Self::KeepLosers,
        Self::KnowTooMuch,
        Self::ForgetSeen,
        Self::JournalEchoes,
        Self::RawTimes,
        Self::ReclaimApplied,
    ];

    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgeEarly => "acknowledge_early",
            Self::ForgetQueue => "forget_queue",
            Self::ForgetWatermark => "forget_watermark",
            Self::PauseInName => "pause_in_name",
            Self::OvertakeErrors => "overtake_errors",
            Self::OverlookRivals => "overlook_rivals",
            Self::DeliverSetAside => "deliver_set_aside",
            Self::KeepLosers => "keep_losers",
            Self::KnowTooMuch => "know_too_much",
            Self::ForgetSeen => "forget_seen",
            Self::JournalEchoes => "journal_echoes",
            Self::RawTimes => "raw_times",
            Self::ReclaimApplied => "reclaim_applied",
            Self::ForgetShapes => "forget_shapes",
            Self::OverlookShapes => "overlook_shapes",
            Self::ForgetLookups => "forget_lookups",
        }
    }
}

#[cfg(not(any(feature = "failpoints", feature = "simulation")))]
impl Mistake {
    /// Never.
    #[inline(always)]
    pub(crate) const fn is_made(self) -> bool {
        false
    }
}

#[cfg(any(feature = "failpoints", feature = "simulation"))]
impl Mistake {
    /// Whether it was asked for.
    pub(crate) fn is_made(self) -> bool {
        static MADE: std::sync::LazyLock<Option<String>> =
            std::sync::LazyLock::new(|| std::env::var("TANDEM_MISTAKE").ok());
        MADE.as_deref() == Some(self.name())
    }
}

#[cfg(not(feature = "failpoints"))]
impl FailPoint {
    /// Nothing.
    #[inline(always)]
    pub(crate) const fn pass(self) {}

    /// Nothing.
    #[inline(always)]
    pub(crate) const fn pass_soon(self) {}
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::tuning;

/// What an engine is tuned with.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn tuning() -> crate::Tuning {
    crate::Tuning::default()
}

#[cfg(feature = "failpoints")]
mod armed {
    use super::FailPoint;
    use crate::Tuning;
    use crate::journal::Settings;
    use std::io::Write;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, SystemTime};

    /// Which point ends the process, and how often it is passed before.
    struct Armed {
        point: FailPoint,
        left: AtomicU64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var("TANDEM_FAILPOINT").ok()?;
        let (name, times) = text.split_once('@').unwrap_or((&text, "1"));
        let point = FailPoint::ALL.iter().copied().find(|point| point.name() == name);
        match (point, times.parse()) {
            (Some(point), Ok(times)) => Some(Armed { point, left: AtomicU64::new(times) }),
            _ => {
                let _ = writeln!(std::io::stderr(), "there is no fail point {text}");
                std::process::exit(2)
            }
        }
    });

    impl FailPoint {
        /// Ends the process if this point is armed and its time has come.
        pub(crate) fn pass(self) {
            if self.is_due() {
                self.end();
            }
        }

        /// As [`Self::pass`], but up to 3 ms later, while the process goes on.
        pub(crate) fn pass_soon(self) {
            if self.is_due() {
                let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_micros(u64::from(clock.subsec_nanos()) / 100 % 3_000));
                    self.end();
                });
            }
        }

        fn is_due(self) -> bool {
            ARMED
                .as_ref()
                .is_some_and(|armed| armed.point == self && armed.left.fetch_sub(1, Ordering::Relaxed) == 1)
        }

        fn end(self) {
            let _ = writeln!(std::io::stderr(), "fail point {}", self.name());
            // No destructor, no flush, no goodbye: what the kernel has is all that is left.
            std::process::abort()
        }
    }

    /// What an engine is tuned with. With `TANDEM_SMALL_JOURNAL` segments are so small that a test sees them sealed,
    /// shelved and reclaimed all the time, and so little may wait for another map that whole maps do.
    pub(crate) fn tuning() -> Tuning {
        if std::env::var_os("TANDEM_SMALL_JOURNAL").is_none() {
            return Tuning::default();
        }
        let journal = Settings { segment_bytes: 64 << 10, frame_bytes: 4 << 10, ahead_bytes: 16 << 10 };
        Tuning { keep_applied_bytes: 256 << 10, put_off_max: 20, journal, ..Tuning::default() }
    }
}
