//! `[limits]`, and the limits of a map.

use super::place::Spanned;
use super::scalar::{Reader, Scalar};
use super::schema::{Part, PeriodOrNone, SizeOrNone};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use tandem_core::limits::{LimitSettings, Profile, WhenFull};

/// Written where there shall be none of something.
const NONE: &str = "none";

/// Limits of all maps, or of one. Everything may be left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// A set of limits to start from.
    #[schemars(extend("enum" = Profile::ALL.map(Profile::name), "default" = "day"))]
    profile: Option<Spanned<String>>,
    /// The most bytes of one map's queue and open errors; none: only the disk.
    #[schemars(with = "Option<SizeOrNone>")]
    max_queue_bytes: Option<Spanned<Scalar>>,
    /// The longest pause, and the oldest record that a running map may have before it; none: for ever.
    #[schemars(with = "Option<PeriodOrNone>")]
    max_pause_age: Option<Spanned<Scalar>>,
    /// The part of either at which there is a warning.
    #[schemars(with = "Option<Part>")]
    soft_limit: Option<Spanned<Scalar>>,
    /// What happens at a limit.
    #[schemars(extend("enum" = WhenFull::ALL.map(WhenFull::name)))]
    when_full: Option<Spanned<String>>,
    /// When queued records are dropped; none: never.
    #[schemars(with = "Option<PeriodOrNone>")]
    queue_retention: Option<Spanned<Scalar>>,
    /// When open errors are dropped; none: never.
    #[schemars(with = "Option<PeriodOrNone>")]
    error_retention: Option<Spanned<Scalar>>,
}

/// What is given in one place. A value that is wrong reads as not given.
pub(super) fn understand(raw: &RawLimits, reader: &mut Reader<'_>) -> LimitSettings {
    let profiles = Profile::ALL.map(|profile| (profile.name(), profile));
    let when_full = WhenFull::ALL.map(|when_full| (when_full.name(), when_full));
    LimitSettings {
        profile: raw.profile.as_ref().and_then(|given| reader.word("profile", given, &profiles)),
        max_queue_bytes: raw.max_queue_bytes.as_ref().and_then(|given| {
            if is_none(given) { Some(None) } else { reader.size("max_queue_bytes", given).map(Some) }
        }),
        max_pause_age: duration("max_pause_age", raw.max_pause_age.as_ref(), reader),
        soft_limit: raw.soft_limit.as_ref().and_then(|given| reader.share("soft_limit", given)),
        when_full: raw.when_full.as_ref().and_then(|given| reader.word("when_full", given, &when_full)),
        queue_retention: duration("queue_retention", raw.queue_retention.as_ref(), reader),
        error_retention: duration("error_retention", raw.error_retention.as_ref(), reader),
    }
}

fn duration(key: &str, given: Option<&Spanned<Scalar>>, reader: &mut Reader<'_>) -> Option<Option<Duration>> {
    let given = given?;
    if is_none(given) { Some(None) } else { reader.duration(key, given).map(Some) }
}

fn is_none(given: &Spanned<Scalar>) -> bool {
    matches!(given.get_ref(), Scalar::Text(text) if text == NONE)
}
