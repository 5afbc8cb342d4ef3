//! The learner: the model that will use the prompt. It is asked exactly what a user of the prompt would ask it.
//!
//! Nothing is added to the prompt, not even a fence: what is measured here is what the user gets.

use sipdo_agent::role::{Form, InvalidReply, ModelOutput, Overhead, Plan, Request, RoleAgent, not_mine, wrong_form};
use sipdo_domain::{Answer, Ask, Measured, Reply, Role, prompt};
use sipdo_llm::Message;

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
        let (system, user) = prompt::messages(&request.prompt, &request.input);
        let messages = system
            .map(Message::system)
            .into_iter()
            .chain([Message::user(user)])
            .collect();
        Ok(Plan::Model(Request {
            messages,
            form: Form::Text,
            temperature: 0.0,
        }))
    }

    fn read(&self, _ask: &Ask, output: ModelOutput) -> Result<Reply, InvalidReply> {
        match output {
            ModelOutput::Text(text) => Ok(Answer { text }.into()),
            ModelOutput::Json(_) => Err(wrong_form().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use sipdo_domain::{AnswerRequest, Reason, SolveRequest, TaskBrief};
    use sipdo_llm::Role as Speaker;
    use sipdo_protocol::pb;

    fn planned(prompt: &str, input: &str) -> Request {
        let ask = Ask::Answer(AnswerRequest {
            prompt: prompt.into(),
            input: input.into(),
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
        assert_eq!(said, [(Speaker::System, "  Think.\n"), (Speaker::User, "2+2?")]);
        let request = planned("Q: {input}\nA:", "2+2?");
        let said: Vec<_> = request
            .messages
            .iter()
            .map(|message| (message.role, message.text.as_str()))
            .collect();
        assert_eq!(said, [(Speaker::User, "Q: 2+2?\nA:")]);
        assert_eq!(request.temperature, 0.0);
    }

    #[test]
    fn the_answer_comes_back_whole() {
        let ask = Ask::Answer(AnswerRequest {
            prompt: String::new(),
            input: String::new(),
        });
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
            });
            let size = pb::Ask::from(ask.clone()).encoded_len();
            let Ok(Plan::Model(request)) = Learner.plan(&ask) else {
                panic!("a model is asked")
            };
            assert_eq!(Learner.overhead().check(&request, size), Ok(()));
        }
    }
}
