//! A run's states, scores, votes and amounts in words: the same ones in the live view, the report and the tables.

use sipdo_protocol::pb::{self, Summary, control, decision, mark, not_measured, vote};

use crate::output::{self, dollars, percent, plural, short};

/// Characters of a prompt's reason, an analysis or an answer in one line.
pub const GIST: usize = 100;
const ANSWER: usize = 40;

/// A state in words.
pub fn state_name(state: pb::State) -> &'static str {
    match state {
        pb::State::Unspecified => "unknown",
        pb::State::Pending => "pending",
        pb::State::Running => "running",
        pb::State::Paused => "paused",
        pb::State::Finished => "finished",
        pb::State::BudgetExhausted => "ended at its budget",
        pb::State::Stopped => "stopped early",
        pb::State::Cancelled => "cancelled",
        pb::State::Failed => "failed",
    }
}

/// A run's state in words; `left` where nobody goes on with it before it is resumed.
pub fn standing_name(summary: &Summary) -> &'static str {
    match (summary.left, summary.state()) {
        (true, pb::State::Pending | pb::State::Running) => "left",
        (_, state) => state_name(state),
    }
}

/// `ROLE`, or `ROLE_POOL` of a named pool.
pub fn pool_words(role: &str, pool: &str) -> String {
    match pool {
        "" => role.to_owned(),
        pool => format!("{role}_{pool}"),
    }
}

/// Whether a run in this state will never go on.
pub fn is_over(state: pb::State) -> bool {
    use pb::State::{BudgetExhausted, Cancelled, Failed, Finished, Stopped};
    matches!(state, Finished | BudgetExhausted | Stopped | Cancelled | Failed)
}

/// The arms' names in words: `seed` is `seed prompt`.
pub fn prompt_name(arm: &str) -> String {
    match arm {
        "seed" => "seed prompt".into(),
        "zero-shot-cot" => "zero-shot chain of thought".into(),
        "final" => "final prompt".into(),
        version if !version.is_empty() && version.chars().all(|c| c.is_ascii_digit()) => format!("prompt v{version}"),
        other => other.to_owned(),
    }
}

/// A p-value.
pub fn p_words(p_value: f64) -> String {
    match p_value < 0.0001 {
        true => "p < 0.0001".into(),
        false => format!("p = {p_value:.4}"),
    }
}

/// An amount's price, or that it is unknown.
pub fn price_words(amount: &pb::Amount, unpriced_calls: u64) -> String {
    match (amount.calls, unpriced_calls) {
        (0, 0) => dollars(amount.nano_usd),
        (calls, unpriced) if unpriced >= calls => "price unknown".into(),
        // A lost attempt has no price of its own, so the rest is not "0".
        (_, unpriced) if unpriced > 0 && amount.nano_usd == 0 => "price unknown".into(),
        (_, 0) => dollars(amount.nano_usd),
        (_, unpriced) => format!(
            "{} and {} of unknown price",
            dollars(amount.nano_usd),
            plural(unpriced, "call")
        ),
    }
}

/// An amount with its price said, or said to be unknown.
pub fn amount_words(amount: &pb::Amount, unpriced_calls: u64) -> String {
    format!(
        "{}, {}, {}",
        plural(amount.calls, "call"),
        plural(amount.tokens, "token"),
        price_words(amount, unpriced_calls)
    )
}

/// What the caps leave after spending and reservations; empty where there is no cap.
pub fn left_words(summary: &Summary, reserved: &pb::Amount) -> String {
    let budget = summary.budget.unwrap_or_default();
    let spent = summary.spent.unwrap_or_default();
    let left = |cap: u64, spent: u64, reserved: u64| cap.saturating_sub(spent).saturating_sub(reserved);
    let mut parts = Vec::new();
    if let Some(cap) = budget.calls {
        parts.push(plural(left(cap, spent.calls, reserved.calls), "call"));
    }
    if let Some(cap) = budget.tokens {
        parts.push(plural(left(cap, spent.tokens, reserved.tokens), "token"));
    }
    if let Some(cap) = budget.nano_usd {
        parts.push(dollars(left(cap, spent.nano_usd, reserved.nano_usd)));
    }
    if let Some(cap) = budget.seconds {
        let gone = summary.updated_ms.saturating_sub(summary.created_ms) / 1000;
        parts.push(output::duration(cap.saturating_sub(gone)));
    }
    parts.join(", ")
}

/// A control request in words.
pub fn asked(control: &pb::Control) -> String {
    let what = match control.kind() {
        control::Kind::Unspecified => "an unknown request",
        control::Kind::Cancel => "cancel",
        control::Kind::Stop => "stop early and keep the best",
        control::Kind::Pause => "pause",
        control::Kind::Resume => "resume",
        control::Kind::SetBudget => "a new budget",
        control::Kind::Continue => "take back the stop and continue",
    };
    if control.by.is_empty() {
        format!("requested: {what}")
    } else {
        format!("requested by {}: {what}", control.by)
    }
}

/// How to end a run that was asked to stop and still waits.
pub fn cancel_hint(run: &str) -> String {
    format!("`sipdo runs cancel {run}` ends it now and keeps its prompts, untested")
}

