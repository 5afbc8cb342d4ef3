//! The operator's side of a run on this machine: the file with endpoints and models, looked through before anything is bought.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
};

use clap::{Args, Parser};
use sipdo_agent::overridden;
use sipdo_agent::settings::{AgentFlags, AgentSettings, CONFIG_VARIABLE, FILE_NAME, Settings, SettingsError};
use sipdo_domain::{Pool, Role};
use sipdo_llm::{EndpointClient, Model, ModelError, Price, Spend};
use sipdo_protocol::{models::resolve, pb};
use tokio::task::JoinSet;

use crate::{
    failure::{Exit, Failure},
    output,
};

/// Flags of commands that may start a local stack.
#[derive(Debug, Clone, Default, Args)]
pub struct StackArgs {
    /// The operator's file with endpoints and models, for a stack started here [default: ./sipdo.toml, the task's folder, then
    /// sipdo/sipdo.toml in the user's configuration directory]
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE, help_heading = "Where")]
    pub config: Option<PathBuf>,
    /// Do not check before the start that the endpoints answer and have the models
    #[arg(long, help_heading = "Where")]
    pub no_probe: bool,
    /// Also go on with every run that an earlier command left unfinished, where this command starts a local stack
    #[arg(long, help_heading = "Where")]
    pub with_leftovers: bool,
}

/// What an operator must write, at the least.
const EXAMPLE: &str = "\
Write this, for example, into ./sipdo.toml (`sipdo init` writes one with comments):

  [endpoints.openai]
  provider = \"openai\"            # or any server with the same API, with base_url
  api_key_env = \"OPENAI_API_KEY\"

  [models.default]
  endpoint = \"openai\"
  model = \"gpt-5-mini\"

  [models.learner]               # the model that the prompt is for
  model = \"gpt-5-nano\"

or try everything without a model first: add --simulated";

/// The operator's file to use: named, or found near the task or in the user's configuration. None where there is none: flags and
/// environment may still name a model.
///
/// # Errors
/// The named file is not there.
pub fn operator_file(args: &StackArgs, task_folder: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    if let Some(file) = &args.config {
        return if file.is_file() {
            Ok(Some(std::path::absolute(file)?))
        } else {
            Err(Failure::usage(format!("{}: there is no such file", file.display())))
        };
    }
    let places = [
        Some(PathBuf::from(FILE_NAME)),
        task_folder.map(|folder| folder.join(FILE_NAME)),
        user_file(),
    ];
    let found = places.into_iter().flatten().find(|file| file.is_file());
    Ok(found.map(std::path::absolute).transpose()?)
}

fn user_file() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("sipdo").join(FILE_NAME))
}

/// Reads an agent's flags from the environment alone, as the agent itself will.
#[derive(Debug, Parser)]
struct AgentEnvironment {
    #[command(flatten)]
    flags: AgentFlags,
}

/// What an agent of `pool` would resolve its settings to.
fn settings(pool: &Pool, config: Option<&Path>) -> Result<AgentSettings, SettingsError> {
    let mut flags = AgentEnvironment::try_parse_from(["agent"])
        .map_err(|error| SettingsError::Unusable(error.to_string()))?
        .flags;
    flags.config = config.map(Path::to_owned).or(flags.config);
    if !pool.name.is_empty() {
        flags.pool = Some(pool.name.clone());
    }
    flags.resolve(pool.role, |name| env::var(name).ok())
}

/// Everybody whom the file has models for: the unnamed agents of every role, and its named pools.
///
/// # Errors
/// The file is wrong.
pub fn pools(config: Option<&Path>) -> Result<BTreeSet<Pool>, Failure> {
    let file = Settings::find(config, |name| env::var(name).ok()).map_err(|error| unusable(&error, config))?;
    Ok(Role::ALL.map(Pool::from).into_iter().chain(file.pools()).collect())
}

