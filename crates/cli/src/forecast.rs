//! What a run will cost, said before it starts: calls by role from the strategy, tokens and money roughly from the task and prices.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sipdo_domain::{Budget, Role, Task};
use sipdo_llm::Price;
use sipdo_strategies::Forecast;

use crate::{
    failure::Failure,
    output::{self, Table, count, dollars},
};

/// Characters of a token, roughly, in English.
const CHARS_PER_TOKEN: u64 = 4;
/// Tokens that a learner writes when it works through an answer.
const ANSWER_TOKENS: u64 = 200;
/// Tokens of a teaching role's instructions and material beside the prompt and some examples, and of its reply.
const TEACHING_TOKENS: (u64, u64) = (800, 400);
/// Examples that a teaching role is shown.
const SHOWN: u64 = 4;

/// An estimate for one task with the models of this machine.
#[derive(Debug)]
pub struct Estimate<'a> {
    task: &'a Task,
    forecast: &'a Forecast,
    /// Role's model as `endpoint/model` with its price; absent where the models are not this machine's to know.
    models: BTreeMap<Role, (String, Option<Price>)>,
}

impl<'a> Estimate<'a> {
    /// An estimate of what `forecast` comes to.
    pub fn new(task: &'a Task, forecast: &'a Forecast, models: BTreeMap<Role, (String, Option<Price>)>) -> Self {
        Estimate { task, forecast, models }
    }

    /// Input and output tokens of one call.
    fn tokens(&self, role: Role) -> (u64, u64) {
        let examples = self.task.train.iter().chain(&self.task.test);
        let (number, chars) = examples.fold((0, 0), |(number, chars), example| {
            (number + 1, chars + example.input.chars().count() as u64)
        });
        let input = chars.checked_div(number).unwrap_or(0) / CHARS_PER_TOKEN;
        let prompt = (self.task.prompt.chars().count() + self.task.form.fixed_chars()) as u64 / CHARS_PER_TOKEN;
        match role {
            Role::Learner => (prompt + input + 20, ANSWER_TOKENS),
            _ => (TEACHING_TOKENS.0 + prompt + SHOWN * input, TEACHING_TOKENS.1),
        }
    }

    fn calls(&self, role: Role) -> (u64, u64) {
        let of = |calls: &BTreeMap<Role, u64>| calls.get(&role).copied().unwrap_or(0);
        (of(&self.forecast.expected), of(&self.forecast.least))
    }

    /// The most calls of all roles, without format repairs, repeated requests and lost attempts.
    fn most(&self) -> u64 {
        let most = self.forecast.most.values();
        most.fold(0, |all, calls| all.saturating_add(*calls))
    }

    /// Billionths of a dollar for the expected calls of a role; none where the price is unknown.
    fn cost(&self, role: Role) -> Option<u64> {
        let (input, output) = self.tokens(role);
        let price = self.models.get(&role)?.1?;
        Some(price.worst_case(input, output).saturating_mul(self.calls(role).0))
    }

    fn total_cost(&self) -> Option<u64> {
        let asked = Role::ALL.into_iter().filter(|&role| self.calls(role).0 > 0);
        asked.map(|role| self.cost(role)).sum()
    }

    fn expected_tokens(&self, role: Role) -> u64 {
        let (input, output) = self.tokens(role);
        self.calls(role).0 * (input + output)
    }

    fn sums(&self) -> (u64, u64, u64) {
        let tokens = Role::ALL.into_iter().map(|role| self.expected_tokens(role)).sum();
        (
            self.forecast.expected.values().sum(),
            self.forecast.least.values().sum(),
            tokens,
        )
    }

    /// Refuses a cap on calls below the least that makes sense.
    ///
    /// # Errors
    /// The cap is too small; says the least that works.
    pub fn check(&self, budget: &Budget) -> Result<(), Failure> {
        let (_, least, _) = self.sums();
        match budget.calls {
            Some(cap) if cap < least => Err(Failure::usage(format!(
                "a budget of {} is too small: the baselines and one round of the strategy need at least {least}",
                output::plural(cap, "call")
            ))
            .hint(format!(
                "raise [budget] calls in the task file, or give --budget-calls {least} or more"
            ))),
            _ => Ok(()),
        }
    }

