//! Pools: agents of one role that carry different models on purpose, so that a job can say whom it needs.

use crate::role::Role;
use std::{fmt, str::FromStr};

/// Longest name of a pool, in characters.
const MAX_NAME: usize = 32;

/// The agents that take the same jobs: all of a role that belong to no named pool, or those of one named pool of it.
///
/// Written `role` or `role_name`, in subjects, in the model registry and on the command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pool {
    /// The role.
    pub role: Role,
    /// The pool's name; empty for the agents that belong to none.
    pub name: String,
}

impl Pool {
    /// The pool `name` of `role`; an empty name is the unnamed pool.
    ///
    /// # Errors
    /// A name that cannot be one, in words.
    pub fn new(role: Role, name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Ok(role.into());
        }
        check_name(name).map(|()| Pool {
            role,
            name: name.to_owned(),
        })
    }
}

/// Checks a pool's name: 1 to 32 small letters, digits or `-`.
///
/// # Errors
/// What is wrong, in words.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain) {
        Ok(())
    } else {
        let shown: String = name.chars().take(MAX_NAME).collect();
        Err(format!(
            "the pool name {shown:?} must have 1 to {MAX_NAME} lower-case letters, digits or `-`"
        ))
    }
}

impl From<Role> for Pool {
    fn from(role: Role) -> Self {
        Pool {
            role,
            name: String::new(),
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.role.name())?;
        if self.name.is_empty() {
            return Ok(());
        }
        write!(f, "_{}", self.name)
    }
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('_') {
            None => text.parse().map(|role: Role| role.into()),
            Some((role, name)) => check_name(name).and_then(|()| Pool::new(role.parse()?, name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_back_as_it_is_written() {
        for text in ["checker", "checker_a", "verifier_big-2"] {
            assert_eq!(text.parse::<Pool>().unwrap().to_string(), text);
        }
        assert_eq!("checker".parse(), Ok(Pool::from(Role::Checker)));
        for bad in [
            "",
            "checker_",
            "checker_A",
            "checker_a_b",
            "checker_a.b",
            "judge_a",
            "checker_ä",
        ] {
            assert!(bad.parse::<Pool>().is_err(), "{bad:?}");
        }
        assert!(Pool::new(Role::Checker, &"x".repeat(33)).is_err());
    }
}
