//! `replay:FILE`: the commands of a recorded trajectory (any harness's, in mini-SWE-agent's format), run again in a fresh
//! cleanroom and recorded with what they do now.

use super::prompts::Prompts;
use super::session::{Desk, Session, attend};
use crate::error::CleanroomError;
use crate::record::trajectory::Header;
use crate::site::{Agent, AgentEnd, Site};
use reenact_bundle::fsx;
use reenact_interop::trajectory::{Action, Extra, Message, ToolCall, read_mini};
use reenact_model::Digest;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The agent. One serves all attempts of a run.
pub struct ReplayAgent {
    name: String,
    prompts: Prompts,
    /// What was said before the first command.
    first: Vec<Message>,
    /// Replies that held commands.
    said: Vec<Message>,
    digest: Digest,
}

impl ReplayAgent {
    /// Reads the trajectory at `path`.
    ///
    /// # Errors
    /// I/O; a file that is no trajectory, with line and field; one without any command.
    pub fn load(path: &Path) -> Result<Self, CleanroomError> {
        let bytes = fsx::read(path)?;
        let messages = read_mini(path, &bytes)?.trajectory.messages;
        let first_reply = messages.iter().position(|m| !m.commands().is_empty());
        let Some(first_reply) = first_reply else {
            return Err(CleanroomError::NothingToReplay { path: PathBuf::from(path) });
        };
        let first = messages[..first_reply]
            .iter()
            .filter(|m| matches!(m.role.as_str(), "system" | "user"))
            .map(|m| plain(m, &m.role))
            .collect();
        let said = messages.iter().filter(|m| !m.commands().is_empty());
        let said = (1..).zip(said).map(|(step, m)| command_message(step, m)).collect();
        Ok(Self {
            name: "replay".to_owned(),
            prompts: Prompts::built_in()?,
            first,
            said,
            digest: Digest::of(&bytes),
        })
    }

    /// Digest of the file's bytes, for the manifest's settings.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A message with its role and text alone.
fn plain(message: &Message, role: &str) -> Message {
    Message { role: role.to_owned(), ..Message::user(message.text()) }
}

/// A reply with the commands of `message` as calls of our tool, whatever notation they had.
fn command_message(step: u64, message: &Message) -> Message {
    let commands = message.commands();
    let ids = (1..).map(|i: u64| format!("call_{step}_{i}"));
    let actions: Vec<Action> = commands
        .into_iter()
        .zip(ids)
        .map(|(action, id)| Action { command: action.command, tool_call_id: Some(id) })
        .collect();
    let calls = actions.iter().map(|action| {
        let arguments = json!({"command": action.command}).to_string();
        ToolCall::new(action.tool_call_id.clone().unwrap_or_default(), "bash", arguments)
    });
    let said = Message::assistant(Some(message.text().into_owned()), calls.collect());
    said.with_extra(Extra { actions: Some(actions), ..Extra::default() })
}

impl Agent for ReplayAgent {
    fn name(&self) -> &str {
        &self.name
    }

    fn resumable(&self) -> bool {
        true
    }

    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError> {
        let header = self.header(site.task.id());
        attend(site, &self.prompts, &header, self.first.clone(), |desk, session| {
            self.work(desk, session)
        })
    }
}

impl ReplayAgent {
    fn header(&self, task: &str) -> Header {
        let config =
            json!({"agent_type": "reenact.replay", "environment_type": "reenact.cleanroom"});
        let ours = json!({"replayed": self.digest});
        let map = |value| match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        Header { instance_id: task.to_owned(), config: map(config), reenact: map(ours) }
    }

    fn work(&self, desk: Desk<'_>, mut session: Session<'_>) -> Result<AgentEnd, CleanroomError> {
        loop {
            if desk.stop.soon() {
                session.pause()?;
                return Ok(AgentEnd::Interrupted);
            }
            if let Some(which) = session.spent_out() {
                return session.finish(AgentEnd::ExhaustedBudget { which }, "");
            }
            let next = usize::try_from(session.step()).ok().and_then(|n| self.said.get(n));
            let Some(said) = next else { return session.finish(AgentEnd::Submitted, "") };
            session.say(said, None)?;
            if let Some(end) = session.act(said, 0)? {
                return Ok(end);
            }
        }
    }
}
