//! Flags and environment of an agent, and what they come to together with the file.
//!
//! Flags go before the environment (clap's own order), both before the file. An agent that is started by hand on another machine
//! needs only a NATS URL and a model.

use super::models::RoleModel;
use super::{ProgramSettings, Settings, SettingsError, base_dir, file};
use clap::Args;
use sipdo_bus::BusSettings;
use sipdo_domain::{Pool, Role};
use sipdo_llm::{Endpoint, ModelSettings, Provider};
use sipdo_process::NatsFlags;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to say to somebody who has named no model.
pub const MODEL_FLAGS: &str = "or pass --model with --base-url (or --provider)";

/// Jobs that an agent works on at a time unless told otherwise.
const DEFAULT_SLOTS: u32 = 16;
/// Seconds that jobs in flight get when the agent is told to stop.
const DEFAULT_GRACE: u64 = 120;

/// Flags of every agent.
#[derive(Debug, Clone, Default, Args)]
pub struct AgentFlags {
    /// The operator's file [default: ./sipdo.toml, then sipdo/sipdo.toml in the user's configuration directory]
    #[arg(long, value_name = "FILE", env = "SIPDO_CONFIG")]
    pub config: Option<PathBuf>,
    /// How to reach NATS.
    #[command(flatten)]
    pub nats: NatsFlags,
    /// Name of the endpoint to use; with --base-url, the name to give it
    #[arg(long, value_name = "NAME", env = "SIPDO_ENDPOINT")]
    pub endpoint: Option<String>,
    /// Name of the model at that endpoint
    #[arg(long, value_name = "NAME", env = "SIPDO_MODEL")]
    pub model: Option<String>,
    /// Address of an endpoint, such as http://localhost:11434/v1
    #[arg(long, value_name = "URL", env = "SIPDO_BASE_URL", hide_env_values = true)]
    pub base_url: Option<String>,
    /// API that the endpoint speaks: openai (and everything compatible), ollama, anthropic or gemini
    #[arg(long, value_name = "API", env = "SIPDO_PROVIDER", value_parser = provider)]
    pub provider: Option<Provider>,
    /// Name of the environment variable that holds the endpoint's key
    #[arg(long, value_name = "VARIABLE", env = "SIPDO_API_KEY_ENV")]
    pub api_key_env: Option<String>,
    /// Sampling temperature; overrides the method's own
    #[arg(long, value_name = "0..2", env = "SIPDO_TEMPERATURE")]
    pub temperature: Option<f64>,
    /// Longest completion in tokens
    #[arg(long, value_name = "N", env = "SIPDO_MAX_TOKENS")]
    pub max_tokens: Option<u32>,
    /// Pool of the agent: it takes only jobs for this pool of its role [default: none; it takes jobs without a pool]
    #[arg(long, value_name = "NAME", env = "SIPDO_POOL")]
    pub pool: Option<String>,
    /// Most jobs to work on at a time [default: 16]
    #[arg(long, value_name = "N", env = "SIPDO_SLOTS")]
    pub slots: Option<u32>,
    /// Address of /livez, /readyz and /metrics; port 0 takes a free one [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS", env = "SIPDO_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// File to write the port of /livez and /readyz to, once it is bound
    #[arg(long, value_name = "FILE")]
    pub admin_port_file: Option<PathBuf>,
    /// Folder for answers that are not yet on the bus [default: the user's state directory]
    #[arg(long, value_name = "FOLDER", env = "SIPDO_SPOOL_DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Seconds that jobs in flight get to finish on SIGTERM [default: 120]
    #[arg(long, value_name = "SECONDS", env = "SIPDO_GRACE")]
    pub grace: Option<u64>,
}

fn provider(text: &str) -> Result<Provider, String> {
    [
        Provider::Openai,
        Provider::Ollama,
        Provider::Anthropic,
        Provider::Gemini,
    ]
    .into_iter()
    .find(|provider| provider.as_str() == text)
    .ok_or_else(|| "use one of openai, ollama, anthropic, gemini".to_owned())
}

/// Everything that one agent needs, checked.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// The role it plays.
    pub role: Role,
    /// Whose jobs it takes: those of its role, or of a named pool of it.
    pub pool: Pool,
    /// The bus.
    pub bus: BusSettings,
    /// The endpoints that it knows, by name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Its model, unless the registry or a run says otherwise.
    pub model: ModelSettings,
    /// Jobs that it works on at a time.
    pub slots: u32,
    /// The programs that it may run, by name.
    pub programs: BTreeMap<String, ProgramSettings>,
    /// Address of the admin pages.
    pub admin_listen: SocketAddr,
    /// File to write their port to.
    pub admin_port_file: Option<PathBuf>,
    /// Folder for answers that are not yet on the bus.
    pub spool_dir: PathBuf,
    /// What jobs in flight get to finish.
    pub grace: Duration,
}