/// The settings of every one of `pools` on this machine, with the run's `own` models by pool laid over them.
///
/// # Errors
/// The file is wrong, or a role has no model, no endpoint or no key: told with what to write.
pub fn check_models(
    config: Option<&Path>,
    pools: impl IntoIterator<Item = Pool>,
    own: &BTreeMap<String, pb::ModelChoice>,
) -> Result<BTreeMap<Pool, AgentSettings>, Failure> {
    sipdo_llm::install_crypto_provider();
    let mut found = BTreeMap::new();
    for pool in pools {
        let mut settings = settings(&pool, config).map_err(|error| unusable(&error, config))?;
        // The registry is not asked here: it may change before the run, and no coordinator needs to be there.
        settings.model = overridden(&settings.model, &resolve(own.get(&pool.to_string())));
        let name = &settings.model.endpoint;
        let endpoint = settings.endpoints.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = settings.endpoints.keys().map(String::as_str).collect();
            let known = known.join(", ");
            Failure::usage(format!("the run's model of the {pool}: there is no endpoint `{name}`"))
                .hint(format!("{} defines the endpoints: {known}", place(config)))
        })?;
        EndpointClient::new(name, endpoint).map_err(|error| {
            Failure::usage(format!("{}: {error} (needed by the {pool})", place(config))).hint(
                "do not write the key into the file: `api_key_env` names the variable that holds it, `api_key_file` the file",
            )
        })?;
        found.insert(pool, settings);
    }
    Ok(found)
}

fn place(config: Option<&Path>) -> String {
    config.map_or_else(|| FILE_NAME.to_owned(), crate::session::shown)
}

/// A file that is wrong says where by itself; where only a model is missing, what to write helps.
fn unusable(error: &SettingsError, config: Option<&Path>) -> Failure {
    let failure = Failure::usage(error.to_string());
    match (error, config) {
        (SettingsError::Read { .. } | SettingsError::Invalid { .. }, _) => {
            failure.hint("docs/cli.md describes the operator's file")
        }
        (SettingsError::Unusable(_), Some(file)) => failure.hint(format!(
            "{} is the file in use: name an endpoint and a model there, or try everything without a model first: add --simulated",
            crate::session::shown(file)
        )),
        (SettingsError::Unusable(_), None) => failure.hint(EXAMPLE),
    }
}

/// The price of a role's model, where the operator supplies one.
pub fn price(settings: &AgentSettings) -> Option<Price> {
    settings
        .endpoints
        .get(&settings.model.endpoint)?
        .prices
        .get(&settings.model.model)
        .copied()
}

/// Under a cap in USD every model must have a price.
///
/// # Errors
/// Names the models without one, and says where to write it.
pub fn check_prices(settings: &BTreeMap<Pool, AgentSettings>) -> Result<(), Failure> {
    let unpriced = settings.iter().filter(|(_, settings)| price(settings).is_none());
    let name = |(pool, settings): (&Pool, &AgentSettings)| {
        format!("{pool} {}/{}", settings.model.endpoint, settings.model.model)
    };
    // In the order in which a coordinator names them.
    let unpriced: Vec<String> = unpriced.map(name).collect::<BTreeSet<_>>().into_iter().collect();
    match unpriced.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "a cap in USD needs the price of every model; unknown for {}: write them into [endpoints.NAME.prices.\"MODEL\"], or cap calls or tokens instead",
            unpriced.join(", ")
        ))),
    }
}

/// A program that a task names must be known to every checker.
///
/// # Errors
/// Names the checker that does not know it, and says where to name it.
pub fn check_program(settings: &BTreeMap<Pool, AgentSettings>, program: Option<&str>) -> Result<(), Failure> {
    let Some(program) = program else { return Ok(()) };
    let mut checkers = settings.iter().filter(|(pool, _)| pool.role == Role::Checker);
    match checkers.find(|(_, settings)| !settings.programs.contains_key(program)) {
        None => Ok(()),
        Some((pool, _)) => Err(Failure::usage(format!(
            "the {pool} knows no program `{program}`: name it in [programs.{program}] of its sipdo.toml"
        ))),
    }
}

/// What asking an endpoint came to.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    /// `endpoint/model`.
    pub label: String,
    /// Who uses it.
    pub pools: Vec<Pool>,
    /// It answers and knows the model (in words), or why not.
    pub finding: Result<String, ProbeError>,
}

