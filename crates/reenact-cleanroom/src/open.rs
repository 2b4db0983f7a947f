//! Opening a cleanroom for a task: seal level, room with oracle, documentation, audit.

use crate::audit::{self, AuditReport};
use crate::error::CleanroomError;
use crate::policy::Policy;
use reenact_bundle::fsx::fs_error;
use reenact_bundle::shape::{CellOptions, agent_room};
use reenact_bundle::{Progress, TaskBundle};
use reenact_model::task::Seal;
use reenact_sandbox::room::{OracleSink, Room, RoomSpec};
use reenact_sandbox::spec::CellLimits;
use reenact_sandbox::{Mount, SandboxError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Where the documentation is in the room.
pub const DOCS: &str = "/workspace/docs";

/// What one agent's room has beside the task's own.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Variables of every command, over the standard ones.
    pub env: BTreeMap<String, String>,
    /// Host files or directories shown read-only; they are audited like everything else.
    pub mounts: Vec<Mount>,
}

/// A room that is ready for an agent.
pub struct Opened {
    pub room: Room,
    pub seal: Seal,
    /// The reference can be read by a determined agent, and the policy accepts that.
    pub accepted_unsealed: bool,
    /// What a reader of the run should know: an accepted reference without a seal, missing documentation, related code that
    /// can be read.
    pub notes: Vec<String>,
    pub audit: AuditReport,
}

/// Opens a room for an agent of `task`. The documentation is at [`DOCS`] and the oracle at `/workspace/executable`; nothing
/// runs yet but the oracle's broker. Nothing of the reference can be read in it, as far as the audit can tell.
///
/// # Errors
/// [`CleanroomError::Unsealable`] unless the policy accepts it; [`CleanroomError::Exposed`] if the audit found the reference;
/// a reference that is not the manifest's; the sandbox.
pub fn open_room(
    task: &TaskBundle,
    policy: &Policy,
    cells: &CellOptions,
    setup: &Setup,
    events: OracleSink,
    progress: &dyn Progress,
) -> Result<Opened, CleanroomError> {
    let mut notes = Vec::new();
    notes.extend(seal_note(task, policy)?);
    task.verify_reference()?;
    let secret = audit::Secret::of(task)?;
    let (room, weaker) = start(task, policy, room_spec(task, policy, cells, setup), events)?;
    notes.extend(weaker);
    let accepted_unsealed = !notes.is_empty();
    notes.extend(place_docs(task, &room)?);
    let report = audit::audit(room.root(), &secret, &audit::Cache::standard(), progress)?;
    if let Some(finding) = report.exposed() {
        return Err(CleanroomError::Exposed {
            task: task.id().to_owned(),
            finding: finding.to_string(),
            remedy: finding.remedy(),
        });
    }
    notes.extend(report.notes());
    let seal = task.manifest.reference.seal;
    Ok(Opened { room, seal, accepted_unsealed, notes, audit: report })
}

/// The room's specification, for manifests and for those who need it without the rest.
pub fn room_spec(
    task: &TaskBundle,
    policy: &Policy,
    cells: &CellOptions,
    setup: &Setup,
) -> RoomSpec {
    let limits = CellLimits {
        memory_bytes: policy.memory_bytes,
        processes: policy.processes,
        disk_bytes: policy.disk_bytes,
        // Source trees with their build products; a tmpfs inode costs about 1 KiB of the same memory.
        inodes: 500_000,
        open_files: 4096,
        file_bytes: policy.disk_bytes,
    };
    agent_room(task, limits, setup.mounts.clone(), setup.env.clone(), cells)
}

/// Enforces the seal level; gives a note where a reference without one was accepted.
fn seal_note(task: &TaskBundle, policy: &Policy) -> Result<Option<String>, CleanroomError> {
    let reference = &task.manifest.reference;
    if reference.seal != Seal::Unsealable {
        return Ok(None);
    }
    let findings = reference.findings.join("; ");
    if !policy.accept_unsealed {
        return Err(CleanroomError::Unsealable { task: task.id().to_owned(), findings });
    }
    Ok(Some(format!("accepted without a seal: {findings}")))
}

/// Starts the room. A dynamic reference is run in secure-execution mode, which only root can arrange; without root it can be
/// read through the loader, so the policy must accept that. Gives a note where it did.
fn start(
    task: &TaskBundle,
    policy: &Policy,
    mut spec: RoomSpec,
    events: OracleSink,
) -> Result<(Room, Option<String>), CleanroomError> {
    if !spec.oracle.as_ref().is_some_and(|o| o.secure) {
        return Ok((Room::start(&spec, events)?, None));
    }
    // A failed start drops its sink, and a second one may be needed.
    let shared = Arc::new(Mutex::new(events));
    let sink = || -> OracleSink {
        let shared = Arc::clone(&shared);
        Box::new(move |event| shared.lock().unwrap_or_else(PoisonError::into_inner)(event))
    };
    let why = match Room::start(&spec, sink()) {
        Ok(room) => return Ok((room, None)),
        Err(SandboxError::Layer { layer, why }) => format!("{layer}: {why}"),
        Err(e) => return Err(e.into()),
    };
    if !policy.accept_unsealed {
        return Err(CleanroomError::Unsealable { task: task.id().to_owned(), findings: why });
    }
    if let Some(oracle) = spec.oracle.as_mut() {
        oracle.secure = false;
    }
    let room = Room::start(&spec, sink())?;
    Ok((room, Some(format!("accepted without a seal: {why}"))))
}

/// Copies the documentation in; it is the agent's to do with as it likes.
fn place_docs(task: &TaskBundle, room: &Room) -> Result<Option<String>, CleanroomError> {
    let docs = task.docs();
    let empty = match std::fs::read_dir(&docs) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
        Err(e) => return Err(fs_error(&docs, "read")(e).into()),
    };
    if !empty {
        room.put_tree(&docs, DOCS)?;
        return Ok(None);
    }
    let nothing = tempfile::tempdir().map_err(fs_error(&std::env::temp_dir(), "create in"))?;
    room.put_tree(nothing.path(), DOCS)?;
    Ok(Some("the task has no documentation".to_owned()))
}