impl AgentFlags {
    /// Reads the file and lays the flags over it.
    ///
    /// # Errors
    /// A file, flag or combination that cannot be used.
    pub fn resolve(self, role: Role, env: impl Fn(&str) -> Option<String>) -> Result<AgentSettings, SettingsError> {
        let mut settings = Settings::find(self.config.as_deref(), &env)?;
        let mut bus = settings.nats.bus(role.name());
        self.nats.apply(&mut bus).map_err(SettingsError::Unusable)?;
        let endpoint = self.define_endpoint(&mut settings, &env)?;
        let flags = RoleModel {
            endpoint,
            model: self.model.clone(),
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            concurrency: self.slots,
            pool: self.pool.clone(),
            ..RoleModel::default()
        };
        let named = flags.pool.clone().or_else(|| settings.role(role).pool);
        let pool = Pool::new(role, named.as_deref().unwrap_or_default())
            .map_err(|problem| SettingsError::Unusable(format!("--pool: {problem}")))?;
        let set = flags.over(settings.pool(&pool));
        let model = settings.complete(&pool.to_string(), &set)?;
        if let Some(endpoint) = settings.endpoints.get_mut(&model.endpoint) {
            endpoint.requests_per_minute = set.requests_per_minute.or(endpoint.requests_per_minute);
            endpoint.tokens_per_minute = set.tokens_per_minute.or(endpoint.tokens_per_minute);
        }
        let slots = set.concurrency.unwrap_or(DEFAULT_SLOTS);
        if slots == 0 || slots > file::MAX_SLOTS {
            return Err(SettingsError::Unusable(format!(
                "--slots must be 1 to {}",
                file::MAX_SLOTS
            )));
        }
        let listen = settings.admin.listen.as_deref().and_then(|listen| listen.parse().ok());
        Ok(AgentSettings {
            role,
            pool,
            bus,
            endpoints: settings.endpoints,
            model,
            slots,
            programs: settings.programs,
            admin_listen: self
                .admin_listen
                .or(listen)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            admin_port_file: self.admin_port_file,
            spool_dir: spool_dir(self.spool_dir.or(settings.agent.spool_dir), &env)?,
            grace: Duration::from_secs(self.grace.or(settings.agent.grace_seconds).unwrap_or(DEFAULT_GRACE)),
        })
    }

    /// Adds the endpoint that the flags describe, if they do, and says which one to use.
    fn define_endpoint(
        &self,
        settings: &mut Settings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, SettingsError> {
        let described = self.base_url.is_some() || self.provider.is_some() || self.api_key_env.is_some();
        if !described {
            return Ok(self.endpoint.clone());
        }
        let default_name = || match (&self.base_url, self.provider) {
            (None, Some(provider)) => provider.as_str().to_owned(),
            _ => "default".to_owned(),
        };
        let name = self.endpoint.clone().unwrap_or_else(default_name);
        if !file::is_name(&name) {
            let problem = "an endpoint's name has 1 to 64 letters, digits, `_`, `-` or `.`";
            return Err(SettingsError::Unusable(format!("--endpoint \"{name}\": {problem}")));
        }
        let provider = self.provider.unwrap_or(Provider::Openai);
        let endpoint = settings
            .endpoints
            .entry(name.clone())
            .or_insert_with(|| Endpoint::new(provider));
        endpoint.provider = self.provider.unwrap_or(endpoint.provider);
        if let Some(url) = &self.base_url {
            endpoint.base_url = Some(url.clone());
        }
        if let Some(variable) = &self.api_key_env {
            (endpoint.api_key_env, endpoint.api_key_file) = (Some(variable.clone()), None);
        } else if endpoint.base_url.is_none() && endpoint.api_key_env.is_none() && endpoint.api_key_file.is_none() {
            // The provider's own address: its own customary variable, if it is set.
            endpoint.api_key_env = customary_key(endpoint.provider)
                .filter(|name| env(name).is_some())
                .map(str::to_owned);
        }
        endpoint
            .validate(&name)
            .map_err(|error| SettingsError::Unusable(error.to_string()))?;
        Ok(Some(name))
    }
}

fn customary_key(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::Openai => Some("OPENAI_API_KEY"),
        Provider::Anthropic => Some("ANTHROPIC_API_KEY"),
        Provider::Gemini => Some("GEMINI_API_KEY"),
        Provider::Ollama => None,
    }
}

