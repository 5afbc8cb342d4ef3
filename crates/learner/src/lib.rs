//! The learner: the model that will use the prompt. It is asked exactly what a user of the prompt would ask it.
//!
//! Nothing is added to the prompt, not even a fence: what is measured here is what the user gets. Where the task gives a schema for the
//! answers, it goes along as the endpoint takes it, and the answer is the JSON that satisfies it.

use sipdo_agent::role::{Form, InvalidReply, ModelOutput, Overhead, Plan, Request, RoleAgent, not_mine};
use sipdo_domain::{Answer, AnswerRequest, Ask, Measured, NotMeasured, Reason, Reply, Role, Speaker, prompt};
use sipdo_llm::{Message, Schema};
use std::sync::Arc;

/// The name under which a schema is sent.
const SCHEMA_NAME: &str = "learner_answer";

/// The role. Answers [`Ask::Answer`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Learner;

impl RoleAgent for Learner {
    fn role(&self) -> Role {
        Role::Learner
    }

    fn structured(&self) -> bool {
        false
    }

    fn overhead(&self) -> Overhead {
        Overhead::text(0)
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        let Ask::Answer(request) = ask else {
            return Err(not_mine(Role::Learner, ask));
        };
        Ok(Plan::Model(Request {
            messages: messages(request),
            form: form(&request.schema)?,
            temperature: 0.0,
        }))
    }

    fn read(&self, _ask: &Ask, output: ModelOutput) -> Result<Reply, InvalidReply> {
        let text = match output {
            ModelOutput::Text(text) => text,
            ModelOutput::Json(value) => value.to_string(),
        };
        Ok(Answer { text }.into())
    }
}

/// The conversation: that of the task, or the prompt as one text with the input.
fn messages(request: &AnswerRequest) -> Vec<Message> {
    if request.messages.is_empty() {
        let (system, user) = prompt::messages(&request.prompt, &request.input);
        let system = system.map(Message::system).into_iter();
        return system.chain([Message::user(user)]).collect();
    }
    let said = request.messages.iter().map(|message| match message.role {
        Speaker::System => Message::system(&message.text),
        Speaker::User => Message::user(&message.text),
        Speaker::Assistant => Message::assistant(&message.text),
    });
    said.collect()
}

