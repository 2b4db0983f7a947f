//! Which agent, with which model: everything that can be wrong about them is found before anything is started.

use super::{probe_settings, probes_for};
use crate::args::{Run, RunModel};
use crate::context::{Context, workers};
use crate::error::CommandError;
use reenact_bundle::TaskBundle;
use reenact_cleanroom::agents::bash::BashAgent;
use reenact_cleanroom::agents::command::CommandAgent;
use reenact_cleanroom::agents::prompts::Prompts;
use reenact_cleanroom::agents::replay::ReplayAgent;
use reenact_cleanroom::agents::talk::PricedClient;
use reenact_cleanroom::site::Agent;
use reenact_cleanroom::{Baseline, CleanroomError};
use reenact_explore::ExploreOptions;
use reenact_llm::{Client, ClientOptions, Endpoint, Patience, PriceTable};
use reenact_model::run::Model;
use reenact_model::{Digest, Policy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An agent by its name on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Baseline(Baseline),
    Bash,
    Replay(PathBuf),
    Command(String),
}

const KNOWN: &str = "null, help, memorizer, reference, bash, command:CMD, replay:FILE";

impl Named {
    /// Parses `--agent`.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let unknown =
            || CleanroomError::UnknownAgent { name: text.to_owned(), known: KNOWN.to_owned() };
        match text.split_once(':') {
            None if text == "bash" => Ok(Self::Bash),
            None => text.parse().map(Self::Baseline).map_err(|_| unknown().into()),
            Some(("replay", file)) if !file.is_empty() => Ok(Self::Replay(PathBuf::from(file))),
            Some(("command", command)) if !command.trim().is_empty() => {
                Ok(Self::Command(command.to_owned()))
            }
            Some(_) => Err(unknown().into()),
        }
    }

    fn uses_a_model(&self) -> bool {
        matches!(self, Self::Bash | Self::Command(_))
    }
}

/// A model at an address, with its prices.
pub struct Choice {
    pub endpoint: Endpoint,
    pub prices: PriceTable,
    pub options: ClientOptions,
}

impl Choice {
    /// The model of the command line.
    ///
    /// # Errors
    /// No model, no key, an unknown price under a budget of dollars.
    pub fn of(args: &RunModel, agent: &str, policy: &Policy) -> Result<Self, CommandError> {
        let Some(model) = &args.model else {
            return Err(CommandError::usage(format!("agent {agent:?} needs a model")).hint(
                "name it: --model openai/NAME or --model anthropic/NAME (see docs/models.md)",
            ));
        };
        let endpoint = Endpoint::resolve(model, args.base_url.as_deref(), args.key_env.as_deref())
            .map_err(CommandError::usage)?;
        let prices = match &args.prices {
            Some(file) => PriceTable::load(file).map_err(CommandError::usage)?,
            None => PriceTable::built_in(),
        };
        let limited = policy.cost_usd.is_some() || policy.run_cost_usd.is_some();
        if limited && prices.price(endpoint.model()).is_none() {
            let what = format!(
                "the price of {:?} is not known, so a limit in dollars cannot be kept",
                endpoint.model()
            );
            return Err(CommandError::usage(what).hint(
                "give a table with its price (--prices FILE), or limit tokens (--token-limit)",
            ));
        }
        let mut patience = Patience { total: args.patience, ..Patience::default() };
        patience.first_contact = patience.first_contact.min(patience.total);
        let options = ClientOptions { patience, ..ClientOptions::default() };
        Ok(Self { endpoint, prices, options })
    }

    /// As manifests have it.
    pub fn model(&self) -> Model {
        Model { api: self.endpoint.api().word().to_owned(), name: self.endpoint.model().to_owned() }
    }
}

/// What a plan needs to know of the agent, and how to make it.
pub struct Chosen {
    /// Its name in manifests.
    pub name: String,
    pub model: Option<Model>,
    pub prompts: Option<Digest>,
    pub prices: Option<Digest>,
    pub settings: BTreeMap<String, String>,
    maker: Box<Maker>,
}

/// Makes the agent for a task.
type Maker = dyn Fn(&TaskBundle) -> Result<Box<dyn Agent>, CleanroomError> + Sync;

impl Chosen {
    /// The agent for a task.
    pub fn make(&self, task: &TaskBundle) -> Result<Box<dyn Agent>, CleanroomError> {
        (self.maker)(task)
    }

