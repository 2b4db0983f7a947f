//! The trajectory of an agent that is not ours, made from the calls of the model that it makes: each is one step.

use super::super::keeper::Keeper;
use super::super::relay::Call;
use super::conversation::messages;
use crate::error::CleanroomError;
use crate::record::trajectory::{Header, Trajectory, now_s};
use crate::site::{AgentEnd, Site};
use reenact_interop::trajectory::{Message, Usage};
use reenact_llm::Endpoint;
use serde_json::{Map, json};
use std::sync::atomic::Ordering;

/// The trajectory being made.
pub(super) struct Steps<'a> {
    site: &'a Site<'a>,
    trajectory: Trajectory,
    model: String,
    /// Messages of the last request.
    before: Vec<Message>,
    step: u64,
}

impl<'a> Steps<'a> {
    /// Begins it with the text that the agent finds in the room.
    pub(super) fn begin(
        site: &'a Site<'a>,
        command: &str,
        instructions: &str,
        endpoint: &Endpoint,
    ) -> Result<Self, CleanroomError> {
        let config = json!({
            "agent": {"command": command, "instructions": instructions},
            "agent_type": "command",
            "model": {"model_name": endpoint.model()},
            "model_type": endpoint.api().word(),
        });
        let config = config.as_object().cloned().unwrap_or_default();
        let header = Header { instance_id: site.task.id().to_owned(), config, reenact: Map::new() };
        let trajectory = Trajectory::create(&site.trajectory_path(), &header)?;
        let model = endpoint.model().to_owned();
        Ok(Self { site, trajectory, model, before: Vec::new(), step: 0 })
    }

    /// Records a call: what is new in its request, and the reply.
    pub(super) fn record(&mut self, call: Call) -> Result<(), CleanroomError> {
        self.step += 1;
        let live = self.site.live;
        live.step.store(self.step, Ordering::Relaxed);
        live.spend(call.tokens(), call.cost);
        self.site.probes.set_step(Some(self.step));
        let all = messages(&call.path, &call.request);
        let mut new = self.news(&all);
        self.before = all;
        let mut reply = call.reply.clone().unwrap_or_else(|| Message::assistant(None, Vec::new()));
        let actions = reply.commands();
        let doing =
            actions.first().map_or_else(|| reply.text().into_owned(), |a| a.command.clone());
        live.doing(&doing);
        reply.extra.actions = Some(actions);
        reply.extra.cost = call.cost;
        reply.extra.timestamp = Some(now_s());
        reply.extra.response = Some(self.response(&call));
        new.push(reply);
        self.trajectory.append(&new)?;
        // The reply's end goes out now; a snapshot must not hold it up.
        drop(call);
        if self.step.is_multiple_of(self.site.policy.snapshot_every.max(1)) {
            Keeper::new(self.site).keep(self.step, false)?;
        }
        Ok(())
    }

    /// What of a request has not been recorded. Where the agent goes on with another conversation (it has several, or has
    /// shortened this one), the first message says so.
    fn news(&self, all: &[Message]) -> Vec<Message> {
        let same = all.iter().zip(&self.before).take_while(|(a, b)| a == b).count();
        let goes_on = same == self.before.len();
        let mut new: Vec<Message> = all[same..].to_vec();
        if goes_on {
            // The reply to the last request is recorded already.
            if self.step > 1 && new.first().is_some_and(|m| m.role == "assistant") {
                new.remove(0);
            }
        } else if let Some(first) = new.first_mut() {
            first.extra.rest.insert("goes_on_from_message".to_owned(), same.into());
        }
        let now = now_s();
        new.iter_mut().for_each(|m| m.extra.timestamp = Some(now));
        new
    }

    fn response(&self, call: &Call) -> serde_json::Value {
        let Some(usage) = &call.usage else { return json!({"model": self.model}) };
        let chat = Usage {
            prompt_tokens: usage.total_input(),
            completion_tokens: usage.output,
            cached_tokens: usage.cached_input,
        };
        let mut response = chat.to_response(&self.model);
        response["usage"]["reenact"] = json!(usage);
        response
    }

    /// Records the end, and the state of the workspace at it.
    pub(super) fn end(&mut self, end: &AgentEnd) -> Result<(), CleanroomError> {
        if self.step > 0 {
            Keeper::new(self.site).keep(self.step, true)?;
        }
        self.trajectory.append(&[Message::exit(end.exit_status(), "")])
    }
}
