//! Command lines in docker's syntax: `--name x`, `--name=x`, `-w x`, `-wx`, `-it`, `--init=false`, `--`.

use crate::error::DockerError;

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or `=true` and `=false`.
    Nothing,
    Value,
    /// As `Nothing` or `Value`, but we do not do what it asks for; the text says why.
    Refused(&'static str),
}

/// One option of a command. Options of the same name with another spelling have the same `name`.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
}

/// A switch.
pub const fn switch(long: &'static str, short: Option<char>) -> Flag {
    Flag { name: long, long, short, takes: Takes::Nothing }
}

/// An option with a value.
pub const fn value(long: &'static str, short: Option<char>) -> Flag {
    Flag { name: long, long, short, takes: Takes::Value }
}

/// Another spelling of an option with a value.
pub const fn alias(name: &'static str, long: &'static str) -> Flag {
    Flag { name, long, short: None, takes: Takes::Value }
}

/// An option of docker's that is refused, with the reason.
pub const fn refused(long: &'static str, short: Option<char>, why: &'static str) -> Flag {
    Flag { name: long, long, short, takes: Takes::Refused(why) }
}

/// Where options end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// At the first argument, since what follows is another program's command line.
    AtFirstArgument,
    /// At `--` only.
    Never,
}

/// What was typed.
#[derive(Debug, Default)]
pub struct Parsed {
    options: Vec<(&'static str, String)>,
    /// What is no option.
    pub rest: Vec<String>,
}

impl Parsed {
    /// The last value of an option.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// All values of an option, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.options.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        self.last(name) == Some("true")
    }
}

/// Reads the words after a command.
///
/// # Errors
/// [`DockerError::Usage`], naming the option.
pub fn parse(
    command: &str,
    flags: &[Flag],
    ends: Ends,
    words: &[String],
) -> Result<Parsed, DockerError> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.rest.extend(words.cloned());
            break;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, given) =
                long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_owned())));
            let flag = flags.iter().find(|f| f.long == name).ok_or_else(|| {
                DockerError::Usage(format!(
                    "{command}: unknown flag: --{name} (`help` lists what is understood)"
                ))
            })?;
            take(command, flag, &format!("--{name}"), given, &mut words, &mut parsed)?;
        } else if word.len() > 1 && word.starts_with('-') {
            bundle(command, flags, &word[1..], &mut words, &mut parsed)?;
        } else {
            parsed.rest.push(word.clone());
            if ends == Ends::AtFirstArgument {
                parsed.rest.extend(words.cloned());
                break;
            }
        }
    }
    Ok(parsed)
}

/// `-it`, `-eNAME=VALUE`, `-w=/x`
fn bundle<'a>(
    command: &str,
    flags: &[Flag],
    letters: &str,
    words: &mut impl Iterator<Item = &'a String>,
    parsed: &mut Parsed,
) -> Result<(), DockerError> {
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        let typed = format!("-{letter}");
        let flag = flags.iter().find(|f| f.short == Some(letter)).ok_or_else(|| {
            DockerError::Usage(format!(
                "{command}: unknown shorthand flag: {letter:?} in -{letters} (`help` lists what is understood)"
            ))
        })?;
        let given = match (flag.takes, rest.strip_prefix('=')) {
            (_, Some(value)) => Some(value.to_owned()),
            (Takes::Value, None) if !rest.is_empty() => Some(rest.to_owned()),
            _ => None,
        };
        let whole = given.is_some();
        take(command, flag, &typed, given, words, parsed)?;
        if whole {
            break;
        }
    }
    Ok(())
}

fn take<'a>(
    command: &str,
    flag: &Flag,
    typed: &str,
    given: Option<String>,
    words: &mut impl Iterator<Item = &'a String>,
    parsed: &mut Parsed,
) -> Result<(), DockerError> {
    let value = match flag.takes {
        Takes::Refused(_) if given.as_deref() == Some("false") => return Ok(()),
        Takes::Refused(why) => {
            return Err(DockerError::Usage(format!("{command}: {typed} is refused: {why}")));
        }
        Takes::Nothing => match given.as_deref() {
            None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => "true".to_owned(),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => "false".to_owned(),
            Some(other) => {
                return Err(DockerError::Usage(format!(
                    "{command}: {typed}={other}: expected true or false"
                )));
            }
        },
        Takes::Value => match given.or_else(|| words.next().cloned()) {
            Some(value) => value,
            None => {
                return Err(DockerError::Usage(format!(
                    "{command}: flag needs an argument: {typed}"
                )));
            }
        },
    };
    parsed.options.push((flag.name, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [Flag; 7] = [
        switch("detach", Some('d')),
        switch("interactive", Some('i')),
        value("name", None),
        value("env", Some('e')),
        value("network", None),
        alias("network", "net"),
        refused("tty", Some('t'), "there are no terminals"),
    ];

    fn read(line: &str) -> Result<Parsed, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse("run", &FLAGS, Ends::AtFirstArgument, &words).map_err(|e| e.to_string())
    }

    #[test]
    fn every_spelling_is_understood() {
        let p = read("-di --name=a --name b -eX=1 -e Y=2 -e=Z=3 --net host image -e --x").unwrap();
        assert!(p.on("detach") && p.on("interactive"));
        assert_eq!(p.last("name"), Some("b"));
        assert_eq!(p.all("env").collect::<Vec<_>>(), ["X=1", "Y=2", "Z=3"]);
        assert_eq!(p.last("network"), Some("host"));
        assert_eq!(p.rest, ["image", "-e", "--x"]);
        assert!(!read("-d=false x").unwrap().on("detach"));
        assert_eq!(read("-- --name").unwrap().rest, ["--name"]);
        assert!(read("--tty=false x").is_ok());
    }

    #[test]
    fn options_may_follow_arguments_where_nothing_else_does() {
        let words = ["a", "-d", "b", "--", "-x"].map(str::to_owned);
        let p = parse("rm", &FLAGS, Ends::Never, &words).unwrap();
        assert!(p.on("detach"));
        assert_eq!(p.rest, ["a", "b", "-x"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, part) in [
            ("--frob x", "unknown flag: --frob"),
            ("-dz x", "'z' in -dz"),
            ("--name", "needs an argument: --name"),
            ("-it x", "-t is refused: there are no terminals"),
            ("-d=maybe x", "expected true or false"),
        ] {
            let said = read(line).unwrap_err();
            assert!(said.contains(part), "{line}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_typed_makes_it_panic(words in proptest::collection::vec("[-=a-zé]{0,6}", 0..8)) {
            // Either answer will do; that there is one is the claim.
            for ends in [Ends::AtFirstArgument, Ends::Never] {
                if let Ok(p) = parse("run", &FLAGS, ends, &words) {
                    proptest::prop_assert!(p.rest.len() <= words.len());
                }
            }
        }
    }
}
