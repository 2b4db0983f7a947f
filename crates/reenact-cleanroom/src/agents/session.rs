//! An attempt's steps: said, carried out, recorded; and taken up again where a stopped session left off.
//!
//! The order within a step is what makes a kill harmless: the model's reply is on disk before its commands run (it was paid
//! for), their results are on disk before the state is kept. A resumed session restores the last state kept, runs the commands
//! after it again without recording them, carries out what was said but not answered, and goes on.

use super::ground::{Ground, Ran, RoomGround};
use super::prompts::Prompts;
use super::shown::Shown;
use super::talk;
use super::turns::{self, Turn};
use crate::error::CleanroomError;
use crate::policy::Policy;
use crate::record::trajectory::{Header, Trajectory, now_s};
use crate::site::{AgentEnd, Budget, Live, Site, Stop};
use reenact_interop::trajectory::{Extra, Message};
use reenact_llm::{Conversation, ToolCall};
use reenact_model::run::Tokens;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The line that hands in, as mini-SWE-agent has it.
pub(super) const SUBMIT: &str = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT";
/// Replies in a row without a command that can be run, after which an attempt ends.
const FORMAT_ERRORS: u32 = 5;
/// Key under `extra`: the agent's wall-clock time up to a message, milliseconds, all sessions together.
const ELAPSED: &str = "elapsed_ms";

/// What a session works with.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    pub policy: &'a Policy,
    pub live: &'a Live,
    pub stop: &'a Stop,
    pub ground: &'a dyn Ground,
    pub prompts: &'a Prompts,
    /// Told the number of each step before its commands run.
    pub set_step: &'a dyn Fn(Option<u64>),
}

/// Opens the session of an attempt in a site's room and works in it, unless it has ended already.
pub(super) fn attend(
    site: &Site<'_>,
    prompts: &Prompts,
    header: &Header,
    first: Vec<Message>,
    work: impl FnOnce(Desk<'_>, Session<'_>) -> Result<AgentEnd, CleanroomError>,
) -> Result<AgentEnd, CleanroomError> {
    let ground = RoomGround::new(site)?;
    let set_step = |step| site.probes.set_step(step);
    let desk = Desk {
        policy: site.policy,
        live: site.live,
        stop: site.stop,
        ground: &ground,
        prompts,
        set_step: &set_step,
    };
    match Session::open(desk, &site.trajectory_path(), header, first)? {
        (_, Some(end)) => Ok(end),
        (session, None) => work(desk, session),
    }
}

/// One attempt at work.
pub(super) struct Session<'a> {
    desk: Desk<'a>,
    trajectory: Trajectory,
    conversation: Conversation,
    step: u64,
    /// Replies without a command, up to now, in a row.
    errors: u32,
    begun: Instant,
    before: Duration,
    last_kept: Option<u64>,
}

impl<'a> Session<'a> {
    /// Begins, or takes up again what is at `path`. `first` are the messages before the first reply. If the attempt had come
    /// to its end already, gives that end.
    pub(super) fn open(
        desk: Desk<'a>,
        path: &Path,
        header: &Header,
        first: Vec<Message>,
    ) -> Result<(Self, Option<AgentEnd>), CleanroomError> {
        let mut trajectory = Trajectory::open_or_create(path, header)?;
        let mut messages = trajectory.messages()?;
        if messages.len() < first.len() {
            let missing = stamped(first.into_iter().skip(messages.len()));
            trajectory.append(&missing)?;
            messages.extend(missing);
        }
        let mut session = Self {
            desk,
            trajectory,
            conversation: talk::conversation(&messages),
            step: 0,
            errors: 0,
            begun: Instant::now(),
            before: elapsed(&messages),
            last_kept: None,
        };
        let end = session.take_up(&messages)?;
        Ok((session, end))
    }

