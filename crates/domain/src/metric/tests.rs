//! The table of answers as models give them, and properties over all answers.

use super::*;
use proptest::prelude::*;

fn example(input: &str, target: &str) -> Example {
    Example {
        id: "train-1".into(),
        input: input.into(),
        target: target.into(),
        aliases: vec![],
    }
}

fn right(metric: &Metric, answer: &str, input: &str, target: &str) -> bool {
    metric.mark(answer, &example(input, target)) == Mark::Right
}

const GOLF: &str = "In a golf tournament, there were three golfers: Mel, Ada, and Ana. Mel finished last. Ana finished second.\n\
                    Options:\n(A) Mel finished last\n(B) Ada finished last\n(C) Ana finished last";
const NAVIGATE: &str = "Do you return to the starting point? Turn left. Take 9 steps.\nOptions:\n- Yes\n- No";
const FALLACY: &str = "Is the argument deductively valid or invalid?\nOptions:\n- valid \n- invalid";

#[test]
fn choices_are_found_in_what_models_write() {
    let cases = [
        "(B)",
        "B",
        "b",
        "B.",
        "**B**",
        "**(B)**",
        "(B) Ada finished last",
        "B. Ada finished last",
        "B: Ada finished last",
        "Ada finished last",
        "Ada finished last.",
        "Answer: (B)",
        "Answer: B",
        "**Answer:** (B)",
        "**Answer: (B)**",
        "Final Answer: **B**",
        "Answer:\n\n(B)",
        "The answer is (B).",
        "The answer is (B) Ada finished last.",
        "The correct answer is option B.",
        "The correct option is **(B)**.",
        "So the answer is B, because Mel came first.",
        "The answer is (B). (A) is impossible since Ana was second.",
        "The answer is (B), since (A) and (C) contradict the statements.",
        "The answer is not (A) but (B).",
        "The answer is (B), not (A).",
        "It cannot be (A). (C) is wrong because Ana is second. Therefore, (B).",
        "(A) and (C) are incorrect. So it must be (B).",
        "First I thought the answer is (A). But looking again, the answer is (B).",
        "If the answer is (A), Mel would be last; that fails.\nAnswer: (B)",
        r"$\boxed{B}$",
        r"The final answer is $\boxed{\text{(B)}}$.",
        "```\n(B)\n```",
        "```json\n{\"answer\": \"B\"}\n```",
        "{\"reasoning\": \"...\", \"answer\": \"(B)\"}",
        "<think>maybe (A)? or (C)</think>\n(B)",
        "<answer>B</answer>",
        "#### B",
        "(B)\n\nExplanation: (A) would need Mel to be last, (C) would need Ana to be last.",
        "(B)\n\nMel came first and Ana second.",
        "Step 1: Ana is second.\nStep 2: Ada is last.\n\nOption B is correct.",
        "Mel is first, Ana is second, so Ada finished last.",
        "I choose option (B) rather than (A).",
        "(B) is the correct answer.",
        "The answer to the question is: (B)",
        "> **B**",
        "Only option B is consistent with the statements.",
        "**Solution**\n\n- (A): impossible, Ana is second\n- (C): impossible\n\n**Final answer:** (B)",
        "The correct choice is B: Ada finished last.",
        "(B) Ada finished last. (A) would contradict the second statement.",
        "Looking at the options, (A) cannot be right, and (C) is false. This leaves (B).",
        "I would say B",
        "Answer - (B)",
        "the answer's (B)",
        "Ada finished last, so (B).",
        "Mel is first.\nAna is second.\nBecause one is left, Ada is last. So (B).",
        "Option (A): Mel is first, so it fails.\nOption (B): Ada is last, as it says. So (B).",
        "(B) is correct because (A) and (C) are false.",
        "My answer: B (Ada finished last)",
        "Option (A) says Mel. Option (B) says Ada. Option (C) says Ana. The second fits, so it is option (B).",
    ];
    for answer in cases {
        assert!(
            right(&Metric::choice(), answer, GOLF, "(B)"),
            "should be right: {answer:?}"
        );
        for other in ["(A)", "(C)"] {
            assert!(
                !right(&Metric::choice(), answer, GOLF, other),
                "should be wrong for {other}: {answer:?}"
            );
        }
    }
}

