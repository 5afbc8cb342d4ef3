//! Tasks for whole runs, drawn from the simulator's own question families.

use crate::cluster::families::FAMILIES;
use rand_chacha::rand_core::SeedableRng as _;
use sipdo_domain::{Example, Task, TaskBrief, metric::Metric, task::TaskGates};
use sipdo_protocol::pb;
use sipdo_simulator::{
    draw::Rng,
    families::{Known, Level, family},
};

/// A task of counting objects with this many train and test examples.
///
/// # Panics
/// The simulator no longer has the family: the tests are built on it.
pub fn counting(train: usize, test: usize) -> pb::Task {
    drawn("object_counting", train, test, 11, 7)
}

/// A task of this family of the simulator, its examples drawn from `draw`, its run's randomness from `seed`.
///
/// # Panics
/// The simulator or this kit does not know the family.
pub fn drawn(name: &str, train: usize, test: usize, draw: u64, seed: u64) -> pb::Task {
    #[expect(clippy::expect_used, reason = "a kit without its family is of no use")]
    let (known, about) = family(name)
        .zip(FAMILIES.iter().find(|about| about.name == name))
        .expect("a family of the simulator");
    let mut random = Rng::seed_from_u64(draw);
    let examples: Vec<Example> = (0..train + test)
        .map(|number| example(known, &mut random, number))
        .collect();
    let (train, test) = examples.split_at(train);
    #[expect(clippy::expect_used, reason = "a constant")]
    let metric: Metric = serde_json::from_value(serde_json::json!({"kind": about.metric})).expect("a metric");
    let task = Task {
        name: name.replace('_', "-"),
        brief: TaskBrief {
            description: about.description.into(),
            answer_format: about.answer_format.into(),
            labels: Vec::new(),
        },
        prompt: "Answer the question.".into(),
        metric,
        train: train.to_vec(),
        test: test.to_vec(),
        gates: TaskGates {
            max_input_chars: 4_000,
            ..TaskGates::default()
        },
        corpus: Vec::new(),
        seed,
        accept: None,
        form: sipdo_domain::PromptForm::default(),
    };
    #[expect(clippy::expect_used, reason = "its metric was JSON a moment ago")]
    task.try_into().expect("a task that can be encoded")
}

fn example(known: &Known, random: &mut Rng, number: usize) -> Example {
    let level = u32::try_from(number % 10).unwrap_or(0) + 1;
    let input = known.generate(random, Level::new(level, 10), "");
    let target = known.solve(&input).unwrap_or_default();
    Example {
        id: format!("own-{number}"),
        input,
        target,
        aliases: Vec::new(),
    }
}

/// The request for a run of this task with these options and at most this many calls.
pub fn request(
    task: pb::Task,
    strategy: &str,
    options: &serde_json::Value,
    calls: Option<u64>,
) -> pb::CreateRunRequest {
    pb::CreateRunRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        task: Some(task),
        strategy: strategy.into(),
        options_json: options.to_string(),
        budget: Some(pb::Budget {
            calls,
            ..Default::default()
        }),
        ..Default::default()
    }
}