/// Text, or JSON of the task's schema, which the task's reader has checked.
fn form(schema: &str) -> Measured<Form> {
    if schema.is_empty() {
        return Ok(Form::Text);
    }
    let unusable = |why: String| NotMeasured::new(Reason::Misconfigured, format!("the learner's schema: {why}"));
    let json = serde_json::from_str(schema).map_err(|error| unusable(error.to_string()))?;
    let schema = Schema::new(SCHEMA_NAME, json).map_err(|error| unusable(error.to_string()))?;
    Ok(Form::Json(Arc::new(schema)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sipdo_domain::{ChatMessage, SolveRequest, TaskBrief};
    use sipdo_llm::Role as Said;
    use sipdo_protocol::pb;

    fn planned(prompt: &str, input: &str) -> Request {
        let ask = Ask::Answer(AnswerRequest {
            prompt: prompt.into(),
            input: input.into(),
            ..AnswerRequest::default()
        });
        match Learner.plan(&ask) {
            Ok(Plan::Model(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_prompt_is_sent_verbatim() {
        let request = planned("  Think.\n", "2+2?");
        let said: Vec<_> = request
            .messages
            .iter()
            .map(|message| (message.role, message.text.as_str()))
            .collect();
        assert_eq!(said, [(Said::System, "  Think.\n"), (Said::User, "2+2?")]);
        let request = planned("Q: {input}\nA:", "2+2?");
        let said: Vec<_> = request
            .messages
            .iter()
            .map(|message| (message.role, message.text.as_str()))
            .collect();
        assert_eq!(said, [(Said::User, "Q: 2+2?\nA:")]);
        assert_eq!(request.temperature, 0.0);
    }

    #[test]
    fn the_answer_comes_back_whole() {
        let ask = Ask::Answer(AnswerRequest::default());
        let reply = Learner.read(&ask, ModelOutput::Text(" so:\n4 ".into())).unwrap();
        assert_eq!(
            reply,
            Reply::Answer(Answer {
                text: " so:\n4 ".into()
            })
        );
    }

    #[test]
    fn the_work_of_another_role_is_refused() {
        let ask = Ask::Solve(SolveRequest {
            task: TaskBrief::default(),
            input: "?".into(),
            pool: String::new(),
        });
        let why = Learner.plan(&ask).unwrap_err();
        assert_eq!(why.reason, Reason::Misconfigured);
        assert!(why.detail.contains("checker"), "{}", why.detail);
    }

    #[test]
    fn a_request_is_never_larger_than_the_role_states() {
        for (prompt, input) in [("", "x"), ("Answer.", "x"), ("Say {input}, or {input}.", "x y")] {
            let ask = Ask::Answer(AnswerRequest {
                prompt: prompt.into(),
                input: input.into(),
                ..AnswerRequest::default()
            });
            assert_eq!(within_what_is_reserved(&ask), Ok(()));
        }
        for properties in [0, 1, 40] {
            let property = |n: usize| {
                (
                    format!("property {n}"),
                    json!({"type": "object", "properties": {"a": {"type": "string"}}}),
                )
            };
            let properties: serde_json::Map<_, _> = (0..properties).map(property).collect();
            let ask = Ask::Answer(AnswerRequest {
                messages: chat(),
                schema: json!({"type": "object", "properties": properties}).to_string(),
                ..AnswerRequest::default()
            });
            assert_eq!(within_what_is_reserved(&ask), Ok(()));
        }
    }

    fn within_what_is_reserved(ask: &Ask) -> Measured<()> {
        let Ok(Plan::Model(request)) = Learner.plan(ask) else {
            panic!("a model is asked")
        };
        let size = pb::Ask::from(ask.clone()).reserved_bytes();
        Learner.overhead().check(&request, size)
    }

    fn chat() -> Vec<ChatMessage> {
        let said = [
            (Speaker::System, " Route.\n"),
            (Speaker::User, "Help!"),
            (Speaker::Assistant, "billing"),
            (Speaker::User, "Where is it?"),
        ];
        said.map(|(role, text)| ChatMessage {
            role,
            text: text.into(),
        })
        .into()
    }

    #[test]
    fn messages_are_sent_verbatim_with_their_roles() {
        let ask = Ask::Answer(AnswerRequest {
            messages: chat(),
            ..AnswerRequest::default()
        });
        let Ok(Plan::Model(request)) = Learner.plan(&ask) else {
            panic!("a model is asked")
        };
        let said: Vec<_> = request
            .messages
            .iter()
            .map(|one| (one.role, one.text.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (Said::System, " Route.\n"),
                (Said::User, "Help!"),
                (Said::Assistant, "billing"),
                (Said::User, "Where is it?"),
            ]
        );
        assert!(matches!(request.form, Form::Text));
    }

    #[test]
    fn a_schema_is_the_form_of_the_answer() {
        let ask = |schema: &str| {
            Ask::Answer(AnswerRequest {
                prompt: "Route.".into(),
                input: "Help!".into(),
                schema: schema.into(),
                ..AnswerRequest::default()
            })
        };
        let schema = r#"{"type":"object","properties":{"queue":{"type":"string"}}}"#;
        let Ok(Plan::Model(request)) = Learner.plan(&ask(schema)) else {
            panic!("a model is asked")
        };
        let Form::Json(form) = request.form else {
            panic!("JSON is asked for")
        };
        assert_eq!((form.name(), form.text()), (SCHEMA_NAME, schema));
        let reply = Learner
            .read(&ask(schema), ModelOutput::Json(json!({"queue": "a"})))
            .unwrap();
        assert_eq!(
            reply,
            Reply::Answer(Answer {
                text: r#"{"queue":"a"}"#.into()
            })
        );
        assert_eq!(Learner.plan(&ask("{")).unwrap_err().reason, Reason::Misconfigured);
    }
}
