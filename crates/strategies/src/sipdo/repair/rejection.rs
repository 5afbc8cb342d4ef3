//! Why a revision of the prompt is not accepted.

use super::Repairs;

/// Why a revision is not accepted.
pub(super) struct Rejection {
    pub stage: &'static str,
    pub reason: String,
    /// Examples that it failed or broke, by id.
    pub broke: Vec<String>,
    /// Errors that it makes: E, should it become the base.
    pub errors: Vec<String>,
}

/// Trials of one version by their outcome.
#[derive(Default)]
pub(super) struct Tally {
    pub wrong: Vec<String>,
    pub unmeasured: Vec<String>,
}

/// The stage of a rejection for errors that were not fixed.
const LOCAL: &str = "local";

/// The stage of a rejection for something that was broken, or could not be confirmed.
const GLOBAL: &str = "global";

pub(super) fn local_rejection(tally: Tally, repairs: &Repairs) -> Rejection {
    let of = repairs.errors.len().max(tally.wrong.len() + tally.unmeasured.len());
    let mut reason = match of {
        // These words are part of asks of recorded runs, and so of job identities: they stay, though the errors are quarantined.
        0 => "its errors were set aside".to_owned(),
        of => format!("{} of {of} errors are not fixed", tally.wrong.len()),
    };
    if !tally.unmeasured.is_empty() {
        reason.push_str(&format!(", {} could not be measured", tally.unmeasured.len()));
    }
    let mut errors = tally.wrong.clone();
    errors.extend(tally.unmeasured);
    Rejection {
        stage: LOCAL,
        reason,
        broke: tally.wrong,
        errors,
    }
}

pub(super) fn global_rejection(broken: Vec<String>, still: Vec<String>) -> Rejection {
    let reason = match broken.len() {
        1 => "1 example that was right before is wrong now".to_owned(),
        many => format!("{many} examples that were right before are wrong now"),
    };
    let mut errors = broken.clone();
    errors.extend(still.into_iter().filter(|id| !broken.contains(id)));
    Rejection {
        stage: GLOBAL,
        reason,
        broke: broken,
        errors,
    }
}

/// So much could not be measured that nothing can be said: not accepted, and nothing is named as broken.
pub(super) fn unconfirmed(tally: Tally, repairs: &Repairs) -> Rejection {
    Rejection {
        stage: GLOBAL,
        reason: format!(
            "not confirmed: {} examples could not be measured",
            tally.unmeasured.len()
        ),
        broke: Vec::new(),
        errors: repairs.errors.clone(),
    }
}
