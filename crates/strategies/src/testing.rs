//! The scripted world in which every method is tested, in memory: a learner with skills that sentences of its prompt teach, teachers with
//! adjustable errors, a journal that outlives crashes, and answers that come back in any order.

use crate::{Agents, Stop};
use sipdo_domain::{
    Answer, Ask, CheckResult, Draft, Edit, EditRequest, Example, GenerateRequest, Grade, Measured, Metric, NotMeasured,
    Outcome, Provenance, Reason, Reply, RunEvent, Signed, Solution, Task, TaskBrief, Verdict, VerdictKind,
    task::TaskGates,
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

/// `add` needs no teaching; every other operation needs its sentence, `RULE <operation>`, in the prompt.
pub const OPERATIONS: [&str; 4] = ["add", "multiply", "negate", "double"];

/// How the world goes wrong, each in its own way.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Of a hundred drafts so many claim a wrong answer.
    pub wrong_claims: u64,
    /// The checker repeats what the generator would say: it errs with it.
    pub gullible: bool,
    /// Of a hundred first recommendations so many do harm: they make the learner forget `add`.
    pub harmful_advice: u64,
    /// No advice ever helps.
    pub useless_advice: bool,
    /// Asks that are never measured: those whose text holds all of these, if there are any.
    pub lost: Vec<String>,
    /// Of a hundred first samples so many are not measured.
    pub flaky: u64,
    /// Of a hundred learner answers so many are slips, whatever the prompt teaches.
    pub slips: u64,
    /// To multiply and to negate are learned together or not at all: the one without the other spoils `add`.
    pub entangled: bool,
    /// New asks that are granted before the budget is spent.
    pub budget: Option<u32>,
    /// New asks that are granted before the user stops the run.
    pub stopped_after: Option<u32>,
    /// New asks of one life before it ends.
    pub crash_after: Option<u32>,
    /// Orders the completion of concurrent asks.
    pub shuffle: u64,
}

/// What outlives a crash.
#[derive(Debug, Default)]
pub struct Journal {
    /// Every answer, and how often it was bought.
    pub bought: BTreeMap<String, (Measured<Signed<Reply>>, u32)>,
    /// Every ask, in the order bought.
    pub asks: Vec<Ask>,
    /// The story.
    pub story: Vec<RunEvent>,
}

/// The world during one life of a coordinator.
pub struct World<'a> {
    faults: Faults,
    journal: &'a Mutex<Journal>,
    bought: AtomicU32,
    told: AtomicUsize,
    concluding: AtomicU32,
    in_flight: AtomicUsize,
    /// Most asks in flight at one time.
    pub peak: AtomicUsize,
}

