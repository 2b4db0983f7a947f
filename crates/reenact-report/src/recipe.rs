//! A case as shell commands that a person can paste. `$PROGRAM` stands for the executable under test.

use crate::visible::is_unsafe;
use reenact_model::{Case, Content, FileSpec, NoBlobs, Step};

/// Bytes of a recipe; a longer one is cut, and says so.
const MAX_BYTES: usize = 16 << 10;
/// Lines of a here-document; longer input is not worth reading in a recipe.
const MAX_HERE_LINES: usize = 60;

/// Commands that put the files in place and run the steps. Never holds control characters but newlines.
pub(crate) fn recipe(case: &Case) -> String {
    let mut out = String::new();
    if inputs_have_blobs(case) {
        out.push_str("# SUITE is the directory of the task's suite\n");
    }
    for (path, spec) in &case.files {
        out.push_str(&place(path, spec));
    }
    for step in &case.steps {
        out.push_str(&invocation(step));
    }
    if out.len() > MAX_BYTES {
        let mut end = MAX_BYTES;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        let id = crate::visible::text(case.id.as_bytes());
        out.push_str(&format!(
            "\n# cut here: too long to show; case {id} of the suite has it all\n"
        ));
    }
    out
}

fn inputs_have_blobs(case: &Case) -> bool {
    let files = case.files.values().filter_map(|spec| match spec {
        FileSpec::File { content, .. } => Some(content),
        FileSpec::Symlink(_) | FileSpec::Dir => None,
    });
    let stdins = case.steps.iter().filter_map(|s| s.stdin.as_ref());
    files.chain(stdins).any(|content| content.blob_digest().is_some())
}