    /// Brings room, figures and counters to where the recorded messages end.
    fn take_up(&mut self, messages: &[Message]) -> Result<Option<AgentEnd>, CleanroomError> {
        let live = self.desk.live;
        live.worked_before(self.before);
        let turns = turns::split(messages);
        for turn in &turns {
            self.step += 1;
            let usage = talk::recorded_usage(turn.said);
            let priced = turn.said.extra.cost;
            if usage.is_some() || priced.is_some() {
                live.spend(usage.map(|u| talk::tokens(&u)).unwrap_or_default(), priced);
            }
            self.errors = if turn.ran_nothing() { self.errors + 1 } else { 0 };
        }
        live.step.store(self.step, Ordering::Relaxed);
        self.restore(&turns)?;
        if let Some(exit) = messages.iter().find(|m| m.role == "exit") {
            return Ok(Some(turns::end_of(exit)));
        }
        let Some(last) = turns.last() else { return Ok(None) };
        if last.is_answered() {
            return match last.answers.iter().find_map(|a| handed_in_by(a)) {
                // Killed between the last answer and the exit message.
                Some(said) => self.finish(AgentEnd::Submitted, &said).map(Some),
                None => Ok(None),
            };
        }
        self.errors = self.errors.saturating_sub(1);
        self.act(&last.said.clone(), last.answers.len())
    }

