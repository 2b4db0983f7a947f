//! Reading a probe's arguments as its program would: subcommands, options with their values, operands.

use reenact_model::surface::{DocumentedOption, DocumentedSurface};

/// A command line, understood as far as the documentation goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    /// Path of the subcommand; empty: none.
    pub command: Vec<String>,
    /// Documented options in order, by index in the surface, with the value that each was given.
    pub options: Vec<(usize, Option<String>)>,
    /// Words that look like options and are not documented.
    pub unknown: Vec<String>,
    /// What is no option, no value and no subcommand.
    pub operands: Vec<String>,
    /// An option that needs a value stood last.
    pub value_missing: bool,
}

/// Reads the arguments after the program's name.
pub(crate) fn read(surface: &DocumentedSurface, args: &[String]) -> Call {
    let mut reader = Reader { surface, args, at: 0, call: Call::default() };
    while let Some(word) = args.get(reader.at) {
        reader.at += 1;
        if word == "--" {
            reader.call.operands.extend_from_slice(&args[reader.at..]);
            break;
        }
        reader.word(word);
    }
    reader.call
}

struct Reader<'a> {
    surface: &'a DocumentedSurface,
    args: &'a [String],
    at: usize,
    call: Call,
}

impl Reader<'_> {
    fn word(&mut self, word: &str) {
        if !word.starts_with('-') || word == "-" || is_number(word) && self.exact(word).is_none() {
            return self.operand(word);
        }
        // Names of several letters after one dash (`-append`, Go's flags) go before bundles of letters.
        let (name, glued) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let known = if word.starts_with("--") {
            self.exact(name).or_else(|| self.prefix(name))
        } else if name.chars().count() > 2 {
            self.exact(name)
        } else {
            None
        };
        match known {
            Some(index) => self.option(index, glued.map(str::to_owned)),
            None if word.starts_with("--") => self.call.unknown.push(name.to_owned()),
            None => self.bundle(word),
        }
    }

    fn operand(&mut self, word: &str) {
        if self.call.operands.is_empty() {
            let mut longer = self.call.command.clone();
            longer.push(word.to_owned());
            if self.surface.subcommands.contains(&longer) {
                self.call.command = longer;
                return;
            }
        }
        self.call.operands.push(word.to_owned());
    }

    /// Documented options that may stand here: the subcommand's own, then those of what it belongs to.
    fn here(&self) -> impl Iterator<Item = (usize, &DocumentedOption)> {
        let mut all: Vec<(usize, &DocumentedOption)> = self
            .surface
            .options
            .iter()
            .enumerate()
            .filter(|(_, o)| self.call.command.starts_with(&o.command))
            .collect();
        all.sort_by_key(|(_, o)| std::cmp::Reverse(o.command.len()));
        all.into_iter()
    }

    fn exact(&self, name: &str) -> Option<usize> {
        self.here().find(|(_, o)| o.names.iter().any(|n| n == name)).map(|(i, _)| i)
    }

    /// A long option cut short, as getopt_long takes it where only one begins so.
    fn prefix(&self, name: &str) -> Option<usize> {
        if name.len() < 3 {
            return None;
        }
        let mut fitting = self
            .here()
            .filter(|(_, o)| o.names.iter().any(|n| n.starts_with(name)))
            .map(|(i, _)| i);
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// An option with `glued`, or with what follows where it needs a value.
    fn option(&mut self, index: usize, glued: Option<String>) {
        let option = &self.surface.options[index];
        let mut value = glued;
        if value.is_none() && option.takes_value() && !option.optional {
            value = self.args.get(self.at).cloned();
            self.call.value_missing |= value.is_none();
            self.at += 1;
        }
        // Further values, of options that take several, are always separate words.
        let more = option.values.len().saturating_sub(1);
        if value.is_some() && more > 0 {
            self.call.value_missing |= self.at + more > self.args.len();
            self.at += more;
        }
        self.at = self.at.min(self.args.len());
        self.call.options.push((index, value));
    }

    /// `-abc`, `-w40`, `-w 40`, `-w=40`.
    fn bundle(&mut self, word: &str) {
        let letters: Vec<(usize, char)> = word.char_indices().skip(1).collect();
        for (n, (at, letter)) in letters.iter().enumerate() {
            let rest = &word[at + letter.len_utf8()..];
            let Some(index) = self.exact(&format!("-{letter}")) else {
                if n == 0 {
                    // The first letter is unknown: so is the word, whatever the others are.
                    return self.call.unknown.push(word.to_owned());
                }
                return self.call.unknown.push(format!("-{letter}"));
            };
            let option = &self.surface.options[index];
            let takes_rest =
                option.takes_value() && !rest.is_empty() && (!option.optional || option.glued);
            if takes_rest || rest.starts_with('=') {
                let value = rest.strip_prefix('=').unwrap_or(rest);
                return self.option(index, Some(value.to_owned()));
            }
            self.option(index, None);
            if option.takes_value() && !option.optional {
                return;
            }
        }
    }
}

