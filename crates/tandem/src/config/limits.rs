//! `[limits]`, and the limits of a map.

use super::scalar::{Reader, Scalar};
use serde::Deserialize;
use std::time::Duration;
use tandem_core::limits::{LimitSettings, Profile, WhenFull};
use toml::Spanned;

/// Written where there shall be none of something.
const NONE: &str = "none";

/// `[limits]`, or `limits = { … }` of a map. Everything may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    profile: Option<Spanned<String>>,
    max_queue_bytes: Option<Spanned<Scalar>>,
    max_pause_age: Option<Spanned<Scalar>>,
    soft_limit: Option<Spanned<Scalar>>,
    when_full: Option<Spanned<String>>,
    queue_retention: Option<Spanned<Scalar>>,
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
