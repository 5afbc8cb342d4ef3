//! `ticket_routing`: which of six queues a support ticket belongs to, an own family for tasks whose questions have columns.
//!
//! A ticket has a subject and a body. The request in the body decides; the subject may be out of date, and the body may mention
//! something else. Two kinds of requests belong elsewhere than one would think.

use std::borrow::Cow;
use std::ops::Range;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct TicketRouting;

const SUBJECT: usize = 0;
const REQUEST: usize = 1;
const CANCEL: usize = 2;
const DAMAGED: usize = 3;

/// The queues.
pub(crate) const LABELS: [&str; 6] = ["account", "billing", "returns", "sales", "shipping", "technical"];

static SKILLS: [Skill; 4] = [
    Skill {
        name: "subject",
        symptom: "It trusts the subject line although the body says something else.",
        rules: &[
            "If subject and body disagree, the body decides.",
            "Decide by the body of the ticket; its subject may be out of date.",
            "Never rely on the subject alone: read the whole body.",
        ],
        teach: &[
            "subject|title|headline & body|text of the ticket & decide|disagree|out of date|rely|mislead|trust|contradict|prefer|over the|before the|rather",
        ],
        signs: &["subject"],
        mild: true,
        slip: 60,
    },
    Skill {
        name: "request",
        symptom: "It goes by what is mentioned in passing and not by what the customer asks for.",
        rules: &[
            "Route by what the customer asks for, not by what else is mentioned.",
            "Find the actual request; topics that are mentioned in passing do not count.",
            "Only what the customer wants done matters, whatever other topic is mentioned before.",
        ],
        teach: &[
            "asks for|request|wants|want & mention|passing|side remark|other topic|aside|already settled|unrelated|first topic",
        ],
        signs: &["mentioned|in passing|asks for"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "cancellation",
        symptom: "It sends cancellations to billing.",
        rules: &[
            "Cancellations and stopped renewals belong to account.",
            "A customer who cancels a plan or ends a contract goes to account.",
            "Route the end of a subscription (to cancel it, to stop its renewal) to account.",
        ],
        teach: &[
            "cancel|renewal|ends a contract|end of a subscription|end a subscription|terminat & account & !not to account",
        ],
        signs: &["cancel|renewal|terminat"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "damaged goods",
        symptom: "It takes damaged goods for a matter of delivery.",
        rules: &[
            "Goods that arrive damaged or broken belong to returns.",
            "Route broken, cracked or scratched items to returns and not to shipping.",
            "A damaged article is one for returns, even if it came late.",
        ],
        teach: &["damag|broken|crack|scratch|defect & returns|return & !not to returns"],
        signs: &["damag|broken|crack"],
        mild: false,
        slip: 100,
    },
];

/// Subjects and their queue.
const SUBJECTS: &[(&str, &str)] = &[
    ("Access to my profile", "account"),
    ("My personal settings", "account"),
    ("Sign-in data", "account"),
    ("Question about an invoice", "billing"),
    ("A charge on my card", "billing"),
    ("Your last bill", "billing"),
    ("Sending an article back", "returns"),
    ("Exchange wanted", "returns"),
    ("About my return label", "returns"),
    ("Offer for our team", "sales"),
    ("Prices of the larger plan", "sales"),
    ("Before we buy", "sales"),
    ("Where is my parcel", "shipping"),
    ("Delivery date", "shipping"),
    ("Tracking number", "shipping"),
    ("The app does not start", "technical"),
    ("Error message", "technical"),
    ("Trouble after the update", "technical"),
];

/// What is mentioned in passing, and the queue that it would belong to.
const MENTIONS: &[(&str, &str)] = &[
    ("I changed my password last week, which went well.", "account"),
    ("My new mail address is in your files by now.", "account"),
    ("The invoice of last month is paid.", "billing"),
    ("Your accountant has refunded the double charge already.", "billing"),
    ("The jacket that I sent back was refunded, thank you.", "returns"),
    ("The exchange of the shoes went smoothly in spring.", "returns"),
    ("The offer of your sales team was fine.", "sales"),
    ("We tried the demonstration version before.", "sales"),
    ("My last parcel came on time.", "shipping"),
    ("The courier was friendly again this week.", "shipping"),
    ("The crash that I wrote about in May is gone.", "technical"),
    ("Since the update the pages load quickly.", "technical"),
];

/// A request, its queue, the queue without the skill, and the skill.
type Request = (&'static str, &'static str, Option<(&'static str, usize)>);

const REQUESTS: &[Request] = &[
    ("Please change the mail address of my profile.", "account", None),
    ("I cannot sign in since I lost my phone.", "account", None),
    ("Please delete my profile and all data in it.", "account", None),
    (
        "Please cancel my subscription at the end of the month.",
        "account",
        Some(("billing", CANCEL)),
    ),
    (
        "Stop the renewal of my plan, please.",
        "account",
        Some(("billing", CANCEL)),
    ),
    (
        "I want to end my contract in June.",
        "account",
        Some(("billing", CANCEL)),
    ),
    ("Please correct the amount on the bill.", "billing", None),
    ("Why was my card charged twice?", "billing", None),
    ("I need a copy of the invoice with our tax number.", "billing", None),
    ("I want to send the jacket back.", "returns", None),
    ("How do I get a label for sending it back?", "returns", None),
    ("Please exchange the shoes for a smaller size.", "returns", None),
    (
        "The lamp arrived with a crack in it.",
        "returns",
        Some(("shipping", DAMAGED)),
    ),
    (
        "Half of the cups in the parcel were broken.",
        "returns",
        Some(("shipping", DAMAGED)),
    ),
    (
        "The box came crushed, and the screen is scratched.",
        "returns",
        Some(("shipping", DAMAGED)),
    ),
    ("Do you give a discount for schools?", "sales", None),
    ("Which plan fits a team of forty?", "sales", None),
    ("We would like a demonstration before we buy.", "sales", None),
    ("The parcel has not arrived yet.", "shipping", None),
    ("Can it be delivered on Saturday?", "shipping", None),
    ("The tracking number shows no movement for days.", "shipping", None),
    ("The app crashes whenever I open a report.", "technical", None),
    ("The export button does nothing at all.", "technical", None),
    ("Pages stay blank after the update.", "technical", None),
];

const OPENINGS: &[&str] = &[
    "Hello,",
    "Dear team,",
    "Hi there,",
    "Good morning,",
    "To whom it may concern,",
];
const PEOPLE: &[&str] = &[
    "Mara", "Jonas", "Ade", "Li", "Sofia", "Omar", "Ines", "Tom", "Priya", "Emil",
];
const FACTS: &[&str] = &[
    "I have been with you since the spring of 20YY.",
    "Our office has NN seats.",
    "My reference is NNN.",
    "I wrote to you on the NNth already.",
    "You can reach me after NN o'clock.",
    "I live in the house with the number NN.",
];

/// What was read of a ticket.
struct Ticket {
    range: Range<usize>,
    subject: Option<&'static (&'static str, &'static str)>,
    mention: Option<&'static (&'static str, &'static str)>,
    request: &'static Request,
}

impl Family for TicketRouting {
    fn name(&self) -> &'static str {
        "ticket_routing"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Label
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        read(text).map(|ticket| ticket.range)
    }

    fn essence<'a>(&self, question: &'a str) -> Cow<'a, str> {
        // What stands between the columns depends on the prompt, and is no part of the question.
        let said = read(question).map(|ticket| {
            let part = |part: Option<&(&str, &str)>| part.map_or("", |(text, _)| *text).to_owned();
            format!("{}|{}|{}", part(ticket.subject), part(ticket.mention), ticket.request.0)
        });
        said.map_or(Cow::Borrowed(question), Cow::Owned)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let ticket = read(question)?;
        let (_, label, special) = ticket.request;
        let subject = ticket
            .subject
            .map(|(_, label)| *label)
            .filter(|subject| subject != label);
        let mention = ticket.mention.map(|(_, label)| *label);
        let said = match (subject, mention, special) {
            (Some(subject), _, _) if !known.has(SUBJECT) => subject,
            (_, Some(mention), _) if !known.has(REQUEST) => mention,
            (_, _, Some((naive, skill))) if !known.has(*skill) => naive,
            _ => label,
        };
        Some(said.to_owned())
    }

    fn generate(&self, rng: &mut Rng, level: Level, _like: &str) -> String {
        let label = *LABELS.choose(rng).unwrap_or(&"sales");
        let special = rng.random_bool(0.25 + 0.5 * level.fraction());
        let fitting = |special: bool| {
            let of = |request: &&Request| request.1 == label && request.2.is_some() == special;
            REQUESTS.iter().filter(of).collect::<Vec<_>>()
        };
        let with_special = [fitting(special), fitting(false)]
            .into_iter()
            .find(|some| !some.is_empty());
        let requests = with_special.unwrap_or_default();
        let request = requests.choose(rng).map_or("", |request| request.0);
        let other = rng.random_bool(0.1 + 0.3 * level.fraction());
        let subjects: Vec<_> = SUBJECTS.iter().filter(|(_, of)| (*of == label) != other).collect();
        let mentions: Vec<_> = MENTIONS.iter().filter(|(_, of)| *of != label).collect();
        let mention = if rng.random_bool(0.1 + 0.4 * level.fraction()) {
            mentions.choose(rng).map_or("", |(text, _)| *text)
        } else {
            ""
        };
        let subject = subjects.choose(rng).map_or("", |(text, _)| *text);
        let opening = *OPENINGS.choose(rng).unwrap_or(&"Hello,");
        let person = *PEOPLE.choose(rng).unwrap_or(&"Mara");
        let (before, after) = (fact(rng), fact(rng));
        let body: Vec<&str> = [opening, &before, mention, request, &after, person]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        format!("{subject}\n\n{}", body.join(" "))
    }
}

/// A harmless remark with a number in it.
fn fact(rng: &mut Rng) -> String {
    let fact = *FACTS.choose(rng).unwrap_or(&"");
    let number = rng.random_range(10..29u32);
    let long = rng.random_range(10_000..99_999u32);
    fact.replace("NNN", &long.to_string())
        .replace("NN", &number.to_string())
        .replace("YY", &number.to_string())
}

/// The last ticket in a text: a request, what is mentioned before it, and the subject before that.
fn read(text: &str) -> Option<Ticket> {
    let found = REQUESTS
        .iter()
        .filter_map(|request| Some((text.rfind(request.0)?, request)));
    let (at, request) = found.max_by_key(|(at, _)| *at)?;
    let before = text.get(..at)?;
    let last = |of: &'static [(&'static str, &'static str)]| {
        let found = of.iter().filter_map(|part| Some((before.rfind(part.0)?, part)));
        found.max_by_key(|(at, _)| *at)
    };
    // An earlier ticket in the same text ends with its own request.
    let earlier = REQUESTS
        .iter()
        .filter_map(|request| Some(before.rfind(request.0)? + request.0.len()))
        .max();
    let own = |found: &(usize, &'static (&'static str, &'static str))| earlier.is_none_or(|end| found.0 >= end);
    let subject = last(SUBJECTS).filter(own);
    let mention = last(MENTIONS).filter(own);
    let start = subject.map_or(at, |(at, _)| at).min(mention.map_or(at, |(at, _)| at));
    Some(Ticket {
        range: start..at + request.0.len(),
        subject: subject.map(|(_, part)| part),
        mention: mention.map(|(_, part)| part),
        request,
    })
}