    /// The estimate as a table with remarks.
    pub fn text(&self, budget: &Budget) -> String {
        let mut table = Table::new(&[
            "role",
            "expected calls",
            "at least",
            "tokens (approx)",
            "cost (approx)",
            "model",
        ])
        .right(&[1, 2, 3, 4]);
        let money = |cost: Option<u64>| cost.map_or("unknown price".into(), dollars);
        for role in Role::ALL {
            let (expected, least) = self.calls(role);
            if expected + least == 0 {
                continue;
            }
            let model = self.models.get(&role).map_or("-", |(label, _)| label.as_str());
            let tokens = count(self.expected_tokens(role));
            table.row([
                role.to_string(),
                count(expected),
                count(least),
                tokens,
                money(self.cost(role)),
                model.to_owned(),
            ]);
        }
        let (expected, least, tokens) = self.sums();
        table.row([
            "all".into(),
            count(expected),
            count(least),
            count(tokens),
            money(self.total_cost()),
            String::new(),
        ]);
        let mut text = table.render(output::stdout_color());
        let (train, test) = (self.task.train.len(), self.task.test.len());
        text.push_str(&format!("\n{train} seed examples, {test} held-out examples\n"));
        text.push_str(&format!(
            "at most {} calls, without format repairs, repeated requests and lost attempts\n",
            count(self.most())
        ));
        if let Some(cap) = budget.calls.filter(|&cap| cap < expected) {
            text.push_str(&format!(
                "the budget of {} will probably end the run early\n",
                output::plural(cap, "call")
            ));
        }
        text.push_str("nothing was started or bought\n");
        text
    }

    /// The estimate as JSON.
    pub fn json(&self) -> Value {
        let (expected, least, tokens) = self.sums();
        let names = |calls: &BTreeMap<Role, u64>| {
            calls
                .iter()
                .map(|(role, &calls)| (role.name().to_owned(), Value::from(calls)))
                .collect::<serde_json::Map<_, _>>()
        };
        json!({
            "expected_calls": expected, "least_calls": least, "expected_tokens": tokens,
            "expected_nano_usd": self.total_cost(), "most_calls": self.most(),
            "expected_by_role": names(&self.forecast.expected), "least_by_role": names(&self.forecast.least),
            "most_by_role": names(&self.forecast.most),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::{Example, TaskBrief, task::TaskGates};

    fn task() -> Task {
        let example = |n: usize| Example {
            id: format!("train-{n}"),
            input: "x".repeat(400),
            target: "1".into(),
            aliases: vec![],
        };
        Task {
            name: "t".into(),
            brief: TaskBrief {
                description: "d".into(),
                answer_format: String::new(),
                labels: vec![],
            },
            prompt: "p".repeat(80),
            metric: serde_json::from_value(json!({"kind": "exact"})).unwrap(),
            train: (0..3).map(example).collect(),
            test: vec![],
            gates: TaskGates::default(),
            corpus: vec![],
            seed: 0,
            accept: None,
            form: sipdo_domain::PromptForm::default(),
        }
    }

    fn forecast() -> Forecast {
        Forecast {
            expected: [(Role::Learner, 100), (Role::Checker, 10)].into(),
            least: [(Role::Learner, 30)].into(),
            most: [(Role::Learner, 900), (Role::Checker, 100)].into(),
            conclusion_answers: 0,
        }
    }

    fn price(input: &str, output: &str) -> Price {
        toml::from_str(&format!("input_per_million = {input}\noutput_per_million = {output}")).unwrap()
    }

    #[test]
    fn one_unknown_price_makes_the_sum_unknown() {
        let (task, forecast) = (task(), forecast());
        let learner = ("a/small".to_owned(), Some(price("1.0", "10.0")));
        let known = Estimate::new(&task, &forecast, [(Role::Learner, learner.clone())].into());
        // 20 + 100 + 20 tokens in, 200 out: 140 * 1 + 200 * 10 millionths of a dollar, a hundred times.
        assert_eq!(known.cost(Role::Learner), Some(214_000_000));
        assert_eq!(known.total_cost(), None);
        let text = known.text(&Budget {
            calls: Some(50),
            ..Budget::default()
        });
        assert!(
            text.contains("learner             100        30           34,000          $0.21  a/small"),
            "{text}"
        );
        assert!(
            text.contains("unknown price") && text.contains("50 calls will probably end the run"),
            "{text}"
        );
        let checker = ("a/big".to_owned(), Some(price("0.0", "0.0")));
        let all = Estimate::new(
            &task,
            &forecast,
            [(Role::Learner, learner), (Role::Checker, checker)].into(),
        );
        assert_eq!(all.total_cost(), Some(214_000_000));
        assert_eq!(all.json()["expected_calls"], 110);
        assert_eq!(
            (&all.json()["most_calls"], &all.json()["most_by_role"]["checker"]),
            (&json!(1000), &json!(100))
        );
        assert!(text.contains("at most 1,000 calls"), "{text}");
    }

    #[test]
    fn a_budget_below_the_least_is_refused_with_the_least() {
        let (task, forecast) = (task(), forecast());
        let estimate = Estimate::new(&task, &forecast, BTreeMap::new());
        let failure = estimate
            .check(&Budget {
                calls: Some(29),
                ..Budget::default()
            })
            .unwrap_err();
        assert!(failure.message.contains("at least 30"), "{failure}");
        assert!(
            estimate
                .check(&Budget {
                    calls: Some(30),
                    ..Budget::default()
                })
                .is_ok()
        );
        assert!(estimate.check(&Budget::default()).is_ok());
    }
}
