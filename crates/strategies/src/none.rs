//! The strategy `none`: optimizes nothing and judges the seed prompt as every strategy's result is judged. A baseline.

use crate::{
    Agents, Forecast, Stop,
    conclude::{Account, conclude},
    forecast::{Calls, add_answers, conclusion_answers, repeated},
};
use serde::{Deserialize, Serialize};
use sipdo_domain::{Ending, Outcome, Prompt, Task};

/// There are none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {}

impl crate::Options for Options {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Concludes with the seed prompt.
pub async fn optimize(task: &Task, _options: &Options, agents: &impl Agents) -> Result<Outcome, Stop> {
    let account = Account {
        prompts: vec![Prompt::seed(&task.prompt)],
        ..Account::default()
    };
    conclude(agents, task, Ending::Finished, account).await
}

/// The conclusion is all there is; the final arm is the seed's.
pub fn forecast(task: &Task, _options: &Options) -> Forecast {
    let mut calls = Calls::new();
    add_answers(&mut calls, task, 2 * task.test.len() as u64);
    Forecast {
        expected: calls.clone(),
        least: calls,
        most: repeated(task, 2 * task.test.len() as u64),
        conclusion_answers: conclusion_answers(task),
    }
}
