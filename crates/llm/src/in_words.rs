//! What a request says in words where its endpoint has no place for it: the schema of the answer, and the role of the system.

use crate::chat::{Message, Role};
use crate::schema::Schema;

/// Puts what the system says before the first message of the user, as one text.
pub(crate) fn without_system(messages: &mut Vec<Message>) {
    let (system, mut rest): (Vec<Message>, Vec<Message>) =
        messages.drain(..).partition(|message| message.role == Role::System);
    let said = system
        .into_iter()
        .map(|message| message.text)
        .collect::<Vec<_>>()
        .join("\n\n");
    match rest.iter_mut().find(|message| message.role == Role::User) {
        Some(first) => first.text = format!("{said}\n\n{}", first.text),
        None => rest.insert(0, Message::user(said)),
    }
    *messages = rest;
}

/// What is said before a schema that the endpoint does not enforce.
pub(crate) const INSTRUCTION: &str =
    "Reply with one JSON value and nothing else: no prose, no code fence. It must satisfy this JSON Schema:\n";

/// Asks for JSON in words, at the end of what the user says.
pub(crate) fn instruct(messages: &mut Vec<Message>, schema: &Schema) {
    let words = format!("{INSTRUCTION}{}", schema.text());
    match messages.last_mut() {
        Some(last) if last.role == Role::User => {
            last.text.push_str("\n\n");
            last.text.push_str(&words);
        }
        _ => messages.push(Message::user(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_goes_before_the_user() {
        let mut messages = vec![
            Message::system("Be brief."),
            Message::user("2 + 2?"),
            Message::assistant("4"),
            Message::user("5?"),
        ];
        without_system(&mut messages);
        assert_eq!(messages[0], Message::user("Be brief.\n\n2 + 2?"));
        assert_eq!(messages.len(), 3);
        let mut alone = vec![Message::system("Say hello.")];
        without_system(&mut alone);
        assert_eq!(alone, [Message::user("Say hello.")]);
    }
}