fn spool_dir(set: Option<PathBuf>, env: impl Fn(&str) -> Option<String>) -> Result<PathBuf, SettingsError> {
    set.or_else(|| base_dir(env, "XDG_STATE_HOME", ".local/state").map(|dir| dir.join("sipdo").join("spool")))
        .ok_or_else(|| SettingsError::Unusable("there is no home directory for the spool: pass --spool-dir".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/me".to_owned()),
            "ANTHROPIC_API_KEY" => Some("canary".to_owned()),
            _ => None,
        }
    }

    fn flags(model: &str) -> AgentFlags {
        AgentFlags {
            model: Some(model.to_owned()),
            ..AgentFlags::default()
        }
    }

    fn nats(url: &str) -> NatsFlags {
        NatsFlags {
            nats_url: Some(url.to_owned()),
            ..NatsFlags::default()
        }
    }

    #[test]
    fn a_url_and_a_model_are_enough() {
        let given = AgentFlags {
            base_url: Some("http://localhost:11434/v1".into()),
            nats: nats("nats://host:4222"),
            ..flags("qwen3:4b")
        };
        let settings = given.resolve(Role::Checker, env).unwrap();
        assert_eq!(
            (settings.model.endpoint.as_str(), settings.model.model.as_str()),
            ("default", "qwen3:4b")
        );
        assert_eq!(settings.endpoints["default"].provider, Provider::Openai);
        assert_eq!(settings.bus.urls, ["nats://host:4222"]);
        assert_eq!(settings.spool_dir, PathBuf::from("/home/me/.local/state/sipdo/spool"));
        assert_eq!(settings.slots, DEFAULT_SLOTS);
    }

    #[test]
    fn a_provider_brings_its_customary_key_by_name_only() {
        let given = AgentFlags {
            provider: Some(Provider::Anthropic),
            ..flags("claude")
        };
        let settings = given.resolve(Role::Checker, env).unwrap();
        assert_eq!(
            settings.endpoints["anthropic"].api_key_env.as_deref(),
            Some("ANTHROPIC_API_KEY")
        );
        assert!(!format!("{settings:?}").contains("canary"));
    }

    #[test]
    fn flags_go_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sipdo.toml");
        let text = "[endpoints.a]\nprovider = \"openai\"\n[models.learner]\nmodel = \"file\"\nconcurrency = 3\ntemperature = 0.1\n\
                    requests_per_minute = 60\n";
        std::fs::write(&path, text).unwrap();
        let given = AgentFlags {
            config: Some(path.clone()),
            ..AgentFlags::default()
        };
        let settings = given.clone().resolve(Role::Learner, env).unwrap();
        assert_eq!(
            (
                settings.model.model.as_str(),
                settings.slots,
                settings.model.temperature
            ),
            ("file", 3, Some(0.1))
        );
        assert_eq!(
            settings.endpoints["a"].requests_per_minute,
            Some(60),
            "a role's rate holds for its process"
        );
        let settings = AgentFlags {
            model: Some("flag".into()),
            slots: Some(9),
            ..given
        }
        .resolve(Role::Learner, env)
        .unwrap();
        assert_eq!(
            (
                settings.model.model.as_str(),
                settings.slots,
                settings.model.temperature
            ),
            ("flag", 9, Some(0.1))
        );
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let says = |given: AgentFlags, words: &str| {
            let error = given.resolve(Role::Checker, env).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        says(AgentFlags::default(), "no model for the checker");
        says(
            AgentFlags {
                endpoint: Some("nowhere".into()),
                ..flags("m")
            },
            "there is no endpoint \"nowhere\"",
        );
        says(
            AgentFlags {
                base_url: Some("localhost".into()),
                ..flags("m")
            },
            "endpoints.default.base_url",
        );
        let local = AgentFlags {
            base_url: Some("http://localhost:1/v1".into()),
            ..flags("m")
        };
        says(
            AgentFlags {
                slots: Some(0),
                ..local.clone()
            },
            "--slots",
        );
        says(
            AgentFlags {
                temperature: Some(f64::NAN),
                ..local.clone()
            },
            "models.checker.temperature",
        );
        says(
            AgentFlags {
                pool: Some("A b".into()),
                ..local.clone()
            },
            "--pool",
        );
        says(
            AgentFlags {
                nats: nats(" , "),
                ..local
            },
            "--nats-url",
        );
    }
}
