//! Optimization methods, each one plain async function over one port, [`Agents`].
//!
//! Knows nothing of NATS, protobuf or HTTP, and owns no I/O, clock, environment or unseeded randomness: that is what lets a run be
//! replayed from the top after a crash.
//!
//! A new strategy is one module with `Options`, `optimize` and `forecast`, and one line in the list below. Its tests run it in the world
//! of `testing`.

pub mod conclude;
pub mod eval;
pub mod examine;
pub mod forecast;
pub mod held_out;
pub mod none;
pub mod port;
mod revisions;
pub mod sipdo;
#[cfg(test)]
pub(crate) mod testing;

pub use forecast::{Calls, Forecast};
pub use held_out::{HeldOut, held_out};
pub use port::{Agents, Stop};

use serde_json::Value;
use sipdo_domain::{Outcome, Pool, Role, Task};
use std::collections::BTreeSet;

/// Options of a strategy, read from a task file or the command line.
pub trait Options: serde::Serialize + serde::de::DeserializeOwned + Default {
    /// Checks what types cannot say; an error names the key.
    fn check(&self) -> Result<(), String>;

    /// Reads options; none at all are the defaults. An error names the unknown key and lists the known ones.
    fn read(options: &Value) -> Result<Self, String> {
        if options.is_null() {
            return Ok(Self::default());
        }
        let read: Self = serde_json::from_value(options.clone()).map_err(|error| match wrong_key::<Self>(options) {
            Some(key) => format!("`{key}`: {error}"),
            None => error.to_string(),
        })?;
        read.check()?;
        Ok(read)
    }
}

/// The option whose value cannot be read. None where the trouble is of another kind: an unknown key is named by the error itself.
fn wrong_key<T: Options>(options: &Value) -> Option<&str> {
    let alone = |key: &String, value: &Value| Value::Object([(key.clone(), value.clone())].into_iter().collect());
    let wrong = |(key, value): &(&String, &Value)| match serde_json::from_value::<T>(alone(key, value)) {
        Ok(_) => false,
        Err(error) => !error.to_string().starts_with("unknown field"),
    };
    let found = options.as_object()?.iter().find(wrong)?;
    Some(found.0)
}

macro_rules! strategies {
    ($($name:literal => $module:ident),+ $(,)?) => {
        /// The name of every strategy.
        pub const NAMES: &[&str] = &[$($name),+];

        /// Runs a strategy to its outcome. `Err` is always [`Stop::Halted`]: whatever else stops a strategy ends in an outcome.
        pub async fn run(strategy: &str, options: &Value, task: &Task, agents: &impl Agents) -> Result<Outcome, Stop> {
            match strategy {
                $($name => {
                    let options = Options::read(options).map_err(Stop::Halted)?;
                    $module::optimize(task, &options, agents).await
                })+
                other => Err(Stop::Halted(unknown(other))),
            }
        }

        /// Says what is wrong with a strategy's name or options, before a run exists.
        pub fn check_options(strategy: &str, options: &Value) -> Result<(), String> {
            match strategy {
                $($name => <$module::Options as Options>::read(options)
                    .map(|_| ())
                    .map_err(|error| format!("strategy `{strategy}`: {error}")),)+
                other => Err(unknown(other)),
            }
        }

        /// The options with every default filled in, as they are stored when a run is created: a default of a later version then
        /// changes no run that is under way. An error as [`check_options`] says it.
        pub fn resolve(strategy: &str, options: &Value) -> Result<Value, String> {
            match strategy {
                $($name => <$module::Options as Options>::read(options)
                    .and_then(|options| serde_json::to_value(options).map_err(|error| error.to_string()))
                    .map_err(|error| format!("strategy `{strategy}`: {error}")),)+
                other => Err(unknown(other)),
            }
        }

        /// Estimates the calls of a run before it starts; none where [`check_options`] fails.
        pub fn forecast(task: &Task, strategy: &str, options: &Value) -> Option<Forecast> {
            match strategy {
                $($name => Some($module::forecast(task, &Options::read(options).ok()?)),)+
                _ => None,
            }
        }
    };
}

/// The defaults of the first version, by strategy. Never changed: a run that was created before defaults were stored goes on with them.
/// An option that came later has the value that leaves a run as it was without the option.
const FIRST_DEFAULTS: &str = include_str!("first_defaults.json");

/// The options of a run of an older version: what they do not name is as in the first version.
#[must_use]
pub fn with_first_defaults(strategy: &str, options: Value) -> Value {
    let mut all: Value = serde_json::from_str(FIRST_DEFAULTS).unwrap_or_default();
    match (all.get_mut(strategy).map(Value::take), options) {
        (Some(Value::Object(mut defaults)), Value::Object(named)) => {
            defaults.extend(named);
            Value::Object(defaults)
        }
        (Some(defaults), Value::Null) => defaults,
        (_, options) => options,
    }
}

/// The pools that a strategy's asks are meant for, of the roles that it asks: named pools of checkers where its options name some.
pub fn pools(roles: &BTreeSet<Role>, options: &Value) -> BTreeSet<Pool> {
    let named = options.get("checker_pools").and_then(Value::as_array);
    let named: BTreeSet<Pool> = named
        .into_iter()
        .flatten()
        .filter_map(|name| Pool::new(Role::Checker, name.as_str()?).ok())
        .collect();
    let unnamed = roles.iter().filter(|role| **role != Role::Checker || named.is_empty());
    let mut pools: BTreeSet<Pool> = unnamed.map(|role| Pool::from(*role)).collect();
    if roles.contains(&Role::Checker) {
        pools.extend(named);
    }
    pools
}

strategies! {
    "sipdo" => sipdo,
    "none" => none,
    "eval" => eval,
}

fn unknown(strategy: &str) -> String {
    format!("unknown strategy `{strategy}`: use one of {}", NAMES.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resolved_options_name_every_key_and_read_back() {
        let resolved = resolve("sipdo", &json!({"levels": 3})).unwrap();
        assert_eq!((&resolved["levels"], &resolved["past"]), (&json!(3), &json!(30)));
        assert_eq!(
            resolve("sipdo", &resolved),
            Ok(resolved.clone()),
            "and are resolved already"
        );
        assert_eq!(resolve("none", &Value::Null), Ok(json!({})));
        assert!(
            resolve("sipdo", &json!({"levels": 0}))
                .unwrap_err()
                .contains("`levels` is 0")
        );
        assert!(resolve("spido", &Value::Null).unwrap_err().contains("spido"));
    }

    #[test]
    fn a_run_of_the_first_version_keeps_its_defaults() {
        for strategy in NAMES {
            let first = with_first_defaults(strategy, Value::Null);
            assert!(check_options(strategy, &first).is_ok(), "{strategy}: {first}");
        }
        let options = with_first_defaults("sipdo", json!({"levels": 3}));
        assert_eq!(
            (&options["levels"], &options["examples_per_level"]),
            (&json!(3), &json!(3))
        );
        let later = |key: &str| [&options[key], &resolve("sipdo", &Value::Null).unwrap()[key]].map(Value::clone);
        assert_eq!(later("try_before_repair"), [json!(false), json!(true)]);
        assert_eq!(with_first_defaults("gone", json!({"a": 1})), json!({"a": 1}));
    }
}
