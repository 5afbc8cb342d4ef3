//! How the learner words its answers: as variously as real models do, unless the prompt asks for a form.

use serde_json::{Value, json};

use super::{Turn, fill};
use crate::families::Shape;
use crate::request::Form;

/// The answer in the form that the prompt asks for, else in one of several.
pub(super) fn phrase(answer: &str, shape: Shape, prompt: &str, turn: &Turn<'_>) -> String {
    if wants_json(turn) {
        return as_json(answer, turn);
    }
    let asked = prompt.to_lowercase();
    let asks = |words: &[&str]| words.iter().any(|word| asked.contains(word));
    if asks(&["json"]) && asks(&["\"answer\"", "`answer`"]) {
        json!({"answer": answer}).to_string()
    } else if asks(&["<answer>"]) {
        format!("<answer>{answer}</answer>")
    } else if asks(&["\\boxed"]) {
        format!("{}\\boxed{{{answer}}}", reasoning(shape, turn))
    } else if asks(&["final answer:"]) {
        format!("{}Final answer: {answer}", reasoning(shape, turn))
    } else if asks(&[
        "only the answer",
        "nothing else",
        "just the answer",
        "no explanation",
        "without explanation",
        "nothing but",
    ]) {
        answer.to_owned()
    } else if asks(&["answer: ", "answer:\"", "answer:`", "answer:\n", "`answer:"]) {
        format!("{}Answer: {answer}", reasoning(shape, turn))
    } else {
        freely(answer, shape, turn)
    }
}

/// An answer to a question of no known family.
pub(super) fn plain(answer: &str, turn: &Turn<'_>) -> String {
    if wants_json(turn) {
        as_json(answer, turn)
    } else {
        answer.to_owned()
    }
}

fn as_json(answer: &str, turn: &Turn<'_>) -> String {
    let mut said = json!({"answer": answer});
    if let Form::Json(schema) = &turn.form {
        // A schema of the task's own may have another name for the answer: the property that can hold it.
        let properties = schema.get("properties").and_then(Value::as_object);
        let holds = |schema: &Value| {
            let options = schema.get("enum").and_then(Value::as_array);
            options.is_some_and(|options| options.iter().any(|option| option == answer))
        };
        for (name, _) in properties.into_iter().flatten().filter(|(_, schema)| holds(schema)) {
            said[name.as_str()] = json!(answer);
        }
    }
    match &turn.form {
        Form::Json(schema) => fill(schema, &said, "", turn).to_string(),
        _ => said.to_string(),
    }
}

/// Some words before the answer, in half of the cases. They hold no digit, option or label that could be taken for the answer.
fn reasoning(shape: Shape, turn: &Turn<'_>) -> &'static str {
    if turn.draw.chance("reasoning", 0.5) {
        thought(shape)
    } else {
        ""
    }
}

fn thought(shape: Shape) -> &'static str {
    match shape {
        Shape::Choice => "I went through the statements in their order.\n",
        Shape::Number => "I worked through the parts one after the other.\n",
        Shape::Label => "I read the message to its end.\n",
        Shape::Word => "I followed the parts of the question in their order.\n",
        Shape::Words => "I put the words in their order.\n",
        Shape::Text => "",
    }
}

fn freely(answer: &str, shape: Shape, turn: &Turn<'_>) -> String {
    if shape == Shape::Text {
        return answer.to_owned();
    }
    let thought = thought(shape);
    match (turn.draw.below("form", 7), shape) {
        (0, _) => format!("Answer: {answer}"),
        (1, _) => format!("**{answer}**"),
        (2, Shape::Words) => format!("{thought}\n{answer}"),
        (2, _) => format!("The answer is {answer}."),
        (3, _) => format!("{thought}\nAnswer: {answer}"),
        (4, Shape::Words) => format!("```\n{answer}\n```"),
        (4, _) => format!("{thought}So the answer is **{answer}**."),
        (5, Shape::Choice) => answer.trim_matches(['(', ')']).to_owned(),
        _ => answer.to_owned(),
    }
}

/// Whether the reply has to be a JSON object with the answer in it.
fn wants_json(turn: &Turn<'_>) -> bool {
    !matches!(turn.form, Form::Text)
}