#[test]
fn choices_are_not_guessed() {
    let cases = [
        "(A) or (B)",
        "The answer is (A) or (B).",
        "The answer is either (B) or (C).",
        "Both (A) and (B) are possible.",
        "(A), (B)",
        "It is not (B).",
        "The answer is not (B).",
        "(B) Mel finished last",
        "(A) Mel finished last\n(B) Ada finished last\n(C) Ana finished last",
        "I cannot tell.",
        "Ada won.",
        "(D)",
        "Neither (A) nor (B) follows.",
        "A careful reading is needed here.",
        "None of the above",
    ];
    for answer in cases {
        assert!(
            !right(&Metric::choice(), answer, GOLF, "(B)"),
            "should not be right: {answer:?}"
        );
        assert!(
            !right(&Metric::choice(), answer, GOLF, "(A)"),
            "should not be right: {answer:?}"
        );
    }
}

#[test]
fn options_without_letters_are_chosen_by_text() {
    let cases = [
        (NAVIGATE, "No", "No"),
        (NAVIGATE, "no.", "No"),
        (NAVIGATE, "**No**", "No"),
        (NAVIGATE, "- No", "No"),
        (NAVIGATE, "No, you do not return to the starting point.", "No"),
        (NAVIGATE, "No you do not return.", "No"),
        (NAVIGATE, "Yes. After all steps you are back.", "Yes"),
        (NAVIGATE, "You end at (9, 0), which is no surprise.\n\nAnswer: No", "No"),
        (NAVIGATE, "There is no net movement, so the answer is Yes.", "Yes"),
        (NAVIGATE, "We end at (0, 0). Therefore, yes.", "Yes"),
        (NAVIGATE, "The answer is \"Yes\".", "Yes"),
        (FALLACY, "invalid", "invalid"),
        (FALLACY, "The argument is deductively valid.", "valid"),
        (FALLACY, "The argument is invalid.", "invalid"),
        (FALLACY, "The argument is not valid.", "invalid"),
        (FALLACY, "Hence the argument is **invalid**.", "invalid"),
    ];
    for (input, answer, target) in cases {
        assert!(
            right(&Metric::choice(), answer, input, target),
            "{answer:?} should be {target}"
        );
        let other = match target {
            "Yes" => "No",
            "No" => "Yes",
            "valid" => "invalid",
            _ => "valid",
        };
        assert!(
            !right(&Metric::choice(), answer, input, other),
            "{answer:?} should not be {other}"
        );
    }
    let polar: Metric = Comparison::Choice {
        options: vec!["False".into(), "True".into()],
    }
    .into();
    for (answer, target) in [
        ("not (True) = False. So the answer is False.", "False"),
        ("not True = False, then False or True = True.", "True"),
        ("False\n\nThe expression negates True.", "False"),
        ("The result of the expression is: **False**", "False"),
    ] {
        assert!(right(&polar, answer, "not ( True ) is", target), "{answer}");
    }
    for undecided in [
        "There is no way to tell",
        "Yes or no",
        "Yes and no, depending on the start",
    ] {
        assert!(
            !right(&Metric::choice(), undecided, NAVIGATE, "Yes")
                && !right(&Metric::choice(), undecided, NAVIGATE, "No"),
            "{undecided}"
        );
    }
}

#[test]
fn options_are_read_in_every_usual_form() {
    let inputs = [
        "Which?\nA. apple\nB. banana\nC. cherry",
        "Which?\nA) apple\nB) banana",
        "Which?\n(a) apple\n(b) banana",
        "Which? (A) apple (B) banana (C) cherry",
        "Which?\nChoices:\n1. apple\n2. banana",
        "Which?\n\nA: apple\nB: banana",
        "1. Premise one.\n2. Premise two.\nOptions:\n- apple\n- banana",
    ];
    for input in inputs {
        assert!(
            right(&Metric::choice(), "The answer is banana.", input, "banana"),
            "{input}"
        );
        assert!(
            !right(&Metric::choice(), "The answer is apple.", input, "banana"),
            "{input}"
        );
    }
    for input in &inputs[..4] {
        assert!(right(&Metric::choice(), "Banana", input, "B"), "{input}");
        assert!(right(&Metric::choice(), "B", input, "banana"), "{input}");
    }
    let labels: Metric = Comparison::Choice {
        options: vec!["True".into(), "False".into()],
    }
    .into();
    assert!(right(
        &labels,
        "The expression evaluates to True.",
        "not False is",
        "True"
    ));
    assert!(!right(&labels, "True or False", "not False is", "True"));
}