/// Why a model cannot be used.
#[derive(Debug, Clone)]
pub struct ProbeError {
    /// In words.
    pub words: String,
    /// Asking again will not help: the key is refused, or there is no such model.
    pub permanent: bool,
}

impl ProbeError {
    fn permanent(words: impl Into<String>) -> Self {
        ProbeError {
            words: words.into(),
            permanent: true,
        }
    }
}

impl From<ModelError> for ProbeError {
    fn from(error: ModelError) -> Self {
        ProbeError {
            words: error.to_string(),
            permanent: error.needs_operator(),
        }
    }
}

/// Asks every endpoint once, without buying anything, whether it is there, takes the key and lists the model.
pub async fn probe(settings: &BTreeMap<Pool, AgentSettings>) -> Vec<ProbeResult> {
    let mut distinct: BTreeMap<String, (Vec<Pool>, &AgentSettings)> = BTreeMap::new();
    for (pool, settings) in settings {
        let label = format!("{}/{}", settings.model.endpoint, settings.model.model);
        distinct
            .entry(label)
            .or_insert_with(|| (Vec::new(), settings))
            .0
            .push(pool.clone());
    }
    let mut probes = JoinSet::new();
    for (label, (pools, settings)) in distinct {
        let model = model(settings);
        probes.spawn(async move {
            let finding = ask(model).await;
            ProbeResult { label, pools, finding }
        });
    }
    let mut found = probes.join_all().await;
    found.sort_by(|a, b| a.label.cmp(&b.label));
    found
}

async fn ask(model: Result<Model, ProbeError>) -> Result<String, ProbeError> {
    let model = model?;
    let probe = model.probe(Spend::Nothing).await?;
    let ms = probe.latency.as_millis();
    let lacks = match model.lacks() {
        lacks if lacks.is_empty() => String::new(),
        lacks => format!("; {}", lacks.join("; ")),
    };
    match (probe.listed, probe.others.is_empty()) {
        (Some(false), false) => Err(ProbeError::permanent(format!(
            "the endpoint does not list this model; it lists {}",
            probe.others.join(", ")
        ))),
        (Some(false), true) => Err(ProbeError::permanent("the endpoint does not have this model")),
        (Some(true), _) => Ok(format!("answers in {ms} ms, has the model{lacks}")),
        (None, _) => Ok(format!("answers in {ms} ms, has no list of models{lacks}")),
    }
}

fn model(settings: &AgentSettings) -> Result<Model, ProbeError> {
    let name = &settings.model.endpoint;
    let endpoint = settings
        .endpoints
        .get(name)
        .cloned()
        .ok_or_else(|| ProbeError::permanent(format!("no endpoint {name}")))?;
    let client = EndpointClient::new(name, endpoint).map_err(|error| ProbeError::permanent(error.to_string()))?;
    Model::new(client, settings.model.clone()).map_err(|error| ProbeError::permanent(error.to_string()))
}

