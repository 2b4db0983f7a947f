//! What `run` and `exec` were asked for. Only reads the command line (and env files): nothing is looked up in images.

mod table;
mod values;

pub use values::seconds;

use crate::error::DockerError;
use crate::flags::{self, Ends};
use crate::units;
use std::collections::BTreeMap;
use std::path::PathBuf;
use table::{EXEC, RUN};
use values::{
    accepted, cpus, environment, host_network, hostname, label, mounts, name, no_new_privileges,
    processes, pull, warnings, workdir,
};

/// When to get an image that is not in the store, or again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    Missing,
    Always,
    Never,
}

/// `run` and `create`.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub detach: bool,
    pub init: bool,
    pub remove: bool,
    pub interactive: bool,
    pub quiet: bool,
    pub proxy_signals: bool,
    pub name: Option<String>,
    pub workdir: Option<String>,
    pub cpus: Option<f64>,
    pub memory: Option<u64>,
    pub host_network: bool,
    pub user: Option<String>,
    pub capabilities: u64,
    pub no_new_privileges: bool,
    /// In order; later ones win.
    pub env: Vec<(String, String)>,
    pub entrypoint: Option<String>,
    pub hostname: Option<String>,
    pub mounts: Vec<(PathBuf, String)>,
    pub pull: Pull,
    pub shm_bytes: Option<u64>,
    pub processes: Option<u32>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<i32>,
    pub stop_seconds: Option<u64>,
    pub cidfile: Option<PathBuf>,
    /// What was accepted without being done; told on standard error.
    pub warnings: Vec<String>,
    pub image: String,
    pub command: Vec<String>,
}

/// `exec`.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    pub detach: bool,
    pub interactive: bool,
    pub workdir: Option<String>,
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub container: String,
    pub command: Vec<String>,
}

/// Reads the command line of `exec`.
///
/// # Errors
/// [`DockerError::Usage`].
pub fn exec(words: &[String]) -> Result<ExecOptions, DockerError> {
    let p = flags::parse("exec", &EXEC, Ends::AtFirstArgument, words)?;
    let [container, command @ ..] = p.rest.as_slice() else {
        return Err(DockerError::usage("exec: expected CONTAINER COMMAND [ARG…]"));
    };
    if command.is_empty() {
        return Err(DockerError::usage("exec: expected a command after the container"));
    }
    Ok(ExecOptions {
        detach: p.on("detach"),
        interactive: p.on("interactive"),
        workdir: workdir(&p)?,
        env: environment(&p)?,
        user: p.last("user").map(str::to_owned),
        container: container.clone(),
        command: command.to_vec(),
    })
}