impl<'a> World<'a> {
    pub fn new(faults: &Faults, journal: &'a Mutex<Journal>) -> Self {
        World {
            faults: faults.clone(),
            journal,
            bought: AtomicU32::new(0),
            told: AtomicUsize::new(0),
            concluding: AtomicU32::new(0),
            in_flight: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    fn known(&self, key: &str) -> Option<Measured<Signed<Reply>>> {
        self.journal
            .lock()
            .unwrap()
            .bought
            .get(key)
            .map(|(reply, _)| reply.clone())
    }

    fn grant(&self) -> Result<(), Stop> {
        let before = self.bought.fetch_add(1, Ordering::SeqCst);
        let all = self.journal.lock().unwrap().bought.len() as u32;
        let met = |cap: Option<u32>, count: u32| cap.is_some_and(|cap| count >= cap);
        if met(self.faults.crash_after, before) {
            return Err(Stop::Halted("crash".into()));
        }
        if self.concluding.load(Ordering::SeqCst) == 0 {
            if met(self.faults.budget, all) {
                return Err(Stop::BudgetExhausted("calls".into()));
            }
            if met(self.faults.stopped_after, all) {
                return Err(Stop::StoppedEarly);
            }
        }
        Ok(())
    }

    fn answer(&self, ask: &Ask, sample: u32) -> Measured<Signed<Reply>> {
        let text = format!("{ask:?}");
        let lost = &self.faults.lost;
        if !lost.is_empty() && lost.iter().all(|part| text.contains(part.as_str())) {
            return Err(NotMeasured::new(Reason::Timeout, "60 s"));
        }
        if sample.is_multiple_of(2) && chance(&(&text, sample, "flaky"), self.faults.flaky) {
            return Err(NotMeasured::new(Reason::Unavailable, "503"));
        }
        let value = match ask {
            Ask::Answer(question) => Reply::from(Answer {
                text: self.learn(&question.prompt, &question.input, sample),
            }),
            Ask::Synthesize(brief) => Reply::from(self.generate(brief, sample)),
            Ask::Solve(riddle) => Reply::from(Solution {
                working: "worked out".into(),
                answer: self.solve(&riddle.input),
            }),
            Ask::Check(program) => Reply::from(CheckResult {
                passed: program.target == truth(&program.input),
                reason: "computed".into(),
            }),
            Ask::Judge(case) => {
                let answer = self.solve(&case.input);
                let verdict = if answer == case.claim {
                    VerdictKind::Valid
                } else {
                    VerdictKind::WrongLabel
                };
                Reply::from(Verdict {
                    verdict,
                    answer,
                    reasons: "worked out".into(),
                })
            }
            Ask::Grade(grading) => Reply::from(Grade {
                correct: grading.answer == grading.target,
                reason: "compared".into(),
            }),
            Ask::Edit(request) => Reply::from(Edit {
                text: self.edit(request),
            }),
        };
        let by = Provenance {
            endpoint: "toy".into(),
            model: ask.role().name().into(),
            ..Provenance::default()
        };
        Ok(Signed { value, by })
    }

    /// The learner: right where the prompt teaches the operation and does no harm.
    fn learn(&self, prompt: &str, input: &str, sample: u32) -> String {
        let operation = OPERATIONS.iter().find(|operation| input.contains(*operation)).unwrap();
        let rule = |operation: &str| prompt.contains(&format!("RULE {operation}"));
        let half = self.faults.entangled && rule("multiply") != rule("negate");
        let spoilt = prompt.contains(&format!("HARM {operation}")) || (half && *operation == "add");
        let slips = chance(&(prompt, input, sample, "slip"), self.faults.slips);
        let taught = *operation == "add" || rule(operation);
        if taught && !spoilt && !slips {
            truth(input)
        } else {
            falsehood(input)
        }
    }

    /// A new question of an operation that goes with the level, or of the label that is asked for.
    fn generate(&self, brief: &GenerateRequest, sample: u32) -> Draft {
        let random = |salt: u32| hash(&(brief.level, brief.past.len(), brief.refused.len(), sample, salt));
        let operation = OPERATIONS[brief.level as usize % OPERATIONS.len()];
        let question = |salt: u32| {
            let (left, right) = (random(salt) % 90 + 3, random(salt + 1) % 90 + 3);
            let form = if brief.task.labels.is_empty() {
                "Work out"
            } else {
                "Does three divide"
            };
            format!("{form} {operation} {left} {right}.")
        };
        let fits = |input: &String| brief.target.as_ref().is_none_or(|wanted| truth(input) == *wanted);
        let input = (0..).map(|salt| question(salt * 2)).find(fits).unwrap();
        let target = if self.claims_wrongly(&input) {
            falsehood(&input)
        } else {
            truth(&input)
        };
        Draft {
            input,
            target,
            rationale: "as asked".into(),
        }
    }

    fn claims_wrongly(&self, input: &str) -> bool {
        chance(&(input, "claim"), self.faults.wrong_claims)
    }

    fn solve(&self, input: &str) -> String {
        let misled = self.faults.gullible && self.claims_wrongly(input);
        if misled { falsehood(input) } else { truth(input) }
    }

    fn edit(&self, request: &EditRequest) -> String {
        let section = |title: &str| section(&request.material, title);
        match request.step.as_str() {
            "error_analysis" => analyse(&section("Current prompt"), &section("Failed examples")),
            "recommendation" => {
                let tried = section("Tried before");
                let advice = section("Error analysis");
                if self.faults.useless_advice {
                    format!("Be careful, take {} looks.", tried.len())
                } else if !tried.contains("HARM") && chance(&(&request.material, "advice"), self.faults.harmful_advice)
                {
                    "HARM add".into()
                } else {
                    advice.replace("missing", "RULE").replace("harmful: ", "DROP ")
                }
            }
            _ => refine(&section("Current prompt"), &section("Recommendation")),
        }
    }
}

impl Agents for World<'_> {
    async fn ask(&self, ask: Ask, sample: u32) -> Result<Measured<Signed<Reply>>, Stop> {
        let key = format!("{ask:?} #{sample}");
        let flying = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(flying, Ordering::SeqCst);
        for _ in 0..hash(&(&key, self.faults.shuffle)) % 5 {
            tokio::task::yield_now().await;
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if let Some(reply) = self.known(&key) {
            return Ok(reply);
        }
        self.grant()?;
        let reply = self.answer(&ask, sample);
        let mut journal = self.journal.lock().unwrap();
        journal.asks.push(ask);
        journal.bought.entry(key).or_insert((reply.clone(), 0)).1 += 1;
        Ok(reply)
    }

    async fn emit(&self, run_event: RunEvent) -> Result<(), Stop> {
        let at = self.told.fetch_add(1, Ordering::SeqCst);
        let mut journal = self.journal.lock().unwrap();
        match journal.story.get(at) {
            Some(told) => assert_eq!(*told, run_event, "a replay tells the same story"),
            None => journal.story.push(run_event),
        }
        Ok(())
    }

    async fn conclude(&self) -> Result<(), Stop> {
        self.concluding.store(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A finished run and everything that led to it.
pub struct Told {
    pub outcome: Outcome,
    pub journal: Journal,
    pub peak: usize,
    pub lives: u32,
}

/// Runs a strategy on a task to its end, through as many lives as it takes.
pub async fn run(strategy: &str, task: &Task, options: serde_json::Value, faults: &Faults) -> Told {
    let journal = Mutex::new(Journal::default());
    for life in 1..100_000 {
        let world = World::new(faults, &journal);
        match crate::run(strategy, &options, task, &world).await {
            Ok(outcome) => {
                let peak = world.peak.load(Ordering::SeqCst);
                drop(world);
                let journal = journal.into_inner().unwrap();
                return Told {
                    outcome,
                    journal,
                    peak,
                    lives: life,
                };
            }
            Err(stop) => assert_eq!(stop, Stop::Halted("crash".into())),
        }
    }
    panic!("the run never ended");
}

/// Twelve train and forty test examples, one in four of each operation.
pub fn task() -> Task {
    Task {
        name: "toy".into(),
        brief: TaskBrief {
            description: "Work out what is asked.".into(),
            answer_format: "a number".into(),
            labels: Vec::new(),
        },
        prompt: "Answer the question.".into(),
        metric: Metric::exact(),
        train: examples("train", "Work out", 12),
        test: examples("test", "Work out", 40),
        gates: TaskGates::default(),
        corpus: Vec::new(),
        seed: 11,
        accept: None,
        form: sipdo_domain::PromptForm::default(),
    }
}

/// The same operations, asked for a label.
pub fn labelled_task() -> Task {
    let mut task = task();
    task.brief.labels = vec!["Yes".into(), "No".into()];
    task.train = examples("train", "Does three divide", 12);
    task.test = examples("test", "Does three divide", 40);
    task
}

/// So many examples of a set, one in four of each operation.
pub fn examples(set: &str, form: &str, count: u64) -> Vec<Example> {
    let example = |n: u64| {
        let operation = OPERATIONS[n as usize % OPERATIONS.len()];
        let (left, right) = (hash(&(set, n, 1)) % 900 + 100, hash(&(set, n, 2)) % 900 + 100);
        let input = format!("{form} {operation} {left} {right}.");
        Example {
            id: format!("{set}-{n}"),
            target: truth(&input),
            input,
            aliases: Vec::new(),
        }
    };
    (0..count).map(example).collect()
}

/// The exact solver.
pub fn truth(input: &str) -> String {
    let words: Vec<&str> = input.split([' ', '.']).collect();
    let after = words.iter().position(|word| OPERATIONS.contains(word)).unwrap();
    let number = |at: usize| words[after + at].parse::<i64>().unwrap();
    let value = match words[after] {
        "add" => number(1) + number(2),
        "multiply" => number(1) * number(2),
        "negate" => -(number(1) + number(2)),
        _ => 2 * (number(1) + number(2)),
    };
    match (input.starts_with("Does three divide"), value % 3 == 0) {
        (false, _) => value.to_string(),
        (true, true) => "Yes".into(),
        (true, false) => "No".into(),
    }
}

fn falsehood(input: &str) -> String {
    match truth(input).as_str() {
        "Yes" => "No".into(),
        "No" => "Yes".into(),
        number => (number.parse::<i64>().unwrap() + 1).to_string(),
    }
}

/// Names one thing that is wrong with the prompt, or that it leaves out.
fn analyse(prompt: &str, failures: &str) -> String {
    if prompt.contains("HARM add") && failures.contains("add") {
        return "harmful: HARM add".into();
    }
    let missing = |operation: &&str| failures.contains(*operation) && !prompt.contains(&format!("RULE {operation}"));
    match OPERATIONS.into_iter().skip(1).find(missing) {
        Some(operation) => format!("missing {operation}"),
        None => "nothing is missing".into(),
    }
}

fn refine(prompt: &str, advice: &str) -> String {
    match advice.strip_prefix("DROP ") {
        Some(harm) => prompt.replace(harm, ""),
        None => format!("{prompt}\n{advice}"),
    }
}

/// The text of a fenced section; empty where there is none.
fn section(material: &str, title: &str) -> String {
    let Some((_, rest)) = material.split_once(&format!("## {title}\n<<<")) else {
        return String::new();
    };
    let (nonce, rest) = rest.split_once('\n').unwrap();
    rest.split_once(&format!("\n{nonce}>>>")).unwrap().0.to_owned()
}

fn hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn chance<T: Hash>(value: &T, of_hundred: u64) -> bool {
    hash(value) % 100 < of_hundred
}
