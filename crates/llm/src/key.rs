//! An endpoint's key: read from the environment or a file, held as a secret, read again when its file changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use crate::endpoint::{ConfigError, Endpoint};

/// Where the key comes from.
pub(crate) enum KeySource {
    /// The endpoint wants none.
    None,
    /// Read once: a process's environment does not change.
    Fixed(SecretString),
    /// Read again whenever the file changes.
    File { path: PathBuf, last: Mutex<LastRead> },
}

/// The last usable key of a file, and the state of the file when it was last looked at.
pub(crate) struct LastRead {
    stamp: Option<Stamp>,
    key: SecretString,
}

/// What tells one state of a file from another; follows symbolic links, as Kubernetes swaps them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl KeySource {
    /// Finds the key that `endpoint` names; an absent or empty one is an error here, not at the first call.
    pub(crate) fn new(name: &str, endpoint: &Endpoint) -> Result<Self, ConfigError> {
        if let Some(variable) = &endpoint.api_key_env {
            let wrong = |problem: &str| ConfigError::new(name, "api_key_env", problem);
            let text = std::env::var(variable)
                .map_err(|_| wrong(&format!("the environment variable {variable} is not set")))?;
            let key =
                usable(&text).map_err(|problem| wrong(&format!("the environment variable {variable} {problem}")))?;
            return Ok(Self::Fixed(key));
        }
        let Some(path) = &endpoint.api_key_file else {
            return Ok(Self::None);
        };
        let (stamp, key) = read(path).map_err(|problem| ConfigError::new(name, "api_key_file", &problem))?;
        Ok(Self::File {
            path: path.clone(),
            last: Mutex::new(LastRead {
                stamp: Some(stamp),
                key,
            }),
        })
    }

    /// The key of this moment.
    ///
    /// A file that has become unreadable or empty, as it may be for a moment while it is being replaced, leaves the last
    /// key in force: whether that one still holds is for the endpoint to say.
    pub(crate) fn current(&self) -> Option<SecretString> {
        let (path, last) = match self {
            Self::None => return None,
            Self::Fixed(key) => return Some(key.clone()),
            Self::File { path, last } => (path, last),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(path).ok();
        if last.stamp != now {
            last.stamp = now;
            match read(path) {
                Ok((stamp, key)) => {
                    *last = LastRead {
                        stamp: Some(stamp),
                        key,
                    }
                }
                Err(problem) => warn!(problem, "the key file cannot be used; the last key stays in force"),
            }
        }
        Some(last.key.clone())
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
    })
}

fn read(path: &Path) -> Result<(Stamp, SecretString), String> {
    let shown = path.display();
    // The stamp is taken first: should the file change in between, the next call reads it again.
    let stamp = stamp(path).map_err(|error| format!("cannot read {shown} ({error})"))?;
    if stamp.length > 64 * 1024 {
        return Err(format!("{shown} is too large to be a key"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {shown} ({error})"))?;
    let key = usable(&text).map_err(|problem| format!("{shown} {problem}"))?;
    Ok((stamp, key))
}

/// The key in `text`, without blanks around it; it must fit in an HTTP header.
fn usable(text: &str) -> Result<SecretString, &'static str> {
    let key = text.trim();
    if key.is_empty() {
        return Err("is empty");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds something other than a key: blanks or characters that no key has");
    }
    Ok(SecretString::from(key))
}

/// Whether two keys differ, said without showing either.
pub(crate) fn differ(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(ExposeSecret::expose_secret) != other.map(ExposeSecret::expose_secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Provider;

    #[test]
    fn a_key_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "first\n").unwrap();
        let endpoint = Endpoint {
            api_key_file: Some(path.clone()),
            ..Endpoint::new(Provider::Openai)
        };
        let source = KeySource::new("e", &endpoint).unwrap();
        let shown = || source.current().unwrap().expose_secret().to_owned();
        assert_eq!(shown(), "first");
        fs::write(&path, "the-second\n").unwrap();
        assert_eq!(shown(), "the-second");
        fs::remove_file(&path).unwrap();
        assert_eq!(shown(), "the-second", "the last key stays in force");
        fs::write(&path, "").unwrap();
        assert_eq!(shown(), "the-second");
        fs::write(&path, "third").unwrap();
        assert_eq!(shown(), "third");
    }

    #[test]
    fn an_absent_key_is_named_with_its_variable() {
        let endpoint = Endpoint {
            api_key_env: Some("SIPDO_NO_SUCH_KEY".into()),
            ..Endpoint::new(Provider::Openai)
        };
        let said = KeySource::new("cloud", &endpoint).err().unwrap().to_string();
        assert!(
            said.contains("endpoints.cloud.api_key_env") && said.contains("SIPDO_NO_SUCH_KEY"),
            "{said}"
        );
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_unseen() {
        for wrong in ["", "  \n", "two words", "canary\u{7f}"] {
            assert!(usable(wrong).is_err(), "{wrong:?}");
        }
    }
}
