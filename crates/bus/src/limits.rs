//! What an operator may set of each stream: how much it may hold, and for how long.
//!
//! What is not set stays as it is found. Nothing that is truth about a run is thrown away unless it was asked for: where
//! the streams of runs and rights to buy have a limit, they refuse what is new instead of forgetting what is old.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use crate::subjects::{
    self, ATTEMPT_STREAM, COMPLETION_BUCKET, DEAD_STREAM, JOB_STREAM, MODEL_BUCKET, RUN_STREAM, TASK_BUCKET,
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// What may be set; more is a mistake.
const BYTES: RangeInclusive<u64> = 1..=1_000_000_000_000_000_000;
/// What may be set; more is a mistake.
const AGES: RangeInclusive<Duration> = HOUR..=Duration::from_hours(24 * 876_000);
/// Dead letters are for reading: a flood of them must not fill the store of the runs.
const DEAD_LETTERS: u64 = 256 << 20;

/// A stream or bucket, as an operator knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// Decisions and results: the truth about every run.
    Runs,
    /// Rights to buy.
    Attempts,
    /// Jobs that wait or are in work.
    Jobs,
    /// What nobody could handle.
    DeadLetters,
    /// Answers already bought.
    Completions,
    /// The model registry.
    Models,
    /// Tasks with their data.
    Tasks,
}

impl Store {
    /// All of them.
    pub const ALL: [Store; 7] = [
        Store::Runs,
        Store::Attempts,
        Store::Jobs,
        Store::DeadLetters,
        Store::Completions,
        Store::Models,
        Store::Tasks,
    ];

    /// Its name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Store::Runs => "runs",
            Store::Attempts => "attempts",
            Store::Jobs => "jobs",
            Store::DeadLetters => "dead_letters",
            Store::Completions => "completions",
            Store::Models => "models",
            Store::Tasks => "tasks",
        }
    }

    /// The stream's name on the server.
    #[must_use]
    pub fn stream(self) -> String {
        match self {
            Store::Runs => RUN_STREAM.to_owned(),
            Store::Attempts => ATTEMPT_STREAM.to_owned(),
            Store::Jobs => JOB_STREAM.to_owned(),
            Store::DeadLetters => DEAD_STREAM.to_owned(),
            Store::Completions => subjects::bucket_stream(COMPLETION_BUCKET),
            Store::Models => subjects::bucket_stream(MODEL_BUCKET),
            Store::Tasks => subjects::object_stream(TASK_BUCKET),
        }
    }

    /// Whether what is in it may be given an age. A task, a model or a job that waits is needed until somebody says otherwise.
    fn ages(self) -> bool {
        matches!(
            self,
            Store::Runs | Store::Attempts | Store::DeadLetters | Store::Completions
        )
    }

    /// Whether its oldest may go where it is full: they are a convenience, and no truth.
    pub(crate) fn forgets(self) -> bool {
        matches!(self, Store::DeadLetters | Store::Completions)
    }

    /// Most bytes where nothing is set; none for no limit.
    pub(crate) fn usual_bytes(self) -> Option<u64> {
        (self == Store::DeadLetters).then_some(DEAD_LETTERS)
    }

    /// Longest age where nothing is set; zero for ever.
    pub(crate) fn usual_age(self) -> Duration {
        if self.forgets() { DAY * 30 } else { Duration::ZERO }
    }

    fn named(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|store| store.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no \"{name}\" (known: {known})")
        })
    }
}

/// What an operator has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    bytes: BTreeMap<Store, Option<u64>>,
    ages: BTreeMap<Store, Duration>,
    total: Option<u64>,
}

/// Stands for all streams together where bytes are limited.
const TOTAL: &str = "total";

