//! The shape of cells: the same for references and candidates, so that neither can tell the recording from the grading.

use crate::bundle::TaskBundle;
use reenact_model::Limits;
use reenact_sandbox::room::{OracleSpec, RoomSpec};
use reenact_sandbox::spec::{CellLimits, PROGRAM, WORKSPACE};
use reenact_sandbox::{CellSpec, Isolation, Mount, RootBase, Rootfs, Scratch};
use std::collections::BTreeMap;
use std::path::Path;

/// How cells are to be built, from the command line.
#[derive(Clone, Debug, Default)]
pub struct CellOptions {
    pub base: RootBase,
    pub isolation: Isolation,
}

fn limits(task: &TaskBundle, options: &CellOptions, rootfs: Rootfs) -> CellSpec {
    let l = &task.manifest.limits;
    CellSpec {
        rootfs: Rootfs { base: options.base.clone(), ..rootfs },
        limits: CellLimits {
            memory_bytes: l.memory_bytes,
            processes: l.processes,
            disk_bytes: l.disk_bytes,
            file_bytes: l.disk_bytes,
            ..CellLimits::default()
        },
        step_limits: Limits {
            wall_ms: Some(l.wall_ms),
            cpu_ms: Some(l.cpu_ms),
            output_bytes: Some(l.output_bytes),
        },
        isolation: options.isolation,
        ..CellSpec::host()
    }
}

/// A cell that runs the reference at [`PROGRAM`], with its runtime files in place.
pub fn reference_cell(task: &TaskBundle, options: &CellOptions) -> CellSpec {
    let rootfs = Rootfs { layers: task.runtime().into_iter().collect(), ..Rootfs::default() };
    let mut spec = limits(task, options, rootfs);
    spec.mounts.push(Mount { source: task.reference(), target: PROGRAM.to_owned() });
    spec
}

/// A cell that runs a candidate: its built tree read-only at `/workspace`, the reference's package files masked.
/// `upper_bound` lays the reference's runtime files over the root instead (the `reference` agent).
pub fn candidate_cell(
    task: &TaskBundle,
    built: &Path,
    upper_bound: bool,
    options: &CellOptions,
) -> CellSpec {
    let rootfs = if upper_bound {
        Rootfs { layers: task.runtime().into_iter().collect(), ..Rootfs::default() }
    } else {
        Rootfs { masks: task.manifest.reference.masks.clone(), ..Rootfs::default() }
    };
    let mut spec = limits(task, options, rootfs);
    spec.mounts.push(Mount { source: built.to_path_buf(), target: WORKSPACE.to_owned() });
    spec
}

/// A cell that builds a source tree in a writable `/workspace`, without network; the reference's package files masked.
pub fn build_cell(masks: &[String], build_wall_ms: u64, options: &CellOptions) -> CellSpec {
    CellSpec {
        rootfs: Rootfs {
            base: options.base.clone(),
            layers: Vec::new(),
            masks: masks.to_vec(),
            rust_toolchain: true,
        },
        scratch: vec![Scratch {
            target: WORKSPACE.to_owned(),
            size_bytes: 4 << 30,
            inodes: 500_000,
        }],
        limits: CellLimits {
            memory_bytes: 8 << 30,
            processes: 512,
            disk_bytes: 1 << 30,
            inodes: 200_000,
            open_files: 4096,
            file_bytes: 2 << 30,
        },
        step_limits: Limits {
            wall_ms: Some(build_wall_ms),
            cpu_ms: Some(build_wall_ms),
            output_bytes: Some(4 << 20),
        },
        isolation: options.isolation,
        ..CellSpec::host()
    }
}

/// The room in which an agent works: compilers and interpreters of the root, the reference's package files masked, the
/// reference behind an oracle. `mounts` are shown read-only beside all that; `env` are variables of every command, over the
/// standard ones.
pub fn agent_room(
    task: &TaskBundle,
    limits: CellLimits,
    mounts: Vec<Mount>,
    env: BTreeMap<String, String>,
    options: &CellOptions,
) -> RoomSpec {
    let reference = &task.manifest.reference;
    RoomSpec {
        rootfs: Rootfs {
            base: options.base.clone(),
            layers: Vec::new(),
            masks: reference.masks.clone(),
            rust_toolchain: true,
        },
        limits,
        isolation: options.isolation,
        mounts,
        hostname: "localhost".to_owned(),
        env,
        oracle: Some(OracleSpec {
            reference: task.reference(),
            layers: task.runtime().into_iter().collect(),
            secure: !reference.r#static,
            own_terminal: reference.own_terminal,
        }),
    }
}
