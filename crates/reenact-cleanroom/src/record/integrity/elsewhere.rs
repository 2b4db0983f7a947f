//! Rules about what lies outside the workspace: packages, the network, and copies of the reference.

use super::rules::{Known, pattern};
use regex::Regex;
use std::sync::LazyLock;

static URL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:https?|ftp|git|ssh|rsync)://(?:[^/@]*@)?([^/:]+)"));

pub(super) fn fetches_package(program: &str, arguments: &[String]) -> bool {
    let plain: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|w| !w.starts_with('-')).collect();
    let verb = plain.first().copied().unwrap_or_default();
    let has =
        |flag: &str| arguments.iter().any(|w| w == flag || w.starts_with(&format!("{flag}=")));
    // Something of the agent's own, or of what is there already.
    let local = |w: &&str| w.starts_with('.') || w.starts_with('/') || w.ends_with(".whl");
    match program {
        "apt" | "apt-get" | "aptitude" => {
            matches!(verb, "install" | "update" | "source" | "download" | "build-dep" | "upgrade")
        }
        "dpkg" => has("-i") || has("--install") || has("-x"),
        "yum" | "dnf" | "apk" | "brew" | "snap" | "conda" | "mamba" | "zypper" | "nix-env"
        | "flatpak" => {
            matches!(verb, "install" | "add" | "update" | "download" | "fetch" | "create")
        }
        "pacman" => arguments.iter().any(|w| w.starts_with("-S")),
        "pip" | "pip3" | "pipx" | "uv" => {
            matches!(verb, "install" | "download" | "add" | "pip")
                && !has("--no-index")
                && !plain[1..].iter().any(local)
                && !has("-r")
                && !has("-e")
        }
        "npm" | "pnpm" | "yarn" => {
            matches!(verb, "install" | "i" | "add" | "pack" | "view")
                && plain.len() > 1
                && !plain[1..].iter().any(local)
        }
        "npx" => true,
        "cargo" => {
            let fetching = matches!(
                verb,
                "install" | "add" | "search" | "download" | "fetch" | "info" | "update" | "vendor"
            );
            fetching
                && !has("--path")
                && !has("--offline")
                && !has("--frozen")
                && (plain.len() > 1 || verb == "update")
        }
        "go" => {
            verb == "get"
                || (verb == "install" && plain.iter().any(|w| w.contains('@')))
                || plain.starts_with(&["mod", "download"])
        }
        "gem" | "luarocks" | "cpan" | "cpanm" | "cabal" | "opam" | "composer" | "rustup" => {
            matches!(verb, "install" | "fetch" | "download" | "update" | "require" | "toolchain")
                || matches!(program, "cpan" | "cpanm")
        }
        _ => false,
    }
}

pub(super) fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]" | "0.0.0.0")
        || host.starts_with("127.")
}

pub(super) fn uses_network(program: &str, arguments: &[String]) -> bool {
    let plain = || arguments.iter().filter(|w| !w.starts_with('-'));
    let host = |w: &String| URL.captures(w).and_then(|c| c.get(1)).map(|m| m.as_str().to_owned());
    let remote = |w: &String| {
        let url = host(w).is_some_and(|h| !is_local(&h));
        // git@host:path, user@host:path
        url || (w.contains('@') && w.contains(':') && !w.contains("://"))
    };
    match program {
        "curl" | "wget" | "aria2c" | "lynx" | "links" | "w3m" | "http" | "https" => {
            // Hosts may stand without a scheme.
            plain().any(|w| {
                remote(w)
                    || (host(w).is_none()
                        && w.contains('.')
                        && !is_local(w.split(['/', ':']).next().unwrap_or_default())
                        && !w.starts_with(['.', '/'])
                        && w.contains('/'))
            })
        }
        "git" => {
            let verb = plain().next().map(String::as_str).unwrap_or_default();
            let speaks =
                matches!(verb, "clone" | "fetch" | "pull" | "push" | "ls-remote" | "submodule");
            speaks && plain().any(remote)
        }
        "ssh" | "telnet" | "ftp" | "sftp" | "ping" | "dig" | "nslookup" | "host" | "traceroute" => {
            plain().any(|w| !is_local(w))
        }
        "scp" | "rsync" => plain().any(|w| w.contains(':') && !w.starts_with(['.', '/'])),
        "nc" | "ncat" | "socat" | "netcat" => {
            !arguments.iter().any(|w| w.starts_with("-l"))
                && plain()
                    .next()
                    .is_some_and(|w| w.contains('.') && !is_local(w) && !w.contains('/'))
        }
        _ => false,
    }
}

pub(super) fn searches(program: &str, arguments: &[String], known: &Known) -> bool {
    let tells = |w: &str| {
        let word = w.to_ascii_lowercase();
        known.names.iter().any(|n| {
            n.len() >= 2
                && word.trim_matches(['*', '?']).trim_end_matches('.') == n.to_ascii_lowercase()
                || (n.len() >= 4 && word.contains(&n.to_ascii_lowercase()))
        })
    };
    // Where packages, caches and sources lie, and the agent's own work does not.
    let elsewhere = |w: &String| {
        let outside = ["/workspace", "/tmp", "/home", "/proc", "/dev", "~", "$HOME"];
        w.starts_with('/') && !outside.iter().any(|o| w.starts_with(o))
    };
    let caches = [
        ".cargo/registry",
        "pkg/mod",
        "/usr/src",
        ".cache/pip",
        "site-packages",
        "/usr/share/doc/",
        "/var/cache/apt",
    ];
    let in_cache = |w: &String| caches.iter().any(|c| w.contains(c));
    match program {
        "find" | "fd" | "fdfind" => {
            let roots = arguments.iter().take_while(|w| !w.starts_with('-'));
            let mut roots = roots.peekable();
            let away = roots.peek().is_some() && roots.any(|w| elsewhere(w) || w == "/");
            let name = arguments.windows(2).any(|w| {
                matches!(
                    w[0].as_str(),
                    "-name" | "-iname" | "-path" | "-ipath" | "-regex" | "-wholename"
                ) && tells(&w[1])
            });
            (away && name) || arguments.iter().any(in_cache)
        }
        "which" | "whereis" | "type" | "locate" | "man" | "apropos" => {
            arguments.iter().any(|w| tells(w))
        }
        "command" => {
            arguments.iter().any(|w| w == "-v" || w == "-V") && arguments.iter().any(|w| tells(w))
        }
        "dpkg" | "dpkg-query" | "apt-cache" | "apt" | "rpm" => {
            arguments.iter().any(|w| !w.starts_with('-') && tells(w))
        }
        "ls" | "cat" | "cd" | "tree" | "cp" | "grep" | "rg" | "head" | "less" | "zcat" | "tar" => {
            arguments.iter().any(|w| {
                in_cache(w) && (tells(w) || w.contains("registry") || w.contains("pkg/mod"))
            }) || arguments
                .iter()
                .any(|w| elsewhere(w) && known.masks.contains(w.trim_end_matches('/')))
        }
        _ => false,
    }
}