#[test]
fn numbers_are_found_in_what_models_write() {
    let cases = [
        ("5", "5", true),
        ("five", "5", true),
        ("Five.", "5", true),
        ("The answer is 5.", "5", true),
        ("The answer is **5** fruits (2 nectarines + 3 peaches).", "5", true),
        ("Answer: $1,234", "1234", true),
        ("$18.00", "18", true),
        ("#### 1,000", "1000", true),
        (r"\boxed{42}", "42", true),
        (r"The answer is $\boxed{-7}$.", "-7", true),
        ("2 + 3 = 5", "5", true),
        ("The answer is 2 + 3 = 5.", "5", true),
        ("She makes 9 * 2 = $18 every day at the market.", "18", true),
        ("There are 5 fruits out of 12 objects.", "5", true),
        ("There are 5 fruits out of 12 objects.", "12", false),
        ("Therefore she has 20 dollars left after 3 days.", "20", true),
        ("5 (2 nectarines, 1 strawberry, 1 peach, 1 grape)", "5", true),
        ("A = -7 * 3 = -21\nB = 4\nA * B = -84\n\nAnswer: -84", "-84", true),
        ("I count 2 flutes and 3 drums.\n\nTotal: 5", "5", true),
        ("You have seven musical instruments.", "7", true),
        ("-3", "3", false),
        ("15", "5", false),
        ("4 or 5", "5", true), // the last number where nothing tells: the usual convention
        ("I do not know", "5", false),
        ("x = - 5", "-5", true),
        ("5.0", "5", true),
        ("The answer is 12/25/1937", "12", false),
        ("<think>maybe 4</think>5", "5", true),
    ];
    for (answer, target, expected) in cases {
        assert_eq!(
            right(&Metric::numeric(), answer, "", target),
            expected,
            "{answer:?} against {target}"
        );
    }
    let tolerant: Metric = Comparison::Numeric {
        absolute: 0.01,
        relative: 0.0,
    }
    .into();
    assert!(right(&tolerant, "3.14", "", "3.1416"));
    assert!(!right(&tolerant, "3.1", "", "3.1416"));
    let relative: Metric = Comparison::Numeric {
        absolute: 0.0,
        relative: 0.05,
    }
    .into();
    assert!(right(&relative, "104", "", "100") && !right(&relative, "106", "", "100"));
}

#[test]
fn words_are_compared_without_their_clothes() {
    let sorted = "arapaho bacteria bela";
    for answer in [
        sorted,
        "Answer: arapaho bacteria bela",
        "The sorted list is: arapaho bacteria bela",
        "Sorted words:\n\n**arapaho bacteria bela**",
        "`arapaho bacteria bela`",
        "```\narapaho bacteria bela\n```",
        "arapaho bacteria bela\n\nExplanation: sorted by first letter.",
        "The words in order are \"arapaho bacteria bela\".",
    ] {
        assert!(right(&Metric::exact(), answer, "", sorted), "exact: {answer:?}");
        assert!(
            right(&Metric::normalized(), answer, "", sorted),
            "normalized: {answer:?}"
        );
    }
    assert!(right(&Metric::normalized(), "Arapaho, Bacteria, Bela.", "", sorted));
    assert!(!right(&Metric::exact(), "Arapaho, Bacteria, Bela.", "", sorted));
    for wrong in [
        "arapaho bela bacteria",
        "arapaho bacteria",
        "arapaho bacteria bela cat",
        "not arapaho bacteria bela",
    ] {
        assert!(!right(&Metric::normalized(), wrong, "", sorted), "{wrong}");
    }
    let cases = [
        ("] ]", "] ]", true),
        ("] ] >", "] ]", false),
        ("-5", "5", false),
        ("five", "5", true),
        ("1.10", "1.1", false),
        ("1,000", "1000", true),
        ("Paris", "paris", true),
        ("The capital of France is Paris.", "Paris", true),
        ("The capital of France is not Paris.", "Paris", false),
        ("It is not **Paris**.", "Paris", false),
        ("Yes, because it holds.", "yes", true),
        ("No", "yes", false),
        ("Goal tending is part of basketball. So yes.", "yes", true),
        (
            "Hence, we have sorted them. So costume counterpart oven.",
            "costume counterpart oven",
            true,
        ),
        ("the Eiffel Tower", "Eiffel Tower", true),
        ("C++", "C", false),
        ("non-entailment", "entailment", false),
    ];
    for (answer, target, expected) in cases {
        assert_eq!(
            right(&Metric::normalized(), answer, "", target),
            expected,
            "{answer:?} against {target:?}"
        );
    }
    let mut several = example("", "penguins");
    several.aliases = vec!["birds".into()];
    assert_eq!(Metric::normalized().mark("Birds.", &several), Mark::Right);
}