    /// `null`, `help` or `memorizer`, which gets its probes from the documentation of its task.
    pub fn baseline(args: &Run, agent: Baseline, context: &Context) -> Self {
        let mut settings = agent.settings();
        settings.extend(probe_settings(agent, args.probes, args.seed));
        let (probes, seed) = (args.probes, args.seed);
        let explore = ExploreOptions { workers: workers(None), cells: context.cells.clone() };
        let maker = move |task: &TaskBundle| {
            let found = if agent.wants_probes() {
                probes_for(task, probes, seed, &explore)
                    .map_err(|e| CleanroomError::Agent { what: e.what().to_owned() })?
            } else {
                Vec::new()
            };
            // `reference` needs no room and does not come this way.
            agent.agent(found, explore.workers).ok_or_else(|| CleanroomError::Agent {
                what: format!("agent {agent} does not work in a cleanroom"),
            })
        };
        Self {
            name: agent.name().to_owned(),
            model: None,
            prompts: None,
            prices: None,
            settings,
            maker: Box::new(maker),
        }
    }

    /// `bash`, with everything it needs.
    pub fn bash(args: &Run, policy: &Policy, context: &Context) -> Result<Self, CommandError> {
        let choice = Choice::of(&args.model, "bash", policy)?;
        note_unknown_price(&choice, context);
        let prompts = Arc::new(prompts(args.model.prompts.as_deref())?);
        let (model, prices) = (choice.model(), choice.prices.digest());
        let client = Client::new(choice.endpoint, choice.options);
        let talker = Arc::new(PricedClient { client, prices: choice.prices });
        Ok(Self {
            name: "bash".to_owned(),
            model: Some(model),
            prompts: Some(prompts.digest()),
            prices: Some(prices),
            settings: BTreeMap::new(),
            maker: shared(Arc::new(BashAgent { talker, prompts })),
        })
    }

    /// `command:CMD`, with everything it needs.
    pub fn command(
        args: &Run,
        command: &str,
        policy: &Policy,
        context: &Context,
    ) -> Result<Self, CommandError> {
        let choice = Choice::of(&args.model, "command", policy)?;
        note_unknown_price(&choice, context);
        let (model, prices) = (choice.model(), choice.prices.digest());
        let client = Client::new(choice.endpoint, choice.options);
        let model_of = Arc::new(PricedClient { client, prices: choice.prices });
        let agent = CommandAgent { command: command.to_owned(), model: model_of };
        let mut settings = BTreeMap::from([("command".to_owned(), command.to_owned())]);
        if let Some(dir) = &args.agent_dir {
            settings.insert("agent_dir".to_owned(), dir.display().to_string());
        }
        Ok(Self {
            name: "command".to_owned(),
            model: Some(model),
            prompts: Some(CommandAgent::instructions_digest()),
            prices: Some(prices),
            settings,
            maker: shared(Arc::new(agent)),
        })
    }

    /// `replay:FILE`.
    pub fn replay(file: &Path) -> Result<Self, CommandError> {
        if !file.is_file() {
            return Err(CommandError::usage(format!("{}: no such file", file.display())));
        }
        let agent = ReplayAgent::load(file)?;
        let settings = [("replayed".to_owned(), agent.digest().to_string())].into();
        Ok(Self {
            name: "replay".to_owned(),
            model: None,
            prompts: None,
            prices: None,
            settings,
            maker: shared(Arc::new(agent)),
        })
    }
}

/// Options that the agent would not use are a mistake, not a wish to be ignored.
pub fn refuse_model(args: &RunModel, named: &Named, agent: &str) -> Result<(), CommandError> {
    if args.prompts.is_some() && *named != Named::Bash {
        let what = format!("agent {agent:?} uses no prompt templates; leave --prompts out");
        return Err(CommandError::usage(what));
    }
    let given = [
        ("--model", args.model.is_some()),
        ("--base-url", args.base_url.is_some()),
        ("--key-env", args.key_env.is_some()),
        ("--prices", args.prices.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) if !named.uses_a_model() => {
            Err(CommandError::usage(format!("agent {agent:?} uses no model; leave {option} out")))
        }
        _ => Ok(()),
    }
}

fn note_unknown_price(choice: &Choice, context: &Context) {
    let model = choice.endpoint.model();
    if choice.prices.price(model).is_none() {
        let text = format!(
            "note: the price of {model:?} is not in the price table, so costs are not known (--prices FILE)"
        );
        context.say(&text);
    }
}

fn prompts(dir: Option<&Path>) -> Result<Prompts, CommandError> {
    Ok(match dir {
        None => Prompts::built_in()?,
        Some(dir) if dir.is_dir() => Prompts::load(dir)?,
        Some(dir) => {
            return Err(CommandError::usage(format!("{}: no such directory", dir.display())));
        }
    })
}

/// A maker whose one agent serves every attempt.
fn shared(agent: Arc<dyn Agent>) -> Box<Maker> {
    Box::new(move |_| Ok(Box::new(Shared(Arc::clone(&agent)))))
}

struct Shared(Arc<dyn Agent>);

impl Agent for Shared {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn resumable(&self) -> bool {
        self.0.resumable()
    }

    fn drive(
        &self,
        site: &reenact_cleanroom::site::Site<'_>,
    ) -> Result<reenact_cleanroom::site::AgentEnd, CleanroomError> {
        self.0.drive(site)
    }
}
