//! `bash`: the loop of a language model with one shell tool, in the spirit and with the limits of mini-SWE-agent.

use super::prompts::Prompts;
use super::session::{Desk, Session, attend};
use super::talk::{self, Talker};
use crate::error::CleanroomError;
use crate::policy::Policy;
use crate::record::trajectory::Header;
use crate::site::{Agent, AgentEnd, Budget, Site};
use reenact_interop::trajectory::Message;
use reenact_llm::{ModelError, Reply};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The agent. One serves all attempts of a run.
pub struct BashAgent {
    pub talker: Arc<dyn Talker>,
    pub prompts: Arc<Prompts>,
}

impl Agent for BashAgent {
    fn name(&self) -> &str {
        "bash"
    }

    fn resumable(&self) -> bool {
        true
    }

    fn drive(&self, site: &Site<'_>) -> Result<AgentEnd, CleanroomError> {
        let has_docs = std::fs::read_dir(site.task.docs()).is_ok_and(|mut d| d.next().is_some());
        let first = vec![
            Message::system(self.prompts.system()?),
            Message::user(self.prompts.instance(site.policy, has_docs)?),
        ];
        let header = header(site.task.id(), self.talker.model(), site.policy, &self.prompts);
        attend(site, &self.prompts, &header, first, |desk, session| {
            work(self.talker.as_ref(), desk, session)
        })
    }
}

/// What the trajectory says of agent, model and environment.
fn header(task: &str, model: &str, policy: &Policy, prompts: &Prompts) -> Header {
    let config = json!({
        "agent": {"step_limit": policy.steps, "cost_limit": policy.cost_usd, "wall_time_limit": policy.wall_s},
        "agent_type": "reenact.bash",
        "model": {"model_name": model},
        "model_type": "reenact.llm",
        "environment": {"cwd": "/workspace", "timeout": policy.command_s, "network": policy.network},
        "environment_type": "reenact.cleanroom",
    });
    let ours = json!({"policy": policy.digest(), "prompts": prompts.digest()});
    let map = |value| match value {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Header { instance_id: task.to_owned(), config: map(config), reenact: map(ours) }
}

/// Asks and acts until the end.
fn work(
    talker: &dyn Talker,
    desk: Desk<'_>,
    mut session: Session<'_>,
) -> Result<AgentEnd, CleanroomError> {
    loop {
        if desk.stop.soon() {
            session.pause()?;
            return Ok(AgentEnd::Interrupted);
        }
        if let Some(which) = session.spent_out() {
            return session.finish(AgentEnd::ExhaustedBudget { which }, "");
        }
        desk.live.doing("waiting for the model");
        let stop = || desk.stop.soon() || session.wall_left().is_zero();
        let on_wait = |wait: &str| desk.live.doing(wait);
        let reply = match talker.ask(session.conversation(), &stop, &on_wait) {
            Ok(reply) => reply,
            Err(error) => return without_reply(error, talker, &mut session),
        };
        if let Some(end) = uncountable(&reply, desk.policy) {
            session.pause()?;
            return Ok(end);
        }
        let said = say(&reply, talker, &mut session)?;
        if let Some(end) = session.act(&said, 0)? {
            return Ok(end);
        }
    }
}

fn say(
    reply: &Reply,
    talker: &dyn Talker,
    session: &mut Session<'_>,
) -> Result<Message, CleanroomError> {
    let cost = reply.usage.as_ref().and_then(|u| talker.cost(u));
    let said = talk::recorded(reply, talker.model(), cost);
    let tokens = reply.usage.as_ref().map(talk::tokens).unwrap_or_default();
    session.say(&said, Some((tokens, cost)))?;
    Ok(said)
}

/// The end, or the pause, when there was no reply.
fn without_reply(
    error: ModelError,
    talker: &dyn Talker,
    session: &mut Session<'_>,
) -> Result<AgentEnd, CleanroomError> {
    match error {
        ModelError::ContextTooLong { .. } => {
            session.finish(AgentEnd::ExhaustedBudget { which: Budget::Context }, "")
        }
        ModelError::Refused { why, reply } => {
            say(&reply, talker, session)?;
            session.finish(AgentEnd::Refused { why }, "")
        }
        ModelError::Stopped if session.wall_left().is_zero() => {
            session.finish(AgentEnd::ExhaustedBudget { which: Budget::Wall }, "")
        }
        ModelError::Stopped => {
            session.pause()?;
            Ok(AgentEnd::Interrupted)
        }
        error => {
            session.pause()?;
            let hint = error.hint().map(|h| format!("; {h}")).unwrap_or_default();
            Ok(AgentEnd::ProviderFailed { why: format!("{error}{hint}") })
        }
    }
}

/// A reply without a count of its tokens, under a budget that needs it: going on would spend without a limit.
fn uncountable(reply: &Reply, policy: &Policy) -> Option<AgentEnd> {
    let counted = [policy.cost_usd.is_some(), policy.run_cost_usd.is_some()];
    let limited = counted.contains(&true) || policy.tokens.is_some() || policy.run_tokens.is_some();
    (limited && reply.usage.is_none()).then(|| AgentEnd::ProviderFailed {
        why:
            "the provider does not count tokens, so a budget of dollars or tokens cannot be kept; \
              leave these limits out"
                .to_owned(),
    })
}

#[cfg(test)]
mod tests;
