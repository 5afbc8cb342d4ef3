//! Messages, the guard on them, and what an optimizer is shown.

use super::*;
use proptest::prelude::*;

fn message(role: Speaker, optimize: bool, text: &str, kept: &[&str]) -> PromptMessage {
    PromptMessage {
        role,
        text: text.into(),
        optimize,
        kept: kept.iter().map(|part| (*part).to_owned()).collect(),
    }
}

/// A system and a user message to optimize, and a fixed pair between them.
fn form() -> PromptForm {
    PromptForm {
        messages: vec![
            message(
                Speaker::System,
                true,
                "Route tickets. Never promise a refund.",
                &["Never promise a refund."],
            ),
            message(Speaker::User, false, "Subject: test", &[]),
            message(Speaker::Assistant, false, "billing", &[]),
            message(Speaker::User, true, "Subject: {{subject}}\n{{body}}", &[]),
        ],
        ..PromptForm::default()
    }
}

fn alone() -> PromptForm {
    let mut form = form();
    form.messages[3].optimize = false;
    form
}

const INPUT: &str = r#"{"subject":"Is {{body}} safe?","body":"{\"a\": {}}"}"#;

#[test]
fn one_optimized_message_is_the_prompt_and_several_stand_below_their_lines() {
    assert_eq!(alone().prompt().unwrap(), "Route tickets. Never promise a refund.");
    let prompt = form().prompt().unwrap();
    assert_eq!(
        prompt,
        "[[message 1: system]]\nRoute tickets. Never promise a refund.\n\n[[message 4: user]]\nSubject: {{subject}}\n{{body}}"
    );
    assert_eq!(form().check(&prompt), Ok(()));
    assert_eq!(PromptForm::default().prompt(), None);
    assert_eq!(form().columns(), ["subject", "body"]);
}

#[test]
fn the_learner_gets_every_message_with_the_columns_filled_in_once() {
    let messages = alone().messages("Be brief.", INPUT).unwrap();
    let said: Vec<(Speaker, &str)> = messages.iter().map(|one| (one.role, one.text.as_str())).collect();
    assert_eq!(
        said,
        [
            (Speaker::System, "Be brief."),
            (Speaker::User, "Subject: test"),
            (Speaker::Assistant, "billing"),
            (Speaker::User, "Subject: Is {{body}} safe?\n{\"a\": {}}"),
        ]
    );
    assert!(
        alone()
            .messages("Be brief.", "plain text")
            .unwrap_err()
            .contains("record")
    );
    assert_eq!(PromptForm::default().messages("x", "y"), Ok(Vec::new()));
}

#[test]
fn the_guard_holds_for_each_message() {
    let candidate = |system: &str, user: &str| {
        form().check(&format!(
            "[[message 1: system]]\n{system}\n\n[[message 4: user]]\n{user}"
        ))
    };
    let (system, user) = ("Think. Never promise a refund.", "{{ subject }}: {{body}}");
    assert_eq!(candidate(system, user), Ok(()));
    for (system, user, why) in [
        (
            "Think. Never promise refunds.",
            user,
            "message 1 (system) lost or altered protected text",
        ),
        (system, "{{body}}", "message 4 (user) lost its placeholder {{subject}}"),
        (
            "Think of {{body}}. Never promise a refund.",
            user,
            "message 1 (system) has a placeholder {{body}}",
        ),
        (system, " ", "message 4 (user) is empty"),
        ("<keep>Never promise a refund.</keep>", user, "the mark <keep>"),
    ] {
        let refusal = candidate(system, user).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
    for (prompt, why) in [
        (
            "Never promise a refund. {{subject}} {{body}}",
            "before the first message",
        ),
        (
            "[[message 1: system]]\nNever promise a refund.",
            "`[[message 4: user]]` is missing",
        ),
        ("[[message 4: user]]\n{{subject}} {{body}}", "does not belong"),
    ] {
        let refusal = form().check(prompt).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
    assert!(
        alone()
            .check("A\n[[message 4: user]]\nB")
            .unwrap_err()
            .contains("only one")
    );
}

#[test]
fn one_text_has_protected_parts_too() {
    let form = PromptForm {
        kept: vec!["a b".into(), "a b".into()],
        ..PromptForm::default()
    };
    assert_eq!(form.check("x a b y a b z"), Ok(()));
    assert!(
        form.check("x a b y").unwrap_err().contains("protected"),
        "each part as often as it stands in the seed"
    );
    assert_eq!(PromptForm::default().check("anything <keep>"), Ok(()));
}

#[test]
fn an_optimizer_is_shown_what_is_protected_and_what_is_fixed() {
    let notes = form().notes();
    let titles: Vec<&str> = notes.iter().map(|(title, _)| *title).collect();
    assert_eq!(titles, ["Protected text", "Placeholders", "Fixed messages"]);
    assert!(notes[0].1.contains("Never promise a refund."), "{notes:?}");
    assert!(
        notes[1].1.contains("[[message 4: user]]\n{{subject}}\n{{body}}"),
        "{notes:?}"
    );
    assert!(PromptForm::default().notes().is_empty());
}

#[test]
fn a_bare_prompt_still_shows_the_columns() {
    let bare = form().bare("Route tickets.");
    assert_eq!(
        bare,
        "[[message 1: system]]\nRoute tickets.\n\n[[message 4: user]]\nsubject: {{subject}}\nbody: {{body}}"
    );
    assert_eq!(form().messages(&bare, INPUT).unwrap().len(), 4);
    assert_eq!(alone().bare("Route tickets."), "Route tickets.");
}

#[test]
fn a_record_is_read_as_its_values() {
    assert_eq!(form().readable(r#"{"subject":"s","body":"b \"c\""}"#), "s\nb \"c\"");
    assert_eq!(
        PromptForm::default().readable(r#"{"subject":"s"}"#),
        r#"{"subject":"s"}"#
    );
}

proptest! {
    #[test]
    fn a_prompt_of_several_messages_is_read_back_as_it_was_written(texts in prop::collection::vec("[a-z{}\\[\\]\n #-]{1,40}", 1..5)) {
        let texts: Vec<String> = texts.iter().map(|text| text.trim().to_owned()).collect();
        let form = PromptForm {
            messages: texts.iter().map(|text| message(Speaker::User, true, text, &[])).collect(),
            ..PromptForm::default()
        };
        prop_assert_eq!(form.split(&form.prompt().unwrap()).unwrap(), texts);
    }
}
