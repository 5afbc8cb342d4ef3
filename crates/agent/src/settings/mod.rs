//! The operator's file `sipdo.toml`: where NATS is, which endpoints there are, which model each role uses, which programs may run.
//!
//! Read by every process: agents, coordinator and command line. Unknown keys are refused with file, line and key; a wrong value is
//! refused before anything is bound or bought. Addresses and keys live here alone: everywhere else an endpoint is a name.

mod file;
mod flags;
mod models;
mod nats;
#[cfg(test)]
mod schema_test;

pub use flags::{AgentFlags, AgentSettings, MODEL_FLAGS};
pub use models::{Models, RoleModel};
pub use nats::NatsSettings;

use models::DEFAULT;
use serde::{Deserialize, Serialize};
use sipdo_domain::{Pool, Role};
use sipdo_llm::{Endpoint, ModelSettings};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the file.
pub const FILE_NAME: &str = "sipdo.toml";
/// Environment variable that names the file.
pub const CONFIG_VARIABLE: &str = "SIPDO_CONFIG";

/// The JSON Schema of the file, for editors. A test holds it to the tables that are read.
pub const SCHEMA: &str = include_str!("sipdo.schema.json");

/// The whole file. Every table may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `[nats]`: how to reach the bus.
    pub nats: NatsSettings,
    /// `[endpoints.<name>]`: services that answer model calls.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, Endpoint>,
    /// `[models.default]`, `[models.<role>]` and `[models.<role>_<pool>]`: which model a role uses, or a pool of it.
    pub models: Models,
    /// `[programs.<name>]`: programs that a task may name as a check.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, ProgramSettings>,
    /// `[agent]`: what is the same for every agent on this machine.
    pub agent: AgentTable,
    /// `[admin]`: the admin pages over HTTP.
    pub admin: Admin,
}

/// `[programs.<name>]`: a command that reads `{"input", "target"}` as JSON from its standard input and says by its exit code whether
/// the example passes: 0 passes, 1 does not, anything else decides nothing. What it prints is the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramSettings {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Seconds after which it is killed.
    #[serde(default = "ten_seconds")]
    pub timeout_seconds: f64,
}

fn ten_seconds() -> f64 {
    10.0
}

/// `[agent]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentTable {
    /// Folder for answers that are not yet on the bus; the user's state directory if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_dir: Option<PathBuf>,
    /// Seconds that jobs in flight get to finish when the agent is told to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

/// `[admin]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address of `/livez` and `/readyz`, as `127.0.0.1:8081`; port 0 takes a free one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// A setting that cannot be used: where it is, what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file holds something that cannot be used.
    #[error("{path}:{line}: {problem}", path = path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key.
        problem: String,
    },
    /// A flag, a variable, or what they come to together with the file.
    #[error("{0}")]
    Unusable(String),
}

impl Settings {
    /// Reads the file that is named by `explicit`, or else by `SIPDO_CONFIG`, or else the first of `./sipdo.toml` and
    /// `sipdo/sipdo.toml` in the user's configuration directory that exists; with none, the defaults.
    ///
    /// # Errors
    /// A named file that is not there; a file that cannot be used.
    pub fn find(explicit: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let named = explicit
            .map(Path::to_owned)
            .or_else(|| env(CONFIG_VARIABLE).map(PathBuf::from));
        if let Some(path) = named {
            return Self::load(&path);
        }
        let user = config_dir(&env).map(|dir| dir.join("sipdo").join(FILE_NAME));
        let found = [Some(PathBuf::from(FILE_NAME)), user]
            .into_iter()
            .flatten()
            .find(|path| path.is_file());
        found.map_or_else(|| Ok(Self::default()), |path| Self::load(&path))
    }

    /// Reads and checks one file. Relative paths in it are taken from its folder.
    ///
    /// # Errors
    /// It cannot be read, or holds something that cannot be used.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |reason: String| SettingsError::Read {
            path: path.to_owned(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".to_owned()))?;
        let mut settings = file::parse(path, &text)?;
        settings.resolve_paths(path.parent().unwrap_or(Path::new("")));
        Ok(settings)
    }

