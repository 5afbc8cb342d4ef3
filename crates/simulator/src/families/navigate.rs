//! `navigate`: whether a walk ends where it began.

use std::ops::Range;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct Navigate;

const TURN_AROUND: usize = 0;
const TURNS: usize = 1;
const SIDEWAYS: usize = 2;
const BACKWARD: usize = 3;

static SKILLS: [Skill; 4] = [
    Skill {
        name: "turning around",
        symptom: "It ignores `Turn around` and walks on in the old direction.",
        rules: &[
            "`Turn around` makes you face the opposite way: rotate by 180 degrees before the next steps.",
            "After turning around, later steps count in the opposite direction.",
            "Treat `turn around` as a half turn that reverses the way you face.",
        ],
        teach: &[
            "turn around|turning around|turned around|about face|u turn|half turn & revers|opposite|180|flip|half|negat",
            "every turn|each turn|all turns|any turn & heading|facing|direction|orient|updat|rotat|face & !turn left|turn right",
        ],
        signs: &["turn around|turning around|half turn"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "turning left and right",
        symptom: "It ignores `Turn left` and `Turn right`.",
        rules: &[
            "`Turn left` and `Turn right` rotate the direction you face by 90 degrees; later steps go along the new direction.",
            "Keep track of the compass heading: a left turn or a right turn is a quarter rotation.",
            "Update which way you face at each `Turn left` or `Turn right`.",
        ],
        teach: &[
            "turn left|turn right|turns left|left turn|right turn|turning left|turning right|quarter turn & 90|rotat|heading|facing|face|direction|orient|quarter",
            "every turn|each turn|all turns|any turn & heading|facing|direction|orient|updat|rotat|face",
            "position|coordinate|track & heading|compass|orientation|facing direction|direction you are facing",
        ],
        signs: &["turn left|turn right|left and right turns|left or right turn|quarter turn"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "sideways steps",
        symptom: "It treats steps to the left or to the right like steps forward.",
        rules: &[
            "Steps to the left or to the right move along a second axis: keep x and y apart, and both must end at zero.",
            "Track sideways movement separately from forward and backward movement.",
            "Use coordinates (x, y): forward changes y, sideways steps change x.",
        ],
        teach: &[
            "x and y|x y|axis|axes|two dimension|2d|coordinate|coordinates|horizontal & step|move|sideways|left|right|track|keep|use|separate|forward",
            "sideways|lateral|left and right steps|steps left|steps right|to the left|left step & separate|own|axis|cancel|apart|track|net",
        ],
        signs: &["sideways|steps to the left|second axis|lateral"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "backward steps",
        symptom: "It adds steps backward instead of subtracting them.",
        rules: &[
            "Steps backward count negative.",
            "Subtract the steps taken backward from those taken forward.",
            "A step backward undoes a step forward.",
        ],
        teach: &["backward & subtract|negative|minus|cancel|undo|against|opposite"],
        signs: &["backward"],
        mild: true,
        slip: 100,
    },
];

const ASK: &str = "If you follow these instructions, do you return to the starting point?";
const OPTIONS: &str = "\nOptions:\n- Yes\n- No";

#[derive(Clone, Copy)]
enum Instruction {
    Steps(i64, Way),
    Turn(Way),
    FaceForward,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ahead,
    Right,
    Back,
    Left,
}

impl Way {
    fn quarters(self) -> usize {
        self as usize
    }
}

impl Family for Navigate {
    fn name(&self) -> &'static str {
        "navigate"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Word
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let ask = text.rfind("do you return to the starting point?")?;
        let start = text.get(..ask)?.rfind("If you follow these instructions")?;
        let rest = text.get(ask..)?;
        let end = match rest.find(OPTIONS) {
            Some(at) => at + OPTIONS.len(),
            None => rest.find('\n').unwrap_or(rest.len()),
        };
        Some(start..ask + end)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let walk = question.split_once('?')?.1.split('\n').next()?;
        let instructions: Vec<Instruction> = walk
            .split('.')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(read)
            .collect::<Option<_>>()?;
        let (mut x, mut y, mut heading) = (0i64, 0i64, 0usize);
        for instruction in instructions {
            match instruction {
                Instruction::FaceForward => {}
                Instruction::Turn(Way::Back) if !known.has(TURN_AROUND) => {}
                Instruction::Turn(Way::Left | Way::Right) if !known.has(TURNS) => {}
                Instruction::Turn(way) => heading = (heading + way.quarters()) % 4,
                Instruction::Steps(steps, way) => {
                    let way = match way {
                        Way::Left | Way::Right if !known.has(SIDEWAYS) => Way::Ahead,
                        Way::Back if !known.has(BACKWARD) => Way::Ahead,
                        way => way,
                    };
                    match (heading + way.quarters()) % 4 {
                        0 => y += steps,
                        1 => x += steps,
                        2 => y -= steps,
                        _ => x -= steps,
                    }
                }
            }
        }
        Some(if (x, y) == (0, 0) { "Yes" } else { "No" }.to_owned())
    }

    fn generate(&self, rng: &mut Rng, level: Level, _like: &str) -> String {
        let closes = rng.random_bool(0.6);
        let walk = if rng.random_bool(0.5) {
            write_facing(rng, level, closes)
        } else {
            write_turning(rng, level, closes)
        };
        format!("{ASK} {walk}{OPTIONS}")
    }
}

fn read(text: &str) -> Option<Instruction> {
    match text {
        "Always face forward" => return Some(Instruction::FaceForward),
        "Turn left" => return Some(Instruction::Turn(Way::Left)),
        "Turn right" => return Some(Instruction::Turn(Way::Right)),
        "Turn around" => return Some(Instruction::Turn(Way::Back)),
        _ => {}
    }
    let (number, rest) = text.strip_prefix("Take ")?.split_once(' ')?;
    let way = match rest.trim_start_matches("steps").trim_start_matches("step").trim() {
        "" | "forward" => Way::Ahead,
        "backward" => Way::Back,
        "left" => Way::Left,
        "right" => Way::Right,
        _ => return None,
    };
    let steps: u32 = number.parse().ok()?;
    Some(Instruction::Steps(i64::from(steps), way))
}

/// A walk that always faces forward; when it shall close, the last steps undo the rest.
fn write_facing(rng: &mut Rng, level: Level, closes: bool) -> String {
    let mut parts = vec!["Always face forward".to_owned()];
    let (mut x, mut y) = (0i64, 0i64);
    for _ in 0..level.span(2, 6) {
        let sideways = rng.random_bool(0.2 + 0.35 * level.fraction());
        let way = if sideways {
            [Way::Left, Way::Right]
        } else {
            [Way::Ahead, Way::Back]
        };
        let way = *way.choose(rng).unwrap_or(&Way::Ahead);
        let steps = rng.random_range(1..=10i64);
        match way {
            Way::Ahead => y += steps,
            Way::Back => y -= steps,
            Way::Right => x += steps,
            Way::Left => x -= steps,
        }
        parts.push(steps_text(steps, Some(way)));
    }
    if closes {
        if y != 0 {
            parts.push(steps_text(y.abs(), Some(if y > 0 { Way::Back } else { Way::Ahead })));
        }
        if x != 0 {
            parts.push(steps_text(x.abs(), Some(if x > 0 { Way::Left } else { Way::Right })));
        }
    }
    format!("{}.", parts.join(". "))
}

/// A walk with turns; when it shall close, it goes out, turns back and returns, with detours of turns that cancel.
fn write_turning(rng: &mut Rng, level: Level, closes: bool) -> String {
    let mut parts = Vec::new();
    let mut out = 0i64;
    for _ in 0..level.span(1, 4) {
        let steps = rng.random_range(1..=10i64);
        out += steps;
        parts.push(steps_text(steps, None));
    }
    let turns: &[&str] = if rng.random_bool(0.5 * level.fraction() + 0.2) {
        [
            &["Turn left", "Turn left"][..],
            &["Turn right", "Turn right"][..],
            &["Turn around", "Turn left", "Turn right"][..],
        ]
        .choose(rng)
        .copied()
        .unwrap_or(&["Turn around"])
    } else {
        &["Turn around"]
    };
    parts.extend(turns.iter().map(|turn| (*turn).to_owned()));
    let back = if closes {
        out
    } else {
        (out + rng.random_range(-3..=3i64)).max(1)
    };
    let first = if back > 1 && rng.random_bool(0.5) {
        rng.random_range(1..back)
    } else {
        back
    };
    parts.push(steps_text(first, None));
    if back > first {
        parts.push(steps_text(back - first, None));
    }
    if rng.random_bool(0.4) {
        parts.push(
            ["Turn left", "Turn right", "Turn around"]
                .choose(rng)
                .map_or_else(String::new, |turn| (*turn).to_owned()),
        );
    }
    parts.retain(|part| !part.is_empty());
    format!("{}.", parts.join(". "))
}

fn steps_text(steps: i64, way: Option<Way>) -> String {
    let noun = if steps == 1 { "step" } else { "steps" };
    let way = match way {
        None => "",
        Some(Way::Ahead) => " forward",
        Some(Way::Back) => " backward",
        Some(Way::Left) => " left",
        Some(Way::Right) => " right",
    };
    format!("Take {steps} {noun}{way}")
}