/// The level that a run is at; one without levels has none.
pub fn level_words(summary: &Summary) -> String {
    match summary.levels {
        0 => "-".into(),
        levels => format!("{}/{levels}", summary.level),
    }
}

/// A synthetic example with its decision and votes, in one line.
pub fn judged(example: &pb::SyntheticExample) -> String {
    let id = example
        .example
        .as_ref()
        .map(|inner| inner.id.as_str())
        .unwrap_or_default();
    let decision = example.decision.clone().unwrap_or_default();
    let votes: Vec<String> = example.votes.iter().map(vote_words).collect();
    let votes = votes.join(", ");
    match decision.kind() {
        decision::Kind::Accepted => format!("example {id} accepted: {votes}"),
        decision::Kind::Rejected if decision.by == "votes" => format!("example {id} rejected by votes: {votes}"),
        decision::Kind::Rejected => {
            format!(
                "example {id} rejected by {}: {}",
                decision.by,
                short(&decision.reason, GIST)
            )
        }
        decision::Kind::SetAside | decision::Kind::Unspecified => {
            format!("example {id} set aside: {}", short(&decision.reason, GIST))
        }
    }
}

/// One vote in a few words.
fn vote_words(vote: &pb::Vote) -> String {
    let who = match vote.voter() {
        vote::Voter::Generator => "generator".to_owned(),
        vote::Voter::Checker if vote.checker > 0 => format!("checker #{}", vote.checker + 1),
        vote::Voter::Checker => "checker".into(),
        vote::Voter::Verifier => "verifier".into(),
        vote::Voter::Program => "program".into(),
        vote::Voter::Unspecified => "voter".into(),
    };
    let answer = short(&vote.answer, ANSWER);
    let yes = matches!(vote.voter(), vote::Voter::Verifier | vote::Voter::Program);
    match vote.supports.as_ref().and_then(|mark| mark.mark.as_ref()) {
        Some(mark::Mark::Right(true)) if yes => format!("{who} valid"),
        Some(mark::Mark::Right(true)) => format!("{who} {answer}"),
        Some(mark::Mark::Right(false)) if yes => format!("{who} against ({})", short(&vote.reason, ANSWER)),
        Some(mark::Mark::Right(false)) => format!("{who} against ({answer})"),
        Some(mark::Mark::NotMeasured(lost)) => format!("{who} not measured ({})", reason_name(lost.reason())),
        None => format!("{who} did not vote"),
    }
}

/// A mark by the given words for right and wrong, or why it is not measured.
pub fn mark_words(mark: Option<&pb::Mark>, right: &str, wrong: &str) -> String {
    match mark.and_then(|mark| mark.mark.as_ref()) {
        Some(mark::Mark::Right(true)) => right.into(),
        Some(mark::Mark::Right(false)) => wrong.into(),
        Some(mark::Mark::NotMeasured(lost)) => {
            format!(
                "not measured ({}: {})",
                reason_name(lost.reason()),
                short(&lost.detail, GIST)
            )
        }
        None => "not measured".into(),
    }
}

/// A reason for not measured, by its name in reports.
fn reason_name(reason: not_measured::Reason) -> String {
    reason_words(reason.as_str_name())
}

/// The contract's name of a reason in words.
pub fn reason_words(name: &str) -> String {
    name.trim_start_matches("REASON_").replace('_', " ").to_lowercase()
}

/// Counts and accuracy in words.
pub fn score_words(score: &pb::Score) -> String {
    let measured = score.right + score.wrong;
    let accuracy = if measured == 0 {
        "nothing measured".to_owned()
    } else {
        percent(f64::from(score.right) / f64::from(measured))
    };
    format!(
        "{accuracy} ({} right, {} wrong, {} not measured)",
        score.right, score.wrong, score.not_measured
    )
}

/// The first few of a list, and how many more.
pub fn listed(ids: &[String]) -> String {
    match ids {
        [] => "nothing".into(),
        [first, second, third, rest @ ..] if rest.len() > 1 => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

/// One line for a list of runs: the held-out gain, or what stands there so far.
pub fn summary_gain(summary: &pb::Summary) -> String {
    let accuracy = |score: Option<pb::Score>| {
        let score = score?;
        let measured = score.right + score.wrong;
        (measured > 0).then(|| percent(f64::from(score.right) / f64::from(measured)))
    };
    match (accuracy(summary.seed_score), accuracy(summary.final_score)) {
        (Some(seed), Some(last)) => format!("{seed} → {last}"),
        (Some(seed), None) => seed,
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_price_is_never_nothing() {
        let amount = |calls, nano_usd| pb::Amount {
            calls,
            tokens: 1,
            nano_usd,
        };
        assert_eq!(price_words(&amount(84, 0), 83), "price unknown", "one attempt was lost");
        assert_eq!(price_words(&amount(83, 0), 83), "price unknown");
        assert_eq!(price_words(&amount(5, 0), 0), dollars(0));
        assert!(price_words(&amount(5, 2_000_000_000), 3).ends_with("and 3 calls of unknown price"));
    }
}
