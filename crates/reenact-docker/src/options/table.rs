//! The options of `run` and `exec`, with those of docker's that are refused.

use crate::flags::{Flag, alias, refused, switch, value};

const NO_TERMINAL: &str =
    "containers have no terminal here; leave it out (`-i` alone passes standard input)";
const NO_DEVICES: &str = "containers have no devices of the host";
const NO_PRIVILEGE: &str = "no container is ever privileged";
pub const NO_NETWORKS: &str =
    "there are no networks to configure, only `--network none` and `host`";
const NOT_HERE: &str = "not supported by `reenact docker`";

pub const RUN: [Flag; 60] = [
    switch("detach", Some('d')),
    switch("init", None),
    switch("rm", None),
    switch("interactive", Some('i')),
    switch("quiet", Some('q')),
    switch("sig-proxy", None),
    switch("no-healthcheck", None),
    value("name", None),
    value("workdir", Some('w')),
    value("cpus", None),
    value("memory", Some('m')),
    value("memory-swap", None),
    value("memory-reservation", None),
    value("network", None),
    alias("network", "net"),
    value("user", Some('u')),
    value("cap-drop", None),
    value("cap-add", None),
    value("security-opt", None),
    value("env", Some('e')),
    value("env-file", None),
    value("entrypoint", None),
    value("hostname", Some('h')),
    value("volume", Some('v')),
    value("mount", None),
    value("platform", None),
    value("pull", None),
    value("shm-size", None),
    value("pids-limit", None),
    value("ulimit", None),
    value("label", Some('l')),
    value("stop-signal", None),
    value("stop-timeout", None),
    value("cidfile", None),
    value("restart", None),
    value("ipc", None),
    value("log-driver", None),
    value("cgroupns", None),
    refused("tty", Some('t'), NO_TERMINAL),
    refused("privileged", None, NO_PRIVILEGE),
    refused("device", None, NO_DEVICES),
    refused("gpus", None, NO_DEVICES),
    refused("publish", Some('p'), NO_NETWORKS),
    refused("publish-all", Some('P'), NO_NETWORKS),
    refused("add-host", None, NO_NETWORKS),
    refused("dns", None, NO_NETWORKS),
    refused("ip", None, NO_NETWORKS),
    refused("expose", None, NO_NETWORKS),
    refused("link", None, NO_NETWORKS),
    refused("read-only", None, NOT_HERE),
    refused("tmpfs", None, NOT_HERE),
    refused("volumes-from", None, NOT_HERE),
    refused("pid", None, "a container always has processes of its own"),
    refused("userns", None, NOT_HERE),
    refused("group-add", None, NOT_HERE),
    refused("sysctl", None, NOT_HERE),
    refused("cpuset-cpus", None, "not supported by `reenact docker`; use --cpus"),
    refused("cpu-shares", Some('c'), "not supported by `reenact docker`; use --cpus"),
    refused("runtime", None, NOT_HERE),
    refused("attach", Some('a'), NOT_HERE),
];

pub const EXEC: [Flag; 9] = [
    switch("detach", Some('d')),
    switch("interactive", Some('i')),
    value("workdir", Some('w')),
    value("env", Some('e')),
    value("env-file", None),
    value("user", Some('u')),
    refused("tty", Some('t'), NO_TERMINAL),
    refused("privileged", None, NO_PRIVILEGE),
    refused("detach-keys", None, NO_TERMINAL),
];