/// The first step's command on one line, at most `max` characters: for lists.
pub(crate) fn one_line(case: &Case, max: usize) -> String {
    let step = case.steps.first();
    let mut out = "$PROGRAM".to_owned();
    for arg in step.iter().flat_map(|s| &s.argv) {
        out.push(' ');
        out.push_str(&quote(arg));
    }
    if let Some(content) = step.and_then(|s| s.stdin.as_ref()) {
        let size = content.bytes(&NoBlobs).map(|b| b.len());
        out.push_str(&size.map_or(" <stdin".to_owned(), |n| format!(" <{n}-byte stdin")));
    }
    if step.is_some_and(|s| s.tty.is_some()) {
        out.push_str(" (terminal)");
    }
    if case.steps.len() > 1 {
        out.push_str(&format!(" … {} steps", case.steps.len()));
    }
    if out.chars().count() > max {
        out = out.chars().take(max.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

fn place(path: &str, spec: &FileSpec) -> String {
    let mut out = String::new();
    if let Some((parent, _)) = path.rsplit_once('/') {
        out.push_str(&format!("mkdir -p {}\n", operand(parent)));
    }
    match spec {
        FileSpec::Dir => out.push_str(&format!("mkdir -p {}\n", operand(path))),
        FileSpec::Symlink(target) => {
            out.push_str(&format!("ln -s -- {} {}\n", quote(target), quote(path)));
        }
        FileSpec::File { content, executable } => {
            out.push_str(&match source(content) {
                Source::Blob(file) => format!("cp {file} {}\n", operand(path)),
                Source::Here(here) => {
                    format!("cat >{} <<'{}'\n{}{}\n", operand(path), here.end, here.body, here.end)
                }
                Source::Printf(text) => format!("printf {text} >{}\n", operand(path)),
                Source::Empty => format!(": >{}\n", operand(path)),
            });
            if *executable {
                out.push_str(&format!("chmod +x {}\n", operand(path)));
            }
        }
    }
    out
}

fn invocation(step: &Step) -> String {
    let mut command = String::new();
    if !step.env.is_empty() && !step.env.keys().all(|n| is_identifier(n)) {
        command.push_str("env ");
    }
    for (name, value) in &step.env {
        let value = if value.is_empty() { String::new() } else { quote(value) };
        let name = if is_identifier(name) { name.clone() } else { quote(name) };
        command.push_str(&format!("{name}={value} "));
    }
    command.push_str("\"$PROGRAM\"");
    for arg in &step.argv {
        command.push(' ');
        command.push_str(&quote(arg));
    }
    if let Some(tty) = &step.tty {
        let mut out =
            format!("{command}   # in a terminal of {} rows and {} columns\n", tty.rows, tty.cols);
        for key in &tty.keys {
            let wait = key.wait_for.as_ref().map(|w| format!("   (once it shows {})", quote(w)));
            out.push_str(&format!("#   type {}{}\n", quote(&key.send), wait.unwrap_or_default()));
        }
        return out;
    }
    match step.stdin.as_ref().map(source) {
        None | Some(Source::Empty) => format!("{command} </dev/null\n"),
        Some(Source::Blob(file)) => format!("{command} <{file}\n"),
        Some(Source::Printf(text)) => format!("printf {text} | {command}\n"),
        Some(Source::Here(here)) => {
            format!("{command} <<'{}'\n{}{}\n", here.end, here.body, here.end)
        }
    }
}

/// How content gets into a command.
enum Source {
    Empty,
    /// A file of the suite's blob store.
    Blob(String),
    Here(Here),
    /// Arguments of printf.
    Printf(String),
}

struct Here {
    body: String,
    end: String,
}

fn source(content: &Content) -> Source {
    let bytes = match content {
        Content::Blob(digest) => return Source::Blob(format!("\"$SUITE\"/blobs/{}", digest.hex())),
        Content::Text(text) => text.as_bytes(),
        Content::Hex(hex) => &hex.0,
    };
    if bytes.is_empty() {
        return Source::Empty;
    }
    // More than this is cut anyway, and a case may hold a megabyte.
    if bytes.len() > MAX_BYTES {
        return Source::Printf(printf_argument(&bytes[..MAX_BYTES]));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(body) = text.strip_suffix('\n')
        && (1..MAX_HERE_LINES).contains(&body.matches('\n').count())
        && !text.chars().any(|c| c != '\n' && is_unsafe(c))
    {
        let mut end = "EOF".to_owned();
        while text.lines().any(|l| l == end) {
            end.push('_');
        }
        return Source::Here(Here { body: text.to_owned(), end });
    }
    Source::Printf(printf_argument(bytes))
}

/// `bytes` as the quoted format of `printf`: octal for what does not print, `%%` for a percent sign.
fn printf_argument(bytes: &[u8]) -> String {
    let mut out = if bytes.starts_with(b"-") { "-- '".to_owned() } else { "'".to_owned() };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\\' => out.push_str("\\\\"),
                '%' => out.push_str("%%"),
                '\'' => out.push_str("'\\''"),
                c if is_unsafe(c) => push_octal(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => out.push(c),
            }
        }
        push_octal(&mut out, chunk.invalid());
    }
    out.push('\'');
    out
}

fn push_octal(out: &mut String, bytes: &[u8]) {
    for b in bytes {
        out.push('\\');
        out.extend([b >> 6, b >> 3 & 7, b & 7].map(|digit| char::from(b'0' + digit)));
    }
}

/// One shell word. Control characters and the like are written as `$'…'` escapes (bash, zsh, POSIX 2024).
pub(crate) fn quote(word: &str) -> String {
    quote_bytes(word.as_bytes())
}

/// As [`quote`], for any bytes.
pub(crate) fn quote_bytes(word: &[u8]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if let Ok(text) = std::str::from_utf8(word) {
        if !text.is_empty() && text.chars().all(plain) {
            return text.to_owned();
        }
        if !text.chars().any(is_unsafe) {
            return format!("'{}'", text.replace('\'', "'\\''"));
        }
    }
    let mut out = "$'".to_owned();
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\'' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                c if is_unsafe(c) => push_octal(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => out.push(c),
            }
        }
        push_octal(&mut out, chunk.invalid());
    }
    out.push('\'');
    out
}

