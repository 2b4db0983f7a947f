//! Commands that run other commands.

use super::shell::Simple;

/// Programs that read commands.
pub fn is_shell(program: &str) -> bool {
    matches!(program, "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" | "busybox")
}

/// The rest of the words is another command; by program, with the options that take a value of their own.
const PREFIXES: [(&str, &[&str]); 24] = [
    ("sudo", &["-u", "-g"]),
    ("doas", &["-u"]),
    ("env", &["-u", "-C", "-S"]),
    ("timeout", &["-s", "-k", "--signal", "--kill-after"]),
    ("nice", &["-n"]),
    ("ionice", &["-c", "-n"]),
    ("nohup", &[]),
    ("time", &["-f", "-o"]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("setsid", &[]),
    ("exec", &["-a"]),
    ("command", &[]),
    ("builtin", &[]),
    ("xargs", &["-I", "-n", "-P", "-L", "-d", "-s", "-a", "-E"]),
    ("parallel", &["-j"]),
    ("watch", &["-n"]),
    ("unbuffer", &[]),
    ("setarch", &[]),
    ("linux64", &[]),
    ("taskset", &["-c"]),
    ("chrt", &[]),
    ("unshare", &[]),
    ("fakeroot", &[]),
    ("proxychains", &[]),
];

/// The command that `outer` runs with its own words; `None` if it is no wrapper.
pub fn inner(outer: &Simple) -> Option<Vec<String>> {
    let program = outer.program();
    let words = outer.arguments();
    if program == "find" {
        let from = words.iter().position(|w| matches!(w.as_str(), "-exec" | "-execdir" | "-ok"))?;
        let rest = &words[from + 1..];
        let to = rest.iter().position(|w| w == ";" || w == "+").unwrap_or(rest.len());
        return Some(rest[..to].to_vec());
    }
    if program == "busybox" {
        return Some(words.to_vec());
    }
    let (_, valued) = PREFIXES.iter().find(|(name, _)| *name == program)?;
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|w| w.starts_with('-')) {
        at += 1 + usize::from(valued.contains(&word.as_str()));
        if word == "--" {
            break;
        }
    }
    // A duration, a mask of processors.
    if matches!(program, "timeout" | "taskset" | "chrt") && !words[at.min(words.len())..].is_empty()
    {
        at += usize::from(!(program == "taskset" && words.iter().any(|w| w == "-c")));
    }
    words.get(at..).map(<[String]>::to_vec)
}

/// Texts that `outer` runs as shell commands.
pub fn scripts(outer: &Simple) -> Vec<String> {
    let words = outer.arguments();
    let program = outer.program();
    let after = |flags: &[&str]| {
        let at = words.iter().position(|w| {
            // `-lc` and the like are several flags in one word.
            let joined = w.len() > 2 && w.starts_with('-') && !w.starts_with("--");
            flags.contains(&w.as_str()) || (joined && flags == ["-c"] && w.ends_with('c'))
        })?;
        words.get(at + 1).cloned()
    };
    match program {
        "eval" => vec![words.join(" ")],
        "script" => after(&["-c", "--command"]).into_iter().collect(),
        "su" => after(&["-c"]).into_iter().collect(),
        // A command typed into a terminal, or run in one.
        "tmux" | "screen" => words.iter().filter(|w| w.contains(' ')).cloned().collect(),
        p if is_shell(p) => {
            let mut scripts: Vec<String> = after(&["-c"]).into_iter().collect();
            // `bash <<< "commands"`; here-documents are handled where their bodies are read.
            scripts.extend(outer.input.iter().cloned());
            scripts
        }
        _ => Vec::new(),
    }
}