    /// Restores the last state kept and repeats what was done after it.
    fn restore(&mut self, turns: &[Turn<'_>]) -> Result<(), CleanroomError> {
        if turns.is_empty() {
            return Ok(());
        }
        let complete = turns.iter().filter(|t| t.is_answered()).count() as u64;
        self.desk.live.doing("restoring the last snapshot");
        let kept = self.desk.ground.kept(complete)?;
        if let Some(step) = kept {
            self.desk.ground.restore(step)?;
        }
        self.last_kept = kept;
        for (step, turn) in (1..).zip(turns).skip(kept.map_or(0, |k| k as usize)) {
            (self.desk.set_step)(Some(step));
            for command in turn.ran() {
                self.desk.live.doing(&format!("again: {command}"));
                self.desk.ground.run(&command, self.desk.policy.command_wall())?;
            }
        }
        Ok(())
    }

    /// Everything said up to now.
    pub(super) fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// Steps begun.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// The first budget that is used up.
    pub(super) fn spent_out(&self) -> Option<Budget> {
        let (policy, spent) = (self.desk.policy, self.desk.live.spent());
        let over = |limit: Option<u64>, used: u64| limit.is_some_and(|l| used >= l);
        if self.step >= policy.steps {
            Some(Budget::Steps)
        } else if self.wall_left().is_zero() {
            Some(Budget::Wall)
        } else if policy.cost_usd.is_some_and(|l| spent.cost_usd >= l) {
            Some(Budget::Cost)
        } else if over(policy.tokens, spent.tokens.total()) {
            Some(Budget::Tokens)
        } else {
            None
        }
    }

    /// Wall-clock time that is left.
    pub(super) fn wall_left(&self) -> Duration {
        Duration::from_secs(self.desk.policy.wall_s).saturating_sub(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.before + self.begun.elapsed()
    }

    /// Records a reply, before anything of it is carried out. `spent`: what it took of a model.
    pub(super) fn say(
        &mut self,
        said: &Message,
        spent: Option<(Tokens, Option<f64>)>,
    ) -> Result<(), CleanroomError> {
        if let Some((tokens, cost)) = spent {
            self.desk.live.spend(tokens, cost);
        }
        self.append(vec![said.clone()])?;
        self.step += 1;
        self.desk.live.step.store(self.step, Ordering::Relaxed);
        Ok(())
    }

    /// Carries out the calls of a recorded reply from number `from` on, and records the answers. Gives the attempt's end, if
    /// this was it.
    pub(super) fn act(
        &mut self,
        said: &Message,
        from: usize,
    ) -> Result<Option<AgentEnd>, CleanroomError> {
        (self.desk.set_step)(Some(self.step));
        let calls = talk::calls(said);
        let mut answers = Vec::new();
        let mut handed_in = None;
        let mut ran_any = from > 0;
        for call in calls.iter().skip(from) {
            if handed_in.is_some() {
                answers.push(Message::tool(&call.id, "Not run: the work was handed in before."));
                continue;
            }
            let (answer, ran) = self.answer(call)?;
            ran_any |= ran.is_some();
            handed_in = ran.as_ref().and_then(handed_in_with);
            answers.push(answer);
        }
        if calls.is_empty() {
            let cut = talk::was_cut(said);
            answers.push(Message::user(self.desk.prompts.format_error(no_call(cut))?));
        }
        self.errors = if ran_any { 0 } else { self.errors + 1 };
        let end = if handed_in.is_some() {
            Some(AgentEnd::Submitted)
        } else if self.errors >= FORMAT_ERRORS {
            Some(AgentEnd::ExhaustedBudget { which: Budget::FormatErrors })
        } else {
            None
        };
        if let Some(end) = &end {
            answers.push(turns::exit_message(end, handed_in.as_deref().unwrap_or_default()));
        }
        self.append(answers)?;
        self.keep(end.is_some())?;
        Ok(end)
    }

    /// Runs one call, or says why it cannot be run.
    fn answer(&self, call: &ToolCall) -> Result<(Message, Option<Ran>), CleanroomError> {
        let desk = &self.desk;
        let command = match call.command() {
            Ok(command) => command,
            Err(problem) => {
                let text = desk.prompts.format_error(&format!("Error: {problem}."))?;
                return Ok((Message::tool(&call.id, text), None));
            }
        };
        desk.live.doing(command);
        let wall = desk.policy.command_wall().min(self.wall_left().max(Duration::from_secs(1)));
        let ran = desk.ground.run(command, wall)?;
        let shown = Shown::of(&ran, desk.policy.shown_chars);
        let text = desk.prompts.observation(&shown.told(&ran))?;
        let mut extra = Extra {
            returncode: Some(i64::from(ran.returncode())),
            exception_info: Some(ran.note.clone().unwrap_or_default()),
            timestamp: Some(now_s()),
            ..Extra::default()
        };
        self.trajectory.keep_output(&mut extra, &ran.output)?;
        if ran.written > ran.output.len() as u64 {
            extra.rest.insert("written_bytes".to_owned(), ran.written.into());
        }
        Ok((Message::tool(&call.id, text).with_extra(extra), Some(ran)))
    }

    /// Records the end. `submission` is what the agent printed when it handed in.
    pub(super) fn finish(
        &mut self,
        end: AgentEnd,
        submission: &str,
    ) -> Result<AgentEnd, CleanroomError> {
        self.append(vec![turns::exit_message(&end, submission)])?;
        self.keep(true)?;
        Ok(end)
    }

    /// Keeps the state for a session that takes this up.
    pub(super) fn pause(&mut self) -> Result<(), CleanroomError> {
        self.keep(true)
    }

    fn keep(&mut self, must: bool) -> Result<(), CleanroomError> {
        let due = self.step.is_multiple_of(self.desk.policy.snapshot_every.max(1));
        if self.last_kept != Some(self.step) && self.step > 0 && (due || must) {
            self.desk.live.doing("taking a snapshot");
            self.desk.ground.keep(self.step, must)?;
            self.last_kept = Some(self.step);
        }
        Ok(())
    }

    fn append(&mut self, messages: Vec<Message>) -> Result<(), CleanroomError> {
        let mut messages = stamped(messages);
        if let Some(last) = messages.last_mut() {
            let ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
            last.extra.rest.insert(ELAPSED.to_owned(), ms.into());
        }
        self.trajectory.append(&messages)?;
        for message in &messages {
            talk::add(&mut self.conversation, message);
        }
        Ok(())
    }
}

/// Messages with a time, where they have none.
fn stamped(messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
    let stamp = |mut message: Message| {
        message.extra.timestamp.get_or_insert_with(now_s);
        message
    };
    messages.into_iter().map(stamp).collect()
}

fn elapsed(messages: &[Message]) -> Duration {
    let times = messages.iter().filter_map(|m| m.extra.rest.get(ELAPSED)?.as_u64());
    Duration::from_millis(times.max().unwrap_or(0))
}

/// What is told a model whose reply held no call.
fn no_call(cut: bool) -> &'static str {
    if cut {
        "Error: your reply was cut off at the limit of its length before it came to a tool call."
    } else {
        "Error: your reply held no tool call."
    }
}

/// Whether the command handed in: its first line is the marker, and it succeeded. Gives the rest of what it printed.
fn handed_in_with(ran: &Ran) -> Option<String> {
    handed_in(ran.returncode() == 0, &String::from_utf8_lossy(&ran.output))
}

/// As [`handed_in_with`], from a recorded answer.
fn handed_in_by(answer: &Message) -> Option<String> {
    let output = answer.extra.raw_output.as_deref().unwrap_or_default();
    handed_in(answer.extra.returncode == Some(0), output)
}

fn handed_in(success: bool, output: &str) -> Option<String> {
    let (first, rest) = match output.trim_start().split_once('\n') {
        Some((first, rest)) => (first, rest),
        None => (output.trim_start(), ""),
    };
    (success && first.trim() == SUBMIT).then(|| rest.to_owned())
}