/// Fails on the first model that does not answer.
///
/// # Errors
/// With every problem that was found, and how to go on all the same: wrong usage where key or model is wrong, else unavailable.
pub fn require_answers(probed: &[ProbeResult]) -> Result<(), Failure> {
    let problems: Vec<String> = probed
        .iter()
        .filter_map(|probed| {
            let pools: BTreeSet<String> = probed.pools.iter().map(Pool::to_string).collect();
            let pools: Vec<String> = pools.into_iter().collect();
            let problem = probed.finding.as_ref().err()?;
            Some(format!(
                "{} (for {}): {}",
                probed.label,
                pools.join(", "),
                output::clean_line(&problem.words)
            ))
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    let permanent = |probed: &ProbeResult| probed.finding.as_ref().is_err_and(|problem| problem.permanent);
    let exit = if probed.iter().any(permanent) {
        Exit::Usage
    } else {
        Exit::Unavailable
    };
    Err(Failure::new(exit, problems.join("\n"))
        .hint("nothing was started or bought; correct sipdo.toml, or skip this check with --no-probe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_role_without_a_model_is_named_with_what_to_write() {
        let (_dir, path) = file("[endpoints.local]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n");
        let failure = check_models(Some(&path), [Role::Verifier.into()], &BTreeMap::new()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.contains("verifier") && failure.hint.contains("--simulated"),
            "{failure}"
        );
    }

    #[test]
    fn a_run_s_own_models_are_laid_over_the_file_s() {
        let (_dir, path) = file(
            "[endpoints.local]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n[models.default]\nmodel = \"m\"\n",
        );
        let own = |endpoint: &str| {
            let choice = pb::ModelChoice {
                endpoint: endpoint.into(),
                model: "other".into(),
                temperature: Some(0.25),
                max_tokens: Some(77),
                timeout_seconds: Some(9),
            };
            BTreeMap::from([("learner".to_owned(), choice)])
        };
        let settings = check_models(Some(&path), [Role::Learner.into(), Role::Checker.into()], &own("local")).unwrap();
        let learner = &settings[&Pool::from(Role::Learner)].model;
        assert_eq!(learner.model, "other");
        let limits = (learner.temperature, learner.max_tokens, learner.timeout_seconds);
        assert_eq!(limits, (Some(0.25), 77, Some(9.0)), "temperature and limits are kept");
        assert_eq!(settings[&Pool::from(Role::Checker)].model.model, "m");
        let failure = check_models(Some(&path), [Role::Learner.into()], &own("cloud")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.contains("`cloud`") && failure.hint.contains("local"),
            "{failure}"
        );
    }

    #[test]
    fn a_pool_has_a_table_of_its_own_over_its_role_s() {
        let (_dir, path) = file(
            "[endpoints.local]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n[models.default]\nmodel = \"m\"\n\
             [models.checker]\nmax_tokens = 7\n[models.checker_a]\nmodel = \"a\"\n[models.checker_b]\nmodel = \"b\"\nmax_tokens = 8\n",
        );
        let pools = pools(Some(&path)).unwrap();
        assert_eq!(pools.len(), Role::ALL.len() + 2);
        let settings = check_models(Some(&path), pools, &BTreeMap::new()).unwrap();
        let of = |pool: &str| {
            let settings = &settings[&pool.parse().unwrap()];
            (
                settings.model.model.as_str(),
                settings.model.max_tokens,
                settings.pool.to_string(),
            )
        };
        assert_eq!(of("checker"), ("m", 7, "checker".into()));
        assert_eq!(of("checker_a"), ("a", 7, "checker_a".into()));
        assert_eq!(of("checker_b"), ("b", 8, "checker_b".into()));
    }

    #[test]
    fn a_missing_key_is_named_by_its_variable() {
        let (_dir, path) = file(
            "[endpoints.cloud]\nprovider = \"openai\"\napi_key_env = \"SIPDO_TEST_NO_SUCH_KEY\"\n[models.default]\nmodel = \"m\"\n",
        );
        let failure = check_models(Some(&path), [Role::Learner.into()], &BTreeMap::new()).unwrap_err();
        assert!(failure.message.contains("SIPDO_TEST_NO_SUCH_KEY"), "{failure}");
    }

    #[test]
    fn the_example_that_we_show_is_one_that_loads() {
        let text: String = EXAMPLE
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .map(|line| format!("{line}\n"))
            .collect();
        let settings = sipdo_agent::settings::Settings::parse(Path::new(FILE_NAME), &text).unwrap();
        for role in Role::ALL {
            settings.model(role).unwrap();
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_is_not_there_is_told_before_anything_is_bought() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (_dir, path) = file(&format!(
            "[endpoints.local]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n[models.default]\nmodel = \"m\"\n"
        ));
        let settings = check_models(
            Some(&path),
            [Role::Learner.into(), Role::Checker.into()],
            &BTreeMap::new(),
        )
        .unwrap();
        let probed = probe(&settings).await;
        assert_eq!(probed.len(), 1, "one endpoint and model is asked once");
        let failure = require_answers(&probed).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(
            failure.message.starts_with("local/m (for checker, learner): "),
            "{failure}"
        );
    }
}
