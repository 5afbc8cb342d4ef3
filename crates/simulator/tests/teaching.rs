//! What prompts teach: every wording of every rule its own skill, other people's wordings too, and empty words nothing.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use sipdo_simulator::families::{ALL, SkillSet, family};

/// Skills that a rule teaches besides its own, since it says both.
const BESIDES: &[(&str, &str, &str)] = &[("word_sorting", "further letters", "second letter")];

fn names(family_name: &str, set: SkillSet) -> Vec<&'static str> {
    let skills = family(family_name).unwrap().skills().iter().enumerate();
    skills
        .filter(|(index, _)| set.has(*index))
        .map(|(_, skill)| skill.name)
        .collect()
}

#[test]
fn each_rule_teaches_its_own_skill_and_no_other() {
    let mut faults = Vec::new();
    for known in ALL.iter() {
        for skill in known.skills() {
            for rule in skill.rules {
                let taught = names(known.name(), known.taught(&format!("Answer the question.\n- {rule}")));
                let allowed = |name: &str| {
                    name == skill.name
                        || BESIDES
                            .iter()
                            .any(|(f, of, also)| *f == known.name() && *of == skill.name && *also == name)
                };
                if !taught.contains(&skill.name) || !taught.iter().all(|name| allowed(name)) {
                    faults.push(format!(
                        "{} / {}: {rule:?} teaches {taught:?}",
                        known.name(),
                        skill.name
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_symptom_is_recognised_as_its_own() {
    let mut faults = Vec::new();
    for known in ALL.iter() {
        for skill in known.skills() {
            let mentioned = names(
                known.name(),
                known.mentioned(&format!("1. {} The prompt says nothing about it.", skill.symptom)),
            );
            if mentioned != [skill.name] {
                faults.push(format!("{} / {}: read as {mentioned:?}", known.name(), skill.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn empty_words_teach_nothing() {
    let empty = [
        "Answer the question.",
        "You are a helpful assistant. Answer correctly and be careful, or you will be fired.",
        "The prompt leads to wrong answers. Try again: write a better prompt.",
        "The model seems to be careless; it should think harder about such questions.",
        "The answers are often not right, so the prompt should ask for more attention and precision.",
        "Try to make the prompt clearer and more encouraging.",
        "No general mistake explains these failures: working the questions out leads to other answers than those given as correct, or \
         the prompt already says what is needed.",
        "Count how many things of one category are in the list.",
        "Evaluate the Boolean expression.",
        "Sort the words alphabetically.",
        "Compute the value of the expression.",
        "Choose the option that follows from the statements.",
        "Say whether the walk ends where it began.",
        "Say whether the last person in the chain tells the truth.",
        "Who holds what after the swaps?",
        "Give the final answer after \"Answer:\".",
        "Read all the text and answer with the letter of the right option.",
    ];
    for known in ALL.iter() {
        for text in empty {
            let taught = names(known.name(), known.taught(text).union(known.mentioned(text)));
            assert!(
                taught.is_empty() || text.contains("last person"),
                "{}: {text:?} teaches {taught:?}",
                known.name()
            );
        }
    }
}

#[test]
fn thinking_step_by_step_mends_the_mild_mistakes_only() {
    for known in ALL.iter() {
        let taught = known.taught("Answer the question. Let's think step by step.");
        for (index, skill) in known.skills().iter().enumerate() {
            assert_eq!(taught.has(index), skill.mild, "{} / {}", known.name(), skill.name);
        }
    }
}

/// Wordings that the rules in the code do not use.
#[test]
fn other_wordings_are_understood() {
    let wordings: &[(&str, &str, &str)] = &[
        (
            "object_counting",
            "quantities",
            "Remember to sum the amounts: three pianos are three instruments.",
        ),
        (
            "object_counting",
            "quantities",
            "If the list says \"two grapes\", it counts as 2.",
        ),
        (
            "object_counting",
            "quantities",
            "Take into account how many of each item there are.",
        ),
        (
            "object_counting",
            "categories",
            "Ignore items that do not belong to the requested type.",
        ),
        (
            "object_counting",
            "categories",
            "First filter the list by category, then do the rest.",
        ),
        ("object_counting", "last item", "Don't forget the final item."),
        ("object_counting", "digits", "Respond with digits."),
        (
            "boolean_expressions",
            "negation",
            "Negation inverts the truth value it precedes.",
        ),
        (
            "boolean_expressions",
            "repeated negation",
            "Double negations cancel out.",
        ),
        (
            "boolean_expressions",
            "and before or",
            "Use the standard operator precedence.",
        ),
        (
            "boolean_expressions",
            "and before or",
            "Operators are applied in this order: not, then and, then or.",
        ),
        ("boolean_expressions", "brackets", "Resolve parentheses first."),
        ("multistep_arithmetic_two", "products first", "Use PEMDAS."),
        (
            "multistep_arithmetic_two",
            "products first",
            "Multiplication takes precedence over addition and subtraction.",
        ),
        (
            "multistep_arithmetic_two",
            "double minus",
            "Minus a negative number is the same as plus that number.",
        ),
        (
            "multistep_arithmetic_two",
            "sign of products",
            "The product of two negative numbers is positive.",
        ),
        (
            "multistep_arithmetic_two",
            "whole bracket",
            "Solve both brackets separately.",
        ),
        (
            "word_sorting",
            "second letter",
            "For words with equal initials look at the second letter.",
        ),
        (
            "word_sorting",
            "further letters",
            "Compare words character by character.",
        ),
        (
            "word_sorting",
            "completeness",
            "The output must contain all words of the input exactly once.",
        ),
        ("word_sorting", "separator", "Output the words separated by spaces."),
        (
            "logical_deduction",
            "all clues",
            "Find the arrangement consistent with all statements.",
        ),
        (
            "logical_deduction",
            "direction of comparisons",
            "\"Older than\" means it comes later in the order from newest to oldest.",
        ),
        (
            "logical_deduction",
            "ordinals from the named end",
            "When a clue says third from the right, count from the right end.",
        ),
        (
            "tracking_shuffled_objects",
            "both ways",
            "In a swap, the two people exchange their items with each other.",
        ),
        (
            "tracking_shuffled_objects",
            "all swaps",
            "Maintain the full state of all people and update it with each swap.",
        ),
        ("tracking_shuffled_objects", "last swap", "Include the last swap."),
        ("navigate", "turning around", "Turning around flips your heading."),
        (
            "navigate",
            "turning left and right",
            "A left turn changes the direction you are facing by 90 degrees.",
        ),
        (
            "navigate",
            "sideways steps",
            "Keep separate totals for the x and y axes.",
        ),
        (
            "navigate",
            "backward steps",
            "Moving backward is the opposite of moving forward, so treat it as negative.",
        ),
        (
            "web_of_lies",
            "a liar accused",
            "If X says that Y lies and Y really is an actual liar, then X is telling the truth.",
        ),
        (
            "web_of_lies",
            "a liar praised",
            "A speaker is truthful if and only if the claim matches the other person's status.",
        ),
        (
            "web_of_lies",
            "last person",
            "Process the statements in order, person by person.",
        ),
        ("term_explanation", "purpose", "Mention the purpose."),
        ("term_explanation", "example", "Include an example."),
    ];
    let mut faults = Vec::new();
    for (family_name, skill, text) in wordings {
        let taught = names(family_name, family(family_name).unwrap().taught(text));
        if !taught.contains(skill) {
            faults.push(format!("{family_name} / {skill}: {text:?} teaches {taught:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_contrary_teaches_nothing() {
    let family = family("object_counting").unwrap();
    for text in [
        "Ignore the quantities, do not add the numbers in front.",
        "Do not skip anything: count all categories.",
    ] {
        let taught = names("object_counting", family.taught(text));
        assert!(
            !taught.contains(&"quantities") && !taught.contains(&"categories"),
            "{text:?} teaches {taught:?}"
        );
    }
}
