//! The eight families of puzzles that the simulator knows and the public data has.

/// A question family as the benchmarks use it: BIG-Bench Hard file, metric, description and form of the answer.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Name in figures.
    pub name: &'static str,
    /// File in `data/bbh`, without its ending.
    pub file: &'static str,
    /// Kind of its metric.
    pub metric: &'static str,
    /// What is asked.
    pub description: &'static str,
    /// What an answer looks like.
    pub answer_format: &'static str,
}

/// The eight families.
pub const FAMILIES: [Family; 8] = [
    Family {
        name: "object_counting",
        file: "object_counting",
        metric: "numeric",
        description: "Count how many things of one category are listed.",
        answer_format: "a whole number in digits",
    },
    Family {
        name: "boolean_expressions",
        file: "boolean_expressions",
        metric: "choice",
        description: "Find the value of a Boolean expression.",
        answer_format: "True or False",
    },
    Family {
        name: "multistep_arithmetic_two",
        file: "multistep_arithmetic_two",
        metric: "numeric",
        description: "Work out an arithmetic expression with brackets.",
        answer_format: "a whole number in digits",
    },
    Family {
        name: "word_sorting",
        file: "word_sorting",
        metric: "normalized",
        description: "Sort the words alphabetically.",
        answer_format: "the words in order, separated by single blanks",
    },
    Family {
        name: "logical_deduction",
        file: "logical_deduction_five_objects",
        metric: "choice",
        description: "Choose the option that follows from the statements about an order of objects.",
        answer_format: "the letter of the right option in brackets, such as (B)",
    },
    Family {
        name: "tracking_shuffled_objects",
        file: "tracking_shuffled_objects_five_objects",
        metric: "choice",
        description: "Follow who holds what through a series of swaps and choose the option that is right at the end.",
        answer_format: "the letter of the right option in brackets, such as (B)",
    },
    Family {
        name: "navigate",
        file: "navigate",
        metric: "choice",
        description: "Say whether a walk ends where it began.",
        answer_format: "Yes or No",
    },
    Family {
        name: "web_of_lies",
        file: "web_of_lies",
        metric: "choice",
        description: "Say whether the last person named tells the truth.",
        answer_format: "Yes or No",
    },
];