impl Limits {
    /// Sets how many bytes a store may hold: `20GB`, `500MB`, a number of bytes, or `none`. `total` stands for all together,
    /// and is what runs are refused and held back at.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn set_max_bytes(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bytes = bytes(value)?;
        if name == TOTAL {
            self.total = bytes;
            return Ok(());
        }
        let store = Store::named(name).map_err(|problem| format!("{problem}, or {TOTAL} for all together"))?;
        self.bytes.insert(store, bytes);
        Ok(())
    }

    /// Sets how long a store keeps what is in it: `30d`, `12h`, or `none` for ever.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn set_keep(&mut self, name: &str, value: &str) -> Result<(), String> {
        let store = Store::named(name)?;
        let age = age(value)?;
        if !store.ages() {
            return Err(format!(
                "{name} have no age: what is there is needed until it is removed"
            ));
        }
        self.ages.insert(store, age);
        Ok(())
    }

    /// Takes `runs=20GB,completions=5GB`, as a flag or a variable has it.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn max_bytes_of(&mut self, list: &str) -> Result<(), String> {
        pairs(list)?.try_for_each(|(name, value)| self.set_max_bytes(name, value))
    }

    /// Takes `completions=30d,dead_letters=7d`, as a flag or a variable has it.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn keep_of(&mut self, list: &str) -> Result<(), String> {
        pairs(list)?.try_for_each(|(name, value)| self.set_keep(name, value))
    }

    /// What all streams may hold together before runs are held back, if that was set.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Most bytes of a store, if that was set; `Some(None)` for no limit.
    pub(crate) fn bytes(&self, store: Store) -> Option<Option<u64>> {
        self.bytes.get(&store).copied()
    }

    /// Longest age in a store, if that was set; zero for ever.
    pub(crate) fn age(&self, store: Store) -> Option<Duration> {
        self.ages.get(&store).copied()
    }
}

fn pairs(list: &str) -> Result<impl Iterator<Item = (&str, &str)>, String> {
    let parts: Result<Vec<_>, String> = list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("\"{part}\" is not NAME=VALUE"))?;
            Ok((name.trim(), value.trim()))
        })
        .collect();
    Ok(parts?.into_iter())
}

/// Reads `20GB`, `1.5 GiB`, `4096`, `none`: decimal units, as disks are sold, and binary ones where they say so.
fn bytes(text: &str) -> Result<Option<u64>, String> {
    let text = text.trim();
    if text == "none" {
        return Ok(None);
    }
    match text.parse() {
        Ok(ByteSize(bytes)) if BYTES.contains(&bytes) => Ok(Some(bytes)),
        _ => Err(format!("\"{text}\" is not a size, such as 20GB, 500MB or none")),
    }
}

/// Reads `30d`, `12h`, `none`.
fn age(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "none" {
        return Ok(Duration::ZERO);
    }
    match humantime::parse_duration(text) {
        Ok(age) if AGES.contains(&age) => Ok(age),
        _ => Err(format!(
            "\"{text}\" is not an age, such as 30d, 12h or none; an hour is the shortest"
        )),
    }
}

/// Bytes for people, in decimal units: `1.5 GB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "for reading")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = "kB";
    for next in units.into_iter().skip(1) {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_as_people_write_them() {
        for (text, expected) in [
            ("20GB", 20_000_000_000),
            ("1.5 GiB", 1_610_612_736),
            ("500mb", 500_000_000),
            ("4096", 4096),
            ("4096 B", 4096),
            ("2T", 2_000_000_000_000),
            ("1k", 1_000),
            ("3 MiB", 3 << 20),
            ("0.5TiB", 1 << 39),
            (" .5GB ", 500_000_000),
        ] {
            assert_eq!(bytes(text), Ok(Some(expected)), "{text}");
        }
        assert_eq!(bytes("none"), Ok(None));
        for bad in ["", "0", "-1GB", "20XB", "GB", "1e30", "2000PB", "NaN"] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            (age("30d"), age("12h"), age("none")),
            (Ok(DAY * 30), Ok(HOUR * 12), Ok(Duration::ZERO))
        );
        assert_eq!(age(" 30 d"), Ok(DAY * 30));
        assert_eq!(age("1day 12h"), Ok(HOUR * 36));
        for bad in ["", "30", "0d", "5m", "d", "99999999999d"] {
            assert!(age(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_list_says_what_is_wrong_in_it() {
        let mut limits = Limits::default();
        limits.max_bytes_of("runs=20GB, completions=none,total=30GB,").unwrap();
        limits.keep_of("attempts=90d").unwrap();
        assert_eq!(limits.bytes(Store::Runs), Some(Some(20_000_000_000)));
        assert_eq!(limits.bytes(Store::Completions), Some(None));
        assert_eq!(limits.bytes(Store::Tasks), None, "not set");
        assert_eq!(
            (limits.total(), limits.age(Store::Attempts)),
            (Some(30_000_000_000), Some(DAY * 90))
        );
        let says = |found: Result<(), String>, words: &str| {
            let problem = found.unwrap_err();
            assert!(problem.contains(words), "{problem}");
        };
        says(limits.max_bytes_of("runs"), "NAME=VALUE");
        says(limits.max_bytes_of("walks=1GB"), "known: runs, attempts, jobs");
        says(limits.keep_of("jobs=1d"), "jobs have no age");
    }

    #[test]
    fn sizes_are_shown_shortly() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (20_000_000_000, "20.0 GB"),
            (5_200_000_000_000, "5.2 TB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