    /// As [`Settings::load`], of a text; `path` is for messages. Relative paths stay as they are.
    ///
    /// # Errors
    /// It holds something that cannot be used.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        file::parse(path, text)
    }

    /// What the file sets for `role`: its own table over the default one.
    pub fn role(&self, role: Role) -> RoleModel {
        let base = self.models.of(DEFAULT);
        self.models.of(role.name()).over(base)
    }

    /// What the file sets for a pool: its own table over its role's.
    pub fn pool(&self, pool: &Pool) -> RoleModel {
        let base = self.role(pool.role);
        if pool.name.is_empty() {
            return base;
        }
        let own = self.models.of(&pool.to_string());
        RoleModel {
            pool: Some(pool.name.clone()),
            ..own.over(base)
        }
    }

    /// The named pools that the file has tables for.
    pub fn pools(&self) -> impl Iterator<Item = Pool> {
        let names = self.models.named().filter_map(|(name, _)| name.parse::<Pool>().ok());
        names.filter(|pool| !pool.name.is_empty())
    }

    /// The model of `role`, complete.
    ///
    /// # Errors
    /// No model or endpoint is named, or the endpoint is not one of those known.
    pub fn model(&self, role: Role) -> Result<ModelSettings, SettingsError> {
        self.complete(role.name(), &self.role(role))
    }

    /// What is set for `name`, with what it leaves out.
    fn complete(&self, name: &str, set: &RoleModel) -> Result<ModelSettings, SettingsError> {
        let model = set.model.clone().ok_or_else(|| {
            SettingsError::Unusable(format!("no model for the {name}: set `model` in [models.{name}] or [models.default] of {FILE_NAME}, {MODEL_FLAGS}"))
        })?;
        let endpoint = match (&set.endpoint, self.endpoints.len()) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, 1) => self.endpoints.keys().next().cloned().unwrap_or_default(),
            (None, _) => {
                let known = self.known_endpoints();
                return Err(SettingsError::Unusable(format!(
                    "no endpoint for the {name}: set `endpoint` in [models.{name}] or [models.default] of {FILE_NAME} ({known}), {MODEL_FLAGS}"
                )));
            }
        };
        if !self.endpoints.contains_key(&endpoint) {
            let known = self.known_endpoints();
            return Err(SettingsError::Unusable(format!(
                "models.{name}.endpoint: there is no endpoint \"{endpoint}\" ({known})"
            )));
        }
        let defaults = ModelSettings::new(endpoint, model);
        let complete = ModelSettings {
            temperature: set.temperature,
            top_p: set.top_p,
            max_tokens: set.max_tokens.unwrap_or(defaults.max_tokens),
            timeout_seconds: set.timeout_seconds,
            reasoning_effort: set.reasoning_effort,
            ..defaults
        };
        complete
            .validate(&format!("models.{name}"))
            .map_err(|error| SettingsError::Unusable(error.to_string()))?;
        Ok(complete)
    }

    /// Names of the endpoints, for a message.
    pub fn known_endpoints(&self) -> String {
        known(self.endpoints.keys())
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let key_files = self.endpoints.values_mut().map(|endpoint| &mut endpoint.api_key_file);
        let others = [
            &mut self.nats.credentials_file,
            &mut self.nats.nkey_seed_file,
            &mut self.nats.tls_ca_file,
            &mut self.agent.spool_dir,
        ];
        for path in key_files.chain(others).flatten() {
            *path = folder.join(&path);
        }
    }
}

/// Names that are known, in words.
pub(crate) fn known<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        "none is configured".to_owned()
    } else {
        format!("known: {}", names.join(", "))
    }
}

fn config_dir(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    base_dir(&env, "XDG_CONFIG_HOME", ".config")
}