/// `-1`, `-0.5`: an operand, unless such an option is documented.
fn is_number(word: &str) -> bool {
    word.len() > 1 && word[1..].chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::surface;
    use super::*;

    /// `key=value` of every option, then the rest.
    fn shape(args: &str) -> String {
        let surface = surface();
        let args: Vec<String> =
            args.split(' ').filter(|a| !a.is_empty()).map(str::to_owned).collect();
        let call = read(&surface, &args);
        let mut words = call.command.clone();
        words.extend(call.options.iter().map(|(i, v)| match v {
            Some(v) => format!("{}={v}", surface.options[*i].key()),
            None => surface.options[*i].key(),
        }));
        words.extend(call.unknown.iter().map(|u| format!("?{u}")));
        words.extend(call.operands.iter().map(|o| format!("<{o}>")));
        if call.value_missing {
            words.push("!".to_owned());
        }
        words.join(" ")
    }

    #[test]
    fn long_options_with_equals_separate_values_and_prefixes() {
        assert_eq!(shape("--width=40 a"), "--width=40 <a>");
        assert_eq!(shape("--width 40 a"), "--width=40 <a>");
        assert_eq!(shape("--wid 40"), "--width=40");
        assert_eq!(shape("--co a"), "?--co <a>", "two options begin so");
        assert_eq!(shape("--color a"), "--color <a>", "an optional value is not the next word");
        assert_eq!(shape("--color=always"), "--color=always");
        assert_eq!(shape("--width"), "--width !");
        assert_eq!(shape("--nope=1 x"), "?--nope <x>");
    }

    #[test]
    fn bundles_and_glued_values() {
        assert_eq!(shape("-ac"), "--all --count");
        assert_eq!(shape("-aw40 x"), "--all --width=40 <x>");
        assert_eq!(shape("-w 40"), "--width=40");
        assert_eq!(shape("-w=40"), "--width=40");
        assert_eq!(shape("-aZc"), "--all ?-Z");
        assert_eq!(shape("-Za"), "?-Za");
        assert_eq!(shape("-append"), "-append");
        assert_eq!(shape("-B4 -B x"), "-B=4 -B <x>");
    }

    #[test]
    fn ends_of_options_numbers_and_stdin() {
        assert_eq!(shape("-a -- -c --width"), "--all <-c> <--width>");
        assert_eq!(shape("- -5 -0.5"), "<-> <-5> <-0.5>");
        assert_eq!(shape("-7"), "-7", "documented");
    }

    #[test]
    fn subcommands_have_their_own_options_and_those_of_the_program() {
        assert_eq!(
            shape("remote add --force -a x y"),
            "remote add remote add --force --all <x> <y>"
        );
        assert_eq!(shape("--force remote"), "remote ?--force");
        assert_eq!(shape("x remote"), "<x> <remote>", "after an operand it is one itself");
        assert_eq!(shape("--pair 1 2 3"), "--pair=1 <3>");
        assert_eq!(shape("--pair 1"), "--pair=1 !");
    }
}