/// A path that cannot be taken for an option.
fn operand(path: &str) -> String {
    let quoted = quote(path);
    if path.starts_with('-') { format!("./{quoted}") } else { quoted }
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use reenact_model::{Key, Tty};

    fn case(json: &str) -> Case {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (word, quoted) in [
            ("plain-1.0", "plain-1.0"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$HOME `x` !", "'$HOME `x` !'"),
            ("a\nb\t'\\\x1b", r"$'a\nb\t\'\\\033'"),
            ("\u{202e}x", r"$'\342\200\256x'"),
            ("~", "'~'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn files_environment_and_stdin_are_in_the_recipe() {
        let case = case(
            r#"{"id":"c-1","steps":[{"argv":["-w","40","Hi there"],"stdin":{"text":"a\nb\n"},"env":{"TZ":"UTC"}},
                {"argv":[],"stdin":{"hex":"00ff25"}},{"argv":["x"]},{"argv":[],"stdin":{"text":"-5%\n"}}],
               "files":{"d/in.csv":{"text":"a,b\n"},"link":{"symlink":"d/in.csv"},"run.sh":{"text":"EOF\nx\n","executable":true},
               "-x":{"text":""},"empty":{"dir":true}}}"#,
        );
        assert_eq!(
            recipe(&case),
            ": >./-x\n\
             mkdir -p d\nprintf 'a,b\\n' >d/in.csv\n\
             mkdir -p empty\n\
             ln -s -- d/in.csv link\n\
             cat >run.sh <<'EOF_'\nEOF\nx\nEOF_\nchmod +x run.sh\n\
             TZ=UTC \"$PROGRAM\" -w 40 'Hi there' <<'EOF'\na\nb\nEOF\n\
             printf '\\000\\377%%' | \"$PROGRAM\"\n\
             \"$PROGRAM\" x </dev/null\n\
             printf -- '-5%%\\n' | \"$PROGRAM\"\n"
        );
        assert_eq!(one_line(&case, 200), "$PROGRAM -w 40 'Hi there' <4-byte stdin … 4 steps");
        assert_eq!(one_line(&case, 12), "$PROGRAM -w…");
    }

    #[test]
    fn stored_inputs_are_taken_from_the_suite() {
        let digest = reenact_model::Digest::of(b"large");
        let case = case(&format!(
            r#"{{"id":"c-1","steps":[{{"argv":["-"],"stdin":{{"blob":"{digest}"}}}}],"files":{{"f":{{"blob":"{digest}"}}}}}}"#
        ));
        let blob = format!("\"$SUITE\"/blobs/{}", digest.hex());
        assert_eq!(
            recipe(&case),
            format!(
                "# SUITE is the directory of the task's suite\ncp {blob} f\n\"$PROGRAM\" - <{blob}\n"
            )
        );
    }

    #[test]
    fn terminals_are_described_and_control_keys_are_escaped() {
        let mut case = case(r#"{"id":"c-1","steps":[{"argv":[]}]}"#);
        let key = Key { send: "\x1b[A".into(), wait_for: Some("ready".into()), wait_ms: None };
        case.steps[0].tty = Some(Tty { rows: 24, cols: 80, keys: vec![key] });
        assert_eq!(
            recipe(&case),
            "\"$PROGRAM\"   # in a terminal of 24 rows and 80 columns\n#   type $'\\033[A'   (once it shows ready)\n"
        );
    }

    #[test]
    fn a_huge_input_is_cut_and_no_control_character_gets_through() {
        let mut case = case(r#"{"id":"c-1","steps":[{"argv":[]}]}"#);
        case.steps[0].argv = vec!["\x07é".repeat(20_000)];
        let text = recipe(&case);
        assert!(text.len() < MAX_BYTES + 100 && text.contains("cut here"));
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }
}