/// A user's directory by the XDG rules: the variable if it holds an absolute path, else the default below the home directory.
fn base_dir(env: impl Fn(&str) -> Option<String>, variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = env(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| {
        env("HOME")
            .filter(|home| !home.is_empty())
            .map(|home| PathBuf::from(home).join(below_home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn read(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(Path::new("sipdo.toml"), text)
    }

    const WHOLE: &str = r#"
[nats]
url = "nats://one:4222,nats://two:4222"

[endpoints.local]
provider = "openai"
base_url = "http://127.0.0.1:8000/v1"

[endpoints.local.prices."small"]
input_per_million = 0.15
output_per_million = 0.6

[endpoints.claude]
provider = "anthropic"
api_key_file = "claude.key"

[models.default]
endpoint = "local"
model = "small"
concurrency = 4

[models.checker]
endpoint = "claude"
model = "large"
temperature = 0.2

[models.learner]
max_tokens = 100

[programs.svg]
command = ["python3", "decode.py"]
"#;

    #[test]
    fn a_role_is_laid_over_the_default_key_by_key() {
        let settings = read(WHOLE).unwrap();
        let checker = settings.model(Role::Checker).unwrap();
        assert_eq!(
            (checker.endpoint.as_str(), checker.model.as_str(), checker.temperature),
            ("claude", "large", Some(0.2))
        );
        let learner = settings.model(Role::Learner).unwrap();
        assert_eq!(
            (learner.endpoint.as_str(), learner.model.as_str(), learner.max_tokens),
            ("local", "small", 100)
        );
        assert_eq!(settings.role(Role::Learner).concurrency, Some(4));
        assert_eq!(settings.programs["svg"].timeout_seconds, 10.0);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        for (text, line, word) in [
            ("[nats]\nurl = \"nats://a:1\"\nulr = 1\n", 3, "ulr"),
            (
                "[endpoints.a]\nprovider = \"openai\"\napi_key = \"sk-1\"\n",
                3,
                "api_key",
            ),
            ("[models.checkr]\nmodel = \"x\"\n", 1, "checkr"),
            ("\n[models.checker]\nmodl = \"x\"\n", 3, "modl"),
            ("[programs.p]\ncommand = []\nargs = 1\n", 3, "args"),
            ("colour = 1\n", 1, "colour"),
        ] {
            let error = read(text).unwrap_err();
            let SettingsError::Invalid {
                line: at, ref problem, ..
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!(at, line, "{error}");
            assert!(problem.contains(word), "{error}");
            assert!(
                !error.to_string().contains("sk-1"),
                "a key that stands in the wrong place is not shown: {error}"
            );
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line() {
        let endpoint = "[endpoints.a]\nprovider = \"openai\"\n";
        for (text, line, words) in [
            (format!("{endpoint}base_url = \"ftp://x\"\n"), 3, "endpoints.a.base_url"),
            (
                format!("{endpoint}timeout_seconds = -1\n"),
                3,
                "endpoints.a.timeout_seconds",
            ),
            (
                format!("{endpoint}[models.learner]\ntemperature = 9.0\n"),
                4,
                "models.learner.temperature",
            ),
            (format!("{endpoint}[models.default]\nendpoint = \"b\"\n"), 4, "known: a"),
            (
                format!("{endpoint}[models.default]\nconcurrency = 0\n"),
                4,
                "models.default.concurrency",
            ),
            ("[programs.p]\ncommand = []\n".to_owned(), 2, "programs.p.command"),
            (
                "[programs.p]\ncommand = [\"x\"]\ntimeout_seconds = 0\n".to_owned(),
                3,
                "programs.p.timeout_seconds",
            ),
            ("[nats]\nreplicas = 2\n".to_owned(), 2, "nats.replicas"),
            ("[admin]\nlisten = \"here\"\n".to_owned(), 2, "admin.listen"),
            (
                "[endpoints.\"two words\"]\nprovider = \"openai\"\n".to_owned(),
                1,
                "endpoint",
            ),
            ("[nats\n".to_owned(), 1, ""),
        ] {
            let error = read(&text).unwrap_err();
            let SettingsError::Invalid {
                line: at, ref problem, ..
            } = error
            else {
                panic!("{text}: {error}")
            };
            assert_eq!(at, line, "{text}: {error}");
            assert!(problem.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_model_says_what_to_do() {
        let error = read("").unwrap().model(Role::Learner).unwrap_err().to_string();
        assert!(
            error.contains("[models.learner]") && error.contains("--model"),
            "{error}"
        );
        let two = "[endpoints.a]\nprovider = \"openai\"\n[endpoints.b]\nprovider = \"gemini\"\n[models.default]\nmodel = \"m\"\n";
        let error = read(two).unwrap().model(Role::Learner).unwrap_err().to_string();
        assert!(error.contains("known: a, b"), "{error}");
        let one = "[endpoints.a]\nprovider = \"openai\"\n[models.default]\nmodel = \"m\"\n";
        assert_eq!(
            read(one).unwrap().model(Role::Learner).unwrap().endpoint,
            "a",
            "the only endpoint needs no name"
        );
    }

    #[test]
    fn the_file_is_found_by_name_and_its_paths_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, WHOLE).unwrap();
        let variables = HashMap::from([(CONFIG_VARIABLE, path.display().to_string())]);
        let settings = Settings::find(None, |name| variables.get(name).cloned()).unwrap();
        assert_eq!(
            settings.endpoints["claude"].api_key_file,
            Some(folder.path().join("claude.key"))
        );

        let user = folder.path().join("sipdo");
        std::fs::create_dir(&user).unwrap();
        std::fs::write(user.join(FILE_NAME), "[admin]\nlisten = \"127.0.0.1:7\"\n").unwrap();
        let home = folder.path().display().to_string();
        let settings = Settings::find(None, |name| (name == "XDG_CONFIG_HOME").then(|| home.clone())).unwrap();
        assert_eq!(settings.admin.listen.as_deref(), Some("127.0.0.1:7"));
        assert_eq!(Settings::find(None, |_| None).unwrap(), Settings::default());

        let missing = folder.path().join("none.toml");
        let error = Settings::find(Some(&missing), |_| None).unwrap_err().to_string();
        assert!(error.contains("none.toml"), "{error}");
    }
}
