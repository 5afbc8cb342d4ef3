//! The messages of a prompt: `[[prompt.messages]]`.

use super::{
    place::Source,
    schema::{File, MessageTable},
};
use crate::error::{LoadError, shorten, suggestion};
use sipdo_domain::{PromptForm, PromptMessage, Speaker, form::is_header, template};

/// The speakers by the names that a task file gives them.
const ROLES: [(&str, Speaker); 3] = [
    ("system", Speaker::System),
    ("user", Speaker::User),
    ("assistant", Speaker::Assistant),
];

/// Most columns that messages name: each is a property of the generator's schema.
const MOST_COLUMNS: usize = 32;

/// The messages of a task; none where its prompt is one text.
pub(super) fn read(
    source: &Source,
    file: &File,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<PromptMessage>>, LoadError> {
    let Some(table) = &file.prompt else {
        return Ok(None);
    };
    let own = [
        ("prompt", file.task.prompt.is_some()),
        ("prompt_file", file.task.prompt_file.is_some()),
    ];
    if let Some((key, _)) = own.iter().find(|(_, given)| *given) {
        return Err(source.at(
            &["task", key],
            format!("both `[task] {key}` and `[[prompt.messages]]` are given"),
            "Keep one of them",
        ));
    }
    if file.data.input.is_some() {
        return Err(source.at(
            &["data", "input"],
            "`[data] input` is given, and so are `[[prompt.messages]]`",
            "Remove it: the messages name the columns themselves, as {{column}}; `[data.let]` makes a column out of others",
        ));
    }
    let messages = table.messages.iter().enumerate();
    let messages = messages.map(|(at, message)| one(source, at, message, warnings));
    let messages: Vec<PromptMessage> = messages.collect::<Result<_, _>>()?;
    check(source, &messages)?;
    let target = file.data.target.as_deref().unwrap_or("target");
    let tells = |message: &PromptMessage| template::names(&message.text).any(|name| name == target);
    if let Some(at) = messages.iter().position(tells) {
        return Err(source.at(
            &["prompt", "messages", &at.to_string(), "text"],
            format!(
                "message {} names `{{{{{target}}}}}`, the column of the right answers",
                at + 1
            ),
            "The model would be told the answer: remove it",
        ));
    }
    Ok(Some(messages))
}

fn one(
    source: &Source,
    at: usize,
    table: &MessageTable,
    warnings: &mut Vec<String>,
) -> Result<PromptMessage, LoadError> {
    let place = at.to_string();
    let refuse = |key: &str, problem: String, advice: String| {
        let problem = format!("message {}: {problem}", at + 1);
        source.at(&["prompt", "messages", &place, key], problem, advice)
    };
    let known = ROLES.iter().map(|(name, _)| *name);
    let Some((_, role)) = ROLES.iter().find(|(name, _)| *name == table.role) else {
        return Err(refuse(
            "role",
            format!("unknown role `{}`", table.role),
            suggestion(&table.role, known),
        ));
    };
    let (text, kept) = template::unmark(table.text.trim()).map_err(|problem| {
        let advice = "Protected text is written <keep>..</keep>, and marks are not nested";
        refuse("text", problem, advice.into())
    })?;
    if text.trim().is_empty() {
        return Err(refuse(
            "text",
            "the text is empty".into(),
            "Write a text, or remove the message".into(),
        ));
    }
    if !kept.is_empty() && !table.optimize {
        let advice = "Remove the marks, or set `optimize = true`";
        return Err(refuse(
            "text",
            "it protects text, but is not optimized".into(),
            advice.into(),
        ));
    }
    if let Some(line) = text.lines().find(|line| is_header(line)) {
        let advice = "Such lines separate messages: write it in another way";
        return Err(refuse(
            "text",
            format!("it contains the line `{}`", shorten(line.trim())),
            advice.into(),
        ));
    }
    warn_of_braces(at, &text, warnings);
    Ok(PromptMessage {
        role: *role,
        text: text.trim().to_owned(),
        optimize: table.optimize,
        kept,
    })
}

/// `{{ a | b }}` and `{input}` are fine as text, but probably meant as something else.
fn warn_of_braces(at: usize, text: &str, warnings: &mut Vec<String>) {
    let unfilled = template::fill(text, |_| Some(""));
    let found = ["{{", "{input}"].into_iter().find(|form| unfilled.contains(form));
    if let Some(found) = found {
        warnings.push(format!(
            "message {} contains `{found}` that is sent unchanged: only {{{{column}}}} is filled in, without expressions",
            at + 1
        ));
    }
}

/// The rules of the messages together.
fn check(source: &Source, messages: &[PromptMessage]) -> Result<(), LoadError> {
    let refuse = |at: Option<usize>, key: &str, problem: &str, advice: &str| {
        let place = at.map(|at| at.to_string());
        let mut keys = vec!["prompt", "messages"];
        if let Some(place) = &place {
            keys.extend([place.as_str(), key]);
        }
        Err(source.at(&keys, problem, advice))
    };
    if !messages.iter().any(|message| message.optimize) {
        let advice = "Set `optimize = true` in a message whose text may be rewritten, usually the system message";
        return refuse(None, "", "no message is to be optimized", advice);
    }
    let first_turn = messages.iter().position(|message| message.role != Speaker::System);
    let late = messages.iter().rposition(|message| message.role == Speaker::System);
    if let (Some(turn), Some(late)) = (first_turn, late)
        && late > turn
    {
        let advice = "System messages come first: providers put them before all others";
        return refuse(Some(late), "role", "a system message stands behind another one", advice);
    }
    if messages.last().is_none_or(|message| message.role != Speaker::User) {
        let advice = "End with what the user says, for instance text = \"{{question}}\"";
        return refuse(
            Some(messages.len().saturating_sub(1)),
            "role",
            "the last message is not the user's",
            advice,
        );
    }
    let form = PromptForm {
        messages: messages.to_vec(),
        ..PromptForm::default()
    };
    match form.columns().len() {
        0 => {
            let advice = "Name the columns of the data as {{column}} where they belong";
            refuse(
                None,
                "",
                "no message names a column: every example would be asked the same",
                advice,
            )
        }
        number if number > MOST_COLUMNS => {
            let problem = format!("the messages name {number} columns, at most {MOST_COLUMNS} are allowed");
            refuse(None, "", &problem, "Put some together in `[data.let]`")
        }
        _ => Ok(()),
    }
}