/// Reads the command line of `run`. `host_by_default`: no `--network`, and `bridge`, mean the host's network.
///
/// # Errors
/// [`DockerError::Usage`].
pub fn run(words: &[String], host_by_default: bool) -> Result<RunOptions, DockerError> {
    let p = flags::parse("run", &RUN, Ends::AtFirstArgument, words)?;
    let [image, command @ ..] = p.rest.as_slice() else {
        return Err(DockerError::usage("run: expected [OPTIONS] IMAGE [COMMAND] [ARG…]"));
    };
    accepted(&p)?;
    let size = |name: &str, flag: &str| p.last(name).map(|t| units::bytes(flag, t)).transpose();
    Ok(RunOptions {
        detach: p.on("detach"),
        init: p.on("init"),
        remove: p.on("rm"),
        interactive: p.on("interactive"),
        quiet: p.on("quiet"),
        proxy_signals: p.last("sig-proxy") != Some("false"),
        name: p.last("name").map(name).transpose()?,
        workdir: workdir(&p)?,
        cpus: cpus(&p)?,
        memory: size("memory", "--memory")?.filter(|b| *b > 0),
        host_network: host_network(&p, host_by_default)?,
        user: p.last("user").map(str::to_owned),
        capabilities: units::capabilities(p.all("cap-drop"), p.all("cap-add"))?,
        no_new_privileges: no_new_privileges(&p)?,
        env: environment(&p)?,
        entrypoint: p.last("entrypoint").map(str::to_owned),
        hostname: p.last("hostname").map(hostname).transpose()?,
        mounts: mounts(&p)?,
        pull: pull(&p)?,
        shm_bytes: size("shm-size", "--shm-size")?.filter(|b| *b > 0),
        processes: processes(&p)?,
        labels: p.all("label").map(label).collect(),
        stop_signal: p.last("stop-signal").map(units::signal).transpose()?,
        stop_seconds: p.last("stop-timeout").map(|t| seconds("--stop-timeout", t)).transpose()?,
        cidfile: p.last("cidfile").map(PathBuf::from),
        warnings: warnings(&p)?,
        image: image.clone(),
        command: command.to_vec(),
    })
}
#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn of(line: &str) -> Result<RunOptions, String> {
        run(&words(line), false).map_err(|e| e.to_string())
    }

    #[test]
    fn the_command_lines_of_harnesses() {
        let o = of("-d --init --name programbench-0123456789ab -w /workspace --cpus 10 \
                    -e PYTEST_XDIST_AUTO_NUM_WORKERS=10 -e PYTEST_ADDOPTS=--max-worker-restart=4 \
                    --init org/image:tag sleep 2h")
        .unwrap();
        assert!(o.detach && o.init && !o.remove && !o.host_network);
        assert_eq!(o.cpus, Some(10.0));
        assert_eq!(o.env[1], ("PYTEST_ADDOPTS".to_owned(), "--max-worker-restart=4".to_owned()));
        assert_eq!((o.image.as_str(), o.command.len()), ("org/image:tag", 2));
        let o = of("-d --name minisweagent-01234567 -w /workspace --rm --network none --cpus 20 \
                    --memory 60g --memory-swap 60g --user agent --cap-drop SYS_PTRACE i sleep 7h")
        .unwrap();
        assert_eq!((o.memory, o.user.as_deref(), o.remove), (Some(60 << 30), Some("agent"), true));
    }

    #[test]
    fn limits_of_processes_are_dockers() {
        assert_eq!(of("i").unwrap().processes, None);
        assert_eq!(of("--pids-limit 100 i").unwrap().processes, Some(100));
        for none in ["-1", "0", "4294967295", "9223372036854775807"] {
            let o = of(&format!("--pids-limit {none} i")).unwrap();
            assert_eq!(o.processes, Some(1 << 22), "{none}");
        }
        assert!(of("--pids-limit many i").unwrap_err().contains("--pids-limit"));
    }

    #[test]
    fn what_is_left_out_is_told() {
        for (line, told) in [
            ("--memory 1g --memory-swap 1g i", None),
            ("--memory 1g --memory-swap 1024m i", None),
            ("--memory 1g --memory-swap 2g i", Some("--memory-swap 2g")),
            ("--memory 1g --memory-swap -1 i", Some("--memory-swap -1")),
            ("--memory-swap 1g i", Some("--memory-swap 1g")),
            ("--memory-reservation 1g i", Some("--memory-reservation 1g")),
            ("--ulimit nofile=1 i", Some("--ulimit nofile=1")),
        ] {
            let warnings = of(line).unwrap().warnings;
            assert_eq!(warnings.len(), usize::from(told.is_some()), "{line}: {warnings:?}");
            assert!(warnings.iter().all(|w| w.contains(told.unwrap())), "{warnings:?}");
        }
        assert!(of("--memory-reservation x i").is_err());
    }

    #[test]
    fn what_we_do_not_do_is_refused_by_name() {
        for (line, part) in [
            ("-it i", "-t is refused"),
            ("--privileged i", "--privileged is refused"),
            ("-p 80:80 i", "-p is refused"),
            ("-v /tmp:/x i", "--volume /tmp:/x: refused"),
            ("-v name:/x:ro i", "absolute"),
            ("--platform linux/arm64 i", "--platform linux/arm64 is refused"),
            ("--network mynet i", "--network \"mynet\": refused"),
            ("--security-opt seccomp=unconfined i", "--security-opt seccomp=unconfined: refused"),
            ("--ulimit core=0 i", "--ulimit core=0: refused"),
            ("--restart always i", "--restart always is refused"),
            ("--frobnicate i", "unknown flag: --frobnicate"),
            ("-w rel i", "absolute path"),
            ("--name ../x i", "Invalid container name"),
            ("--cpus many i", "--cpus"),
            ("--memory-swap x i", "--memory-swap"),
            ("-d", "expected [OPTIONS] IMAGE"),
        ] {
            let said = of(line).unwrap_err();
            assert!(said.contains(part), "{line}: {said}");
        }
        assert!(exec(&words("-it c sh")).unwrap_err().to_string().contains("-t is refused"));
        assert!(exec(&words("--privileged c sh")).is_err());
        assert!(exec(&words("c")).is_err());
    }

    #[test]
    fn networks_and_binds() {
        assert!(of("--net=host i").unwrap().host_network);
        assert!(run(&words("--network bridge i"), true).unwrap().host_network);
        assert!(!run(&words("--network none i"), true).unwrap().host_network);
        let o = of("-v /usr:/host:ro --mount type=bind,src=/usr,dst=/b,readonly i").unwrap();
        assert_eq!(o.mounts.len(), 2);
        assert!(of("--mount type=bind,src=/usr,dst=/b i").is_err());
    }

    #[test]
    fn exec_takes_all_of_the_command() {
        let o = exec(&words("-i -w /w -e A=1 -u agent box bash -lc ls")).unwrap();
        assert!(o.interactive && !o.detach);
        assert_eq!((o.container.as_str(), o.command.join(" ").as_str()), ("box", "bash -lc ls"));
    }
}
