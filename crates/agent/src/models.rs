//! Which model does the next job: the live registry, then the run's own choice, then flags and file.
//!
//! The registry is followed, so that a change reaches the next job without a restart. Choices name endpoints; what a name means stands
//! in the operator's file of this very agent.

use crate::circuit::{Circuit, Patience};
use crate::settings::known;
use crate::weakness::LastAnswers;
use prost::Message as _;
use sipdo_bus::Entry;
use sipdo_domain::{Measured, NotMeasured, Pool, Reason};
use sipdo_llm::{ConfigError, Endpoint, EndpointClient, Model, ModelSettings, Price};
use sipdo_protocol::{
    models::{registry_keys, resolve},
    pb,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Models that are kept ready. More than a few at a time are made anew.
const MAX_READY: usize = 32;

/// The registry as the bus tells it: models by `role` or `run.role`.
pub(crate) type Registry = watch::Receiver<BTreeMap<String, Entry>>;

/// The models that an agent can use.
#[derive(Debug)]
pub(crate) struct Models {
    pool: Pool,
    endpoints: BTreeMap<String, Endpoint>,
    own: ModelSettings,
    patience: Patience,
    registry: Registry,
    ready: Mutex<Ready>,
}

#[derive(Debug, Default)]
struct Ready {
    clients: HashMap<String, EndpointClient>,
    targets: Vec<Arc<Target>>,
    health: HashMap<(String, String), Health>,
}

/// How a model at an endpoint does, whatever its settings.
#[derive(Debug, Clone)]
struct Health {
    circuit: Arc<Circuit>,
    answers: Arc<LastAnswers>,
}

/// A model, ready to be called, and how its provider does.
#[derive(Debug)]
pub(crate) struct Target {
    pub model: Model,
    pub circuit: Arc<Circuit>,
    pub answers: Arc<LastAnswers>,
}

impl Target {
    pub fn settings(&self) -> &ModelSettings {
        self.model.settings()
    }
}

impl Models {
    /// Prepares the agent's own model, so that a setting that cannot work is found before anything else happens. Clients of the other
    /// endpoints are made when they are needed: their keys need not be on this machine.
    pub fn new(
        pool: Pool,
        endpoints: BTreeMap<String, Endpoint>,
        own: ModelSettings,
        patience: Patience,
        registry: Registry,
    ) -> Result<Self, ConfigError> {
        let models = Self {
            pool,
            endpoints,
            own,
            patience,
            registry,
            ready: Mutex::default(),
        };
        if let Some(endpoint) = models.endpoints.get(&models.own.endpoint) {
            let name = models.own.endpoint.clone();
            let client = EndpointClient::new(name.clone(), endpoint.clone())?;
            Model::new(client.clone(), models.own.clone())?;
            models.lock().clients.insert(name, client);
        }
        Ok(models)
    }

    /// Follows this registry from now on.
    pub fn follow(&mut self, registry: Registry) {
        self.registry = registry;
    }

    /// The model for a job of `run`, whose own choice is `chosen`.
    ///
    /// # Errors
    /// Misconfigured: an endpoint that this agent does not know, with the names that it does, or settings that cannot work.
    pub fn choose(&self, run: &str, chosen: Option<&pb::ModelChoice>) -> Measured<Arc<Target>> {
        self.target(self.settings(run, chosen))
    }

    /// Comes back when such a job is no longer `target`'s.
    pub async fn replaced(&self, target: &Target, run: &str, chosen: Option<&pb::ModelChoice>) {
        let mut registry = self.registry.clone();
        let (endpoint, model) = (&target.settings().endpoint, &target.settings().model);
        loop {
            let now = self.settings(run, chosen);
            if (&now.endpoint, &now.model) != (endpoint, model) {
                return;
            }
            if registry.changed().await.is_err() {
                // Nobody changes it any more.
                return std::future::pending().await;
            }
        }
    }

    fn settings(&self, run: &str, chosen: Option<&pb::ModelChoice>) -> ModelSettings {
        let registry = self.registry_entries(Some(run));
        overridden(&self.own, &resolve(chosen.into_iter().chain(&registry)))
    }

    /// The model for a job of a run that makes no choice of its own: what the agent's status names.
    pub fn usual(&self) -> Measured<Arc<Target>> {
        self.target(overridden(&self.own, &resolve(&self.registry_entries(None))))
    }

    /// The model that `choice` would give, set for everything or for `run`.
    pub fn trial(&self, run: Option<&str>, choice: &pb::ModelChoice) -> Measured<Arc<Target>> {
        let registry = self.registry_entries(run);
        self.target(overridden(&self.own, &resolve(registry.iter().chain([choice]))))
    }

    /// Names of the endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &String> {
        self.endpoints.keys()
    }

    /// Every price that the operator's file tells.
    pub fn prices(&self) -> Vec<pb::ModelPrice> {
        let of = |(name, endpoint): (&String, &Endpoint)| {
            let name = name.clone();
            let price = move |(model, price): (&String, &Price)| pb::ModelPrice {
                endpoint: name.clone(),
                model: model.clone(),
                input_price: price.dearest_input().0,
                output_price: price.output_per_million.0,
            };
            endpoint.prices.iter().map(price).collect::<Vec<_>>()
        };
        self.endpoints.iter().flat_map(of).collect()
    }

    /// The models that are out: the `usual` one, and others as long as jobs wait for them.
    pub fn outages(&self, usual: &ModelSettings) -> Vec<pb::Outage> {
        let ready = self.lock();
        let is_usual = |place: &(String, String)| (&place.0, &place.1) == (&usual.endpoint, &usual.model);
        let out = |((endpoint, model), health): (&(String, String), &Health)| {
            Some(pb::Outage {
                endpoint: endpoint.clone(),
                model: model.clone(),
                words: health.circuit.trouble()?,
            })
        };
        let known = ready.health.iter();
        known
            .filter(|(place, health)| is_usual(place) || health.circuit.is_waited_for())
            .filter_map(out)
            .collect()
    }

    /// What a user should know of the models in use: what they are not asked for, and which of them look too weak for the role.
    pub fn notes(&self) -> Vec<pb::ModelNote> {
        let ready = self.lock();
        let mut notes: Vec<pb::ModelNote> = Vec::new();
        for target in &ready.targets {
            let note = |words: String, weak: bool| pb::ModelNote {
                endpoint: target.settings().endpoint.clone(),
                model: target.settings().model.clone(),
                words,
                weak,
            };
            let lacks = target.model.lacks().join("; ");
            let lacks = (!lacks.is_empty()).then(|| note(lacks, false));
            let weak = target.answers.words().map(|words| note(words, true));
            let price = target.answers.price_words().map(|words| note(words.to_owned(), false));
            notes.extend(lacks.into_iter().chain(weak).chain(price));
        }
        // Two settings of one model say the same.
        notes.sort_by(|a, b| (&a.endpoint, &a.model, &a.words).cmp(&(&b.endpoint, &b.model, &b.words)));
        notes.dedup();
        notes
    }

    /// How long one call may take at the endpoint of `settings`, retries and waits included, in seconds.
    pub fn longest_call(&self, settings: &ModelSettings) -> f64 {
        let Some(endpoint) = self.endpoints.get(&settings.endpoint) else {
            return 0.0;
        };
        // No retry starts after the total; the last one takes its time, and so may the wait for a slot or a rate before the first.
        endpoint.retry.total_seconds + 2.0 * settings.timeout_seconds.unwrap_or(endpoint.timeout_seconds) + 60.0
    }

    /// The registry's entries for this pool, the weakest first.
    fn registry_entries(&self, run: Option<&str>) -> Vec<pb::ModelChoice> {
        let registry = self.registry.borrow();
        if registry.is_empty() {
            return Vec::new();
        }
        let keys = registry_keys(&self.pool.to_string(), run);
        let decode = |entry: &Entry| {
            let choice = pb::ModelChoice::decode(entry.value.clone());
            choice
                .inspect_err(|error| tracing::warn!(%error, "an entry of the model registry cannot be read"))
                .ok()
        };
        keys.iter()
            .filter_map(|key| registry.get(key))
            .filter_map(decode)
            .collect()
    }

    fn target(&self, settings: ModelSettings) -> Measured<Arc<Target>> {
        let mut ready = self.lock();
        if let Some(target) = ready.targets.iter().find(|target| *target.settings() == settings) {
            return Ok(Arc::clone(target));
        }
        let name = settings.endpoint.clone();
        let Some(endpoint) = self.endpoints.get(&name) else {
            let known = known(self.endpoints.keys());
            let detail = format!("this {} knows no endpoint \"{}\" ({known})", self.pool, shown(&name));
            return Err(NotMeasured::new(Reason::Misconfigured, detail));
        };
        let misconfigured = |error: ConfigError| NotMeasured::new(Reason::Misconfigured, error.to_string());
        let client = match ready.clients.get(&name) {
            Some(client) => client.clone(),
            None => {
                let client = EndpointClient::new(name.clone(), endpoint.clone()).map_err(misconfigured)?;
                ready.clients.insert(name.clone(), client.clone());
                client
            }
        };
        let place = (name, settings.model.clone());
        let model = Model::new(client, settings).map_err(misconfigured)?;
        if ready.health.len() >= MAX_READY {
            ready.health.clear();
        }
        let Health { circuit, answers } = ready
            .health
            .entry(place)
            .or_insert_with(|| Health {
                circuit: Arc::new(Circuit::new(self.patience.clone())),
                answers: Arc::default(),
            })
            .clone();
        let target = Arc::new(Target {
            model,
            circuit,
            answers,
        });
        if ready.targets.len() >= MAX_READY {
            ready.targets.remove(0);
        }
        ready.targets.push(Arc::clone(&target));
        Ok(target)
    }

    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An agent's own settings with a choice over them: what it leaves out stays.
#[must_use]
pub fn overridden(own: &ModelSettings, choice: &pb::ModelChoice) -> ModelSettings {
    let pb::ModelChoice {
        endpoint,
        model,
        temperature,
        max_tokens,
        timeout_seconds,
    } = choice;
    let or = |name: &String, own: &String| if name.is_empty() { own.clone() } else { name.clone() };
    ModelSettings {
        endpoint: or(endpoint, &own.endpoint),
        model: or(model, &own.model),
        temperature: temperature.or(own.temperature),
        max_tokens: max_tokens.unwrap_or(own.max_tokens),
        timeout_seconds: timeout_seconds.map(f64::from).or(own.timeout_seconds),
        ..own.clone()
    }
}

/// A name from a message, fit for another message.
fn shown(name: &str) -> String {
    sipdo_domain::fence::clean(name).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_domain::Role;
    use sipdo_llm::Provider;
    use std::time::SystemTime;

    fn choice(endpoint: &str, model: &str) -> pb::ModelChoice {
        pb::ModelChoice {
            endpoint: endpoint.into(),
            model: model.into(),
            ..pb::ModelChoice::default()
        }
    }

    fn entry(choice: &pb::ModelChoice) -> Entry {
        Entry {
            value: choice.encode_to_vec().into(),
            revision: 1,
            time: SystemTime::UNIX_EPOCH,
        }
    }

    fn models(registry: BTreeMap<String, Entry>) -> (Models, watch::Sender<BTreeMap<String, Entry>>) {
        sipdo_llm::install_crypto_provider();
        let local = |port| Endpoint {
            base_url: Some(format!("http://127.0.0.1:{port}/v1")),
            ..Endpoint::new(Provider::Openai)
        };
        let keyless = Endpoint {
            api_key_env: Some("SIPDO_NO_SUCH_VARIABLE".into()),
            ..local(3)
        };
        let endpoints = BTreeMap::from([
            ("one".into(), local(1)),
            ("two".into(), local(2)),
            ("keyless".into(), keyless),
        ]);
        let (sender, receiver) = watch::channel(registry);
        let own = ModelSettings::new("one", "own");
        (
            Models::new(Role::Checker.into(), endpoints, own, Patience::default(), receiver).unwrap(),
            sender,
        )
    }

    fn chosen(models: &Models, chosen: Option<&pb::ModelChoice>) -> String {
        let target = models.choose("run-1", chosen).unwrap();
        format!("{}/{}", target.settings().endpoint, target.settings().model)
    }

    #[test]
    fn the_registry_goes_before_the_run_and_the_run_before_the_agent() {
        let (models, registry) = models(BTreeMap::new());
        assert_eq!(chosen(&models, None), "one/own");
        assert_eq!(chosen(&models, Some(&choice("two", "runs"))), "two/runs");
        assert_eq!(
            chosen(&models, Some(&choice("", "runs"))),
            "one/runs",
            "what is left out stays"
        );
        registry.send_modify(|all| drop(all.insert("checker".into(), entry(&choice("", "live")))));
        assert_eq!(chosen(&models, Some(&choice("two", "runs"))), "two/live");
        registry.send_modify(|all| drop(all.insert("run-1.checker".into(), entry(&choice("one", "just-here")))));
        assert_eq!(chosen(&models, Some(&choice("two", "runs"))), "one/just-here");
        assert_eq!(models.usual().unwrap().settings().model, "live");
        registry.send_modify(|all| drop(all.insert("learner".into(), entry(&choice("two", "others")))));
        assert_eq!(
            models.usual().unwrap().settings().model,
            "live",
            "another role's entry is not ours"
        );
    }

    #[tokio::test]
    async fn who_waits_for_a_model_learns_that_another_has_its_place() {
        let (models, registry) = models(BTreeMap::new());
        let target = models.choose("run-1", None).unwrap();
        let set = |key: &str, choice: &pb::ModelChoice| {
            registry.send_modify(|all| drop(all.insert(key.into(), entry(choice))));
        };
        let soon = std::time::Duration::from_millis(20);
        let waits = async |run: &str| {
            let replaced = models.replaced(&target, run, None);
            tokio::time::timeout(soon, replaced).await.is_err()
        };
        assert!(waits("run-1").await);
        let warm = pb::ModelChoice {
            temperature: Some(0.9),
            ..pb::ModelChoice::default()
        };
        set("checker", &warm);
        assert!(waits("run-1").await, "it is the same model");
        let changed = async { set("run-1.checker", &choice("two", "")) };
        let (waits, (), other) = tokio::join!(waits("run-1"), changed, waits("run-2"));
        assert!(!waits && other);
    }

    #[test]
    fn a_pool_has_an_entry_of_its_own() {
        let (mut models, registry) = models(BTreeMap::new());
        models.pool = Pool::new(Role::Checker, "a").unwrap();
        registry.send_modify(|all| drop(all.insert("checker".into(), entry(&choice("two", "for-the-others")))));
        assert_eq!(
            chosen(&models, None),
            "one/own",
            "what the others use must not make the pool like them"
        );
        registry.send_modify(|all| drop(all.insert("run-1.checker_a".into(), entry(&choice("", "for-a")))));
        assert_eq!(chosen(&models, None), "one/for-a");
        let trial = |run| models.trial(run, &choice("two", "")).unwrap().settings().clone();
        assert_eq!((trial(None).endpoint, trial(None).model), ("two".into(), "own".into()));
        assert_eq!(trial(Some("run-1")).model, "for-a");
    }

    #[test]
    fn an_unknown_endpoint_is_named_with_those_that_are_known() {
        let (models, _registry) = models(BTreeMap::new());
        let why = models.choose("run-1", Some(&choice("three", "m"))).unwrap_err();
        assert_eq!(why.reason, Reason::Misconfigured);
        assert!(
            why.detail.contains("\"three\"") && why.detail.contains("known: keyless, one, two"),
            "{why}"
        );
        let why = models.choose("run-1", Some(&choice("keyless", "m"))).unwrap_err();
        assert!(why.detail.contains("SIPDO_NO_SUCH_VARIABLE"), "{why}");
        let why = models.choose("run-1", Some(&choice("one", "two words"))).unwrap_err();
        assert_eq!(why.reason, Reason::Misconfigured);
    }

    #[test]
    fn the_same_model_is_made_once_and_its_outage_is_known_to_all_settings_of_it() {
        let (models, _registry) = models(BTreeMap::new());
        let first = models.choose("run-1", None).unwrap();
        assert!(Arc::ptr_eq(&first, &models.choose("run-2", None).unwrap()));
        let warm = pb::ModelChoice {
            temperature: Some(0.9),
            ..pb::ModelChoice::default()
        };
        let warm = models.choose("run-1", Some(&warm)).unwrap();
        assert!(!Arc::ptr_eq(&first, &warm));
        assert!(Arc::ptr_eq(&first.circuit, &warm.circuit));
        for number in 0..100 {
            models
                .choose("run-1", Some(&choice("two", &format!("m{number}"))))
                .unwrap();
        }
        assert!(models.lock().targets.len() <= MAX_READY);
    }
}