#[test]
fn the_other_comparisons_do_what_they_say() {
    let f1: Metric = Comparison::TokenF1 { threshold: 0.6 }.into();
    assert!(right(
        &f1,
        "The seeds pass through your system",
        "",
        "The watermelon seeds pass through your digestive system"
    ));
    assert!(!right(
        &f1,
        "You grow watermelons",
        "",
        "The watermelon seeds pass through your digestive system"
    ));

    let contains: Metric = Comparison::Contains.into();
    assert!(right(&contains, "It was built in Paris, in 1889.", "", "paris"));
    assert!(!right(&contains, "It was built in Parisian style.", "", "paris"));

    let json: Metric = whole_json().into();
    let target = r#"{"name": "Ada", "tags": [1, 2]}"#;
    assert!(right(
        &json,
        "Here it is:\n```json\n{\"tags\": [1.0, 2], \"name\": \"Ada\"}\n```",
        "",
        target
    ));
    assert!(right(
        &json,
        "Sure: {\"tags\": [1, 2], \"name\": \"Ada\"} as asked.",
        "",
        target
    ));
    assert!(!right(&json, r#"{"tags": [2, 1], "name": "Ada"}"#, "", target));
    assert!(!right(
        &json,
        r#"{"tags": [1, 2], "name": "Ada", "age": 3}"#,
        "",
        target
    ));

    let regex: Metric = Comparison::Regex { pattern: None }.into();
    assert!(right(&regex, "It ends in 2024-01-05.", "", r"\d{4}-\d\d-\d\d"));
    assert!(!right(&regex, "It ends soon.", "", r"\d{4}-\d\d-\d\d"));
    let around: Metric = Comparison::Regex {
        pattern: Some(r"^code: {target}$".into()),
    }
    .into();
    assert!(right(&around, "code: a.b", "", "a.b") && !right(&around, "code: axb", "", "a.b"));

    let judge: Metric = Comparison::Judge {
        criteria: String::new(),
    }
    .into();
    assert!(judge.needs_judge() && matches!(judge.mark("a", &example("", "a")), Mark::NotMeasured(_)));
}

#[test]
fn the_user_can_say_where_the_answer_stands() {
    let with = |extract: Extraction| Metric {
        extract,
        ..Metric::normalized()
    };
    let text = "Answer: wrong\nRESULT => Paris\nlast line";
    assert!(right(&with(Extraction::After("result =>".into())), text, "", "Paris"));
    assert!(right(&with(Extraction::LastLine), text, "", "last line"));
    assert!(right(&with(Extraction::Regex(r"=> (\w+)".into())), text, "", "Paris"));
    assert!(right(
        &with(Extraction::Json("/city/name".into())),
        r#"{"city": {"name": "Paris"}}"#,
        "",
        "Paris"
    ));
    assert!(!right(&with(Extraction::After("missing:".into())), text, "", "Paris"));
    let whole = Metric {
        extract: Extraction::Whole,
        ..Metric::exact()
    };
    assert!(right(&whole, "a\nb", "", "a\nb"));
}

#[test]
fn voters_agree_whatever_the_form() {
    let cases = [
        (Metric::choice(), GOLF, "(B)", "Ada finished last", true),
        (
            Metric::choice(),
            GOLF,
            "B",
            "The answer is (B) Ada finished last.",
            true,
        ),
        (Metric::choice(), GOLF, "(A)", "(B)", false),
        (Metric::choice(), "no options here", "(B)", "B", true),
        (Metric::choice(), "no options here", "(B)", "(C)", false),
        (Metric::numeric(), "", "5", "There are five fruits.", true),
        (Metric::numeric(), "", "5", "6", false),
        (Metric::exact(), "", "True", "true", true),
        (Metric::exact(), "", "a b c", "a b c.", true),
        (Metric::exact(), "", "a b c", "a c b", false),
        (Metric::normalized(), "", "Yes", "yes.", true),
        (Metric::normalized(), "", "Yes", "No", false),
        (whole_json().into(), "", r#"{"a":1}"#, r#"{ "a": 1.0 }"#, true),
        (
            Comparison::Judge {
                criteria: String::new(),
            }
            .into(),
            "",
            "Paris",
            "paris",
            true,
        ),
        (
            Comparison::Judge {
                criteria: String::new(),
            }
            .into(),
            "",
            "Paris",
            "London",
            false,
        ),
    ];
    for (metric, input, a, b, expected) in cases {
        assert_eq!(metric.agree(a, b, input), expected, "{} {a:?} {b:?}", metric.name());
        assert_eq!(metric.agree(b, a, input), expected, "{} {b:?} {a:?}", metric.name());
    }
}

#[test]
fn labels_get_their_canonical_form() {
    let letters: Vec<String> = ["(A)", "(B)", "(C)"].map(String::from).to_vec();
    let polar: Vec<String> = ["Yes", "No"].map(String::from).to_vec();
    let cases = [
        ("B", &letters, Some("(B)")),
        ("(B) Ada finished last", &letters, Some("(B)")),
        ("The answer is (C).", &letters, Some("(C)")),
        ("(A) or (C)", &letters, None),
        ("(D)", &letters, None),
        ("yes", &polar, Some("Yes")),
        ("No, it does not.", &polar, Some("No")),
        ("maybe", &polar, None),
    ];
    for (text, labels, expected) in cases {
        for metric in [Metric::choice(), Metric::exact(), Metric::normalized()] {
            assert_eq!(
                metric.label_of(text, labels).as_deref(),
                expected,
                "{} {text:?}",
                metric.name()
            );
        }
    }
    let counts: Vec<String> = ["1", "2"].map(String::from).to_vec();
    assert_eq!(Metric::numeric().label_of("two", &counts).as_deref(), Some("2"));
}

#[test]
fn metrics_refuse_targets_they_cannot_mark() {
    assert!(Metric::numeric().check_target("(A)").is_err());
    assert!(Metric::numeric().check_target("2 + 2 = 4").is_err());
    assert!(Metric::numeric().check_target("$1,234").is_ok());
    assert!(Metric::from(whole_json()).check_target("{").is_err());
    assert!(
        Metric::from(Comparison::Regex { pattern: None })
            .check_target("(")
            .is_err()
    );
    assert!(Metric::from(Comparison::Contains).check_target("] ]").is_err());
    assert!(Metric::exact().check_target(" ").is_err());
    assert!(Metric::choice().check_example(&example(GOLF, "(E)")).is_err());
    assert!(Metric::choice().check_example(&example(GOLF, "(C)")).is_ok());
    assert!(
        Metric::from(Comparison::Regex {
            pattern: Some("abc".into())
        })
        .check()
        .is_err()
    );
    assert!(Metric::from(Comparison::TokenF1 { threshold: 3.0 }).check().is_err());
}

#[test]
fn metrics_are_written_as_in_a_task_file() {
    let metric: Metric = serde_json::from_str(r#"{"kind": "choice", "extract": {"after": "Answer:"}}"#).unwrap();
    assert_eq!(metric.extract, Extraction::After("Answer:".into()));
    let judge: Metric = serde_json::from_str(r#"{"kind": "judge", "criteria": "polite"}"#).unwrap();
    assert_eq!(
        judge.comparison,
        Comparison::Judge {
            criteria: "polite".into()
        }
    );
    for metric in [
        Metric::exact(),
        Metric::numeric(),
        metric,
        judge,
        Comparison::TokenF1 { threshold: 0.7 }.into(),
    ] {
        let text = serde_json::to_string(&metric).unwrap();
        assert_eq!(serde_json::from_str::<Metric>(&text).unwrap(), metric, "{text}");
    }
}

fn every_metric() -> Vec<Metric> {
    let kinds = [
        Comparison::Exact,
        Comparison::Normalized,
        Comparison::Choice {
            options: vec!["Yes".into(), "No".into()],
        },
        Comparison::Numeric {
            absolute: 0.0,
            relative: 0.0,
        },
        Comparison::TokenF1 { threshold: 0.5 },
        Comparison::Regex { pattern: None },
        whole_json(),
        Comparison::Contains,
        Comparison::Judge {
            criteria: String::new(),
        },
    ];
    let extractions = [
        Extraction::Auto,
        Extraction::LastLine,
        Extraction::Whole,
        Extraction::After(":".into()),
        Extraction::Json("/a".into()),
    ];
    kinds
        .iter()
        .flat_map(|kind| {
            extractions.iter().map(|extract| Metric {
                comparison: kind.clone(),
                extract: extract.clone(),
                reading: NEWEST,
            })
        })
        .collect()
}

const WRAPPERS: [&str; 9] = [
    "{}",
    "Answer: {}",
    "The answer is {}.",
    "**{}**",
    "Let me think about it first.\nFinal answer: {}",
    "\\boxed{{}}",
    "```\n{}\n```",
    "{\"answer\": \"{}\"}",
    "<think>(A) (B) 1 2</think>So, the answer is: **{}**",
];

proptest! {
    #[test]
    fn nothing_a_model_writes_can_break_a_metric(
        a in "(?s).{0,80}",
        b in "\\PC{0,30}",
        soup in "[(){}A-D0-9.,:*$`\\-/=\\\\n ]{0,40}",
        metric in prop::sample::select(every_metric()),
    ) {
        for (x, y) in [(&a, &b), (&soup, &a), (&b, &soup)] {
            let _ = metric.mark(x, &example(y, &b));
            prop_assert_eq!(metric.agree(x, y, &soup), metric.agree(y, x, &soup));
            let _ = metric.label_of(x, &[y.clone(), "(A)".into()]);
            let _ = metric.check_example(&example(x, y));
        }
    }

    #[test]
    fn a_letter_is_right_exactly_when_it_is_the_target(count in 2usize..8, chosen in 0usize..8, target in 0usize..8, form in 0usize..4, wrapper in 0usize..9) {
        let (chosen, target) = (chosen % count, target % count);
        let letter = |at: usize| char::from(b'A' + at as u8);
        let input = (0..count).fold("Which one?\nOptions:".to_owned(), |text, at| format!("{text}\n({}) object number {at}x", letter(at)));
        let said = match form {
            0 => letter(chosen).to_string(),
            1 => format!("({})", letter(chosen)),
            2 => format!("({}) object number {chosen}x", letter(chosen)),
            _ => format!("object number {chosen}x"),
        };
        let answer = WRAPPERS[wrapper].replacen("{}", &said, 1);
        // the wrapper with braces of its own
        let answer = if wrapper == 5 { format!("\\boxed{{{said}}}") } else { answer };
        let marked = right(&Metric::choice(), &answer, &input, &format!("({})", letter(target)));
        prop_assert_eq!(marked, chosen == target, "{:?}", answer);
    }

    #[test]
    fn an_integer_is_right_exactly_when_it_is_the_target(said in -5000i64..5000, target in -5000i64..5000, wrapper in 0usize..9, same in any::<bool>()) {
        let target = if same { said } else { target };
        let answer = if wrapper == 5 { format!("\\boxed{{{said}}}") } else { WRAPPERS[wrapper].replacen("{}", &said.to_string(), 1) };
        prop_assert_eq!(right(&Metric::numeric(), &answer, "", &target.to_string()), said == target, "{:?}", answer);
    }

    #[test]
    fn a_target_is_right_for_itself(words in prop::collection::vec("[a-z]{2,9}", 1..6), wrapper in 0usize..5) {
        let target = words.join(" ");
        prop_assume!(!["answer", "ans"].iter().any(|word| target.contains(word)));
        let answer = WRAPPERS[wrapper].replacen("{}", &target, 1);
        for metric in [Metric::exact(), Metric::normalized()] {
            prop_assert!(right(&metric, &answer, "", &target), "{:?}", answer);
            prop_assert!(metric.agree(&target, &target, ""));
        }
    }
}

fn whole_json() -> Comparison {
    Comparison::Json {
        partial: false,
        right_from: 1.0,
    }
}
