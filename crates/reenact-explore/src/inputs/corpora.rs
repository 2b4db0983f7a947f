//! Contents by type. Every generator is a pure function of the random source it is given.

use fastrand::Rng;
use std::fmt::Write as _;

/// A type of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Text,
    Numbers,
    Csv,
    Tsv,
    Json,
    JsonLines,
    Xml,
    Ini,
    Yaml,
    Markdown,
    Log,
    Source,
    Hex,
    Binary,
}

impl Kind {
    /// Every kind, in the order in which they are tried.
    pub const ALL: [Self; 14] = [
        Self::Text,
        Self::Csv,
        Self::Json,
        Self::Numbers,
        Self::Tsv,
        Self::JsonLines,
        Self::Binary,
        Self::Xml,
        Self::Ini,
        Self::Yaml,
        Self::Markdown,
        Self::Log,
        Self::Source,
        Self::Hex,
    ];

    /// File name extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Numbers => "num",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::JsonLines => "jsonl",
            Self::Xml => "xml",
            Self::Ini => "ini",
            Self::Yaml => "yaml",
            Self::Markdown => "md",
            Self::Log => "log",
            Self::Source => "c",
            Self::Hex => "hex",
            Self::Binary => "bin",
        }
    }

    /// The kind that an extension suggests.
    pub fn of_extension(ext: &str) -> Self {
        Self::ALL.into_iter().find(|k| k.extension() == ext).unwrap_or(match ext {
            "ndjson" => Self::JsonLines,
            "html" | "svg" => Self::Xml,
            "yml" => Self::Yaml,
            "toml" | "cfg" | "conf" => Self::Ini,
            "rs" | "py" | "js" | "h" | "go" | "sh" => Self::Source,
            "dat" | "png" | "gz" | "jpg" | "exe" | "o" => Self::Binary,
            _ => Self::Text,
        })
    }

    /// Words that, in a documentation, speak for this kind.
    pub fn hints(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["text", "line", "lines", "word", "words"],
            Self::Numbers => &["numbers", "numeric", "sum", "mean", "statistics", "histogram"],
            Self::Csv => &["csv", "comma", "delimiter", "column", "columns", "fields", "table"],
            Self::Tsv => &["tsv", "tab", "tabs"],
            Self::Json => &["json", "object", "array"],
            Self::JsonLines => &["jsonl", "ndjson", "jsonlines"],
            Self::Xml => &["xml", "html", "xpath", "element"],
            Self::Ini => &["ini", "toml", "config"],
            Self::Yaml => &["yaml", "yml"],
            Self::Markdown => &["markdown", "md", "commonmark"],
            Self::Log => &["log", "logs", "timestamp"],
            Self::Source => &["source", "code", "syntax", "indent"],
            Self::Hex => &["hexdump", "hex"],
            Self::Binary => &[
                "binary",
                "bytes",
                "byte",
                "octets",
                "compress",
                "compression",
                "checksum",
                "hash",
            ],
        }
    }

    /// A content of this kind.
    pub fn generate(self, rng: &mut Rng) -> Vec<u8> {
        match self {
            Self::Text => text(rng),
            Self::Numbers => numbers(rng),
            Self::Csv => table(rng, ','),
            Self::Tsv => table(rng, '\t'),
            Self::Json => format!("{}\n", json(rng, 0)),
            Self::JsonLines => (0..rng.usize(2..6)).map(|i| record(rng, i) + "\n").collect(),
            Self::Xml => xml(rng),
            Self::Ini => ini(rng),
            Self::Yaml => yaml(rng),
            Self::Markdown => markdown(rng),
            Self::Log => log(rng),
            Self::Source => source(rng),
            Self::Hex => (0..rng.usize(1..4)).map(|_| hex_line(rng)).collect(),
            Self::Binary => return binary(rng),
        }
        .into_bytes()
    }
}

const WORDS: &[&str] = &[
    "apple", "banana", "cherry", "delta", "echo", "foxtrot", "garden", "hotel", "india", "jungle",
    "kilo", "lemon", "mango", "night", "ocean", "paper", "quartz", "river", "stone", "tango",
    "umbrella", "violet", "water", "xenon", "yellow", "zebra", "The", "A", "Of", "and", "one",
    "two", "three", "foo", "bar", "baz", "x", "I", "it's", "re-do", "a_b", "Mr.", "naïve", "café",
    "日本", "über",
];

/// A word; one in about ten is not ASCII.
pub fn word(rng: &mut Rng) -> &'static str {
    WORDS[rng.usize(..WORDS.len())]
}

/// An ASCII word.
pub fn plain_word(rng: &mut Rng) -> &'static str {
    WORDS[rng.usize(..26)]
}

fn sentence(rng: &mut Rng) -> String {
    let n = rng.usize(1..9);
    (0..n).map(|_| word(rng)).collect::<Vec<_>>().join(" ")
}

fn text(rng: &mut Rng) -> String {
    let mut out = String::new();
    for _ in 0..rng.usize(2..10) {
        match rng.usize(..12) {
            0 => out.push('\n'),
            1 => out.push_str("\tindented\twith tabs\n"),
            2 => out.push_str("  two  spaces \n"),
            3 => out.push_str(&format!("{} {}\n", rng.u32(..1000), sentence(rng))),
            4 => out.push_str("same line\nsame line\n"),
            _ => out.push_str(&(sentence(rng) + "\n")),
        }
    }
    out
}

fn number(rng: &mut Rng) -> String {
    match rng.usize(..6) {
        0 => format!("-{}", rng.u32(..100)),
        1 => format!("{}.{}", rng.u32(..100), rng.u32(..1000)),
        2 => "0".to_owned(),
        3 => format!("{}", rng.u32(1000..2_000_000)),
        _ => format!("{}", rng.u32(..100)),
    }
}

fn numbers(rng: &mut Rng) -> String {
    (0..rng.usize(3..14)).map(|_| number(rng) + "\n").collect()
}

fn cell(rng: &mut Rng, separator: char) -> String {
    match rng.usize(..12) {
        0 => String::new(),
        1 if separator == ',' => "\"a, quoted\"".to_owned(),
        2 if separator == ',' => "\"say \"\"hi\"\"\"".to_owned(),
        3..=5 => number(rng),
        6 => "2021-03-04".to_owned(),
        _ => word(rng).to_owned(),
    }
}

fn table(rng: &mut Rng, separator: char) -> String {
    let columns = rng.usize(2..6);
    let header = ["id", "name", "size", "city", "note", "price"];
    let glue = separator.to_string();
    let mut out = header[..columns].join(&glue) + "\n";
    for i in 0..rng.usize(2..8) {
        let row: Vec<String> = (0..columns)
            .map(|c| if c == 0 { (i + 1).to_string() } else { cell(rng, separator) })
            .collect();
        out += &(row.join(&glue) + "\n");
    }
    out
}

fn json(rng: &mut Rng, depth: usize) -> String {
    let leaf = depth > 2;
    match rng.usize(..if leaf { 6 } else { 12 }) {
        0 => "null".to_owned(),
        1 => rng.bool().to_string(),
        2 | 3 => number(rng),
        4 => format!("\"{}\"", sentence(rng)),
        5 => ["\"\"", "\"a\\\"b\"", "\"line\\nbreak\"", "\"\\u00e9\"", "1e3", "[]", "{}"]
            [rng.usize(..7)]
        .to_owned(),
        6..=8 => {
            let items: Vec<String> = (0..rng.usize(1..4)).map(|_| json(rng, depth + 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => {
            let mut keys = vec!["a", "b", "name", "id", "list", "key with space", "x.y"];
            rng.shuffle(&mut keys);
            let n = rng.usize(1..5);
            let items: Vec<String> =
                keys[..n].iter().map(|k| format!("\"{k}\": {}", json(rng, depth + 1))).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

fn record(rng: &mut Rng, i: usize) -> String {
    format!(
        "{{\"id\": {}, \"name\": \"{}\", \"size\": {}, \"tags\": [\"{}\"], \"sub\": {{\"ok\": {}}}}}",
        i + 1,
        word(rng),
        rng.u32(..500),
        word(rng),
        rng.bool()
    )
}

/// An array of records, as most JSON tools want it.
pub fn records(rng: &mut Rng) -> String {
    let rows: Vec<String> = (0..rng.usize(2..5)).map(|i| record(rng, i)).collect();
    format!("[{}]\n", rows.join(", "))
}

fn xml(rng: &mut Rng) -> String {
    let mut out = "<?xml version=\"1.0\"?>\n<root>\n".to_owned();
    for i in 0..rng.usize(1..5) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            out,
            "  <item id=\"{i}\" kind=\"{}\">{} &amp; {}</item>",
            plain_word(rng),
            word(rng),
            number(rng)
        );
    }
    out + "</root>\n"
}

fn ini(rng: &mut Rng) -> String {
    let mut out = String::new();
    for section in ["main", "extra"] {
        out += &format!("[{section}]\n");
        for _ in 0..rng.usize(1..4) {
            out += &format!("{} = {}\n", plain_word(rng), rng.u32(..100));
        }
    }
    out + "# a comment\n"
}

fn yaml(rng: &mut Rng) -> String {
    let mut out = format!("name: {}\nsize: {}\nlist:\n", plain_word(rng), rng.u32(..100));
    for _ in 0..rng.usize(1..4) {
        out += &format!("  - {}\n", plain_word(rng));
    }
    out + "nested:\n  key: value\n"
}

fn markdown(rng: &mut Rng) -> String {
    format!(
        "# {}\n\n{} *{}* and **{}** with `code`.\n\n- {}\n- {}\n  1. nested\n\n> quote\n\n```sh\nls -l\n```\n\n| a | b |\n|---|--:|\n| {} | {} |\n\n[link](http://example.com)\n",
        sentence(rng),
        sentence(rng),
        word(rng),
        word(rng),
        sentence(rng),
        sentence(rng),
        word(rng),
        number(rng)
    )
}

fn log(rng: &mut Rng) -> String {
    let level = ["INFO", "WARN", "ERROR", "DEBUG"];
    (0..rng.usize(3..8))
        .map(|i| {
            format!(
                "2021-03-04T10:{:02}:{:02}Z {} [{}] {} took {}ms\n",
                i,
                rng.u32(..60),
                level[rng.usize(..4)],
                plain_word(rng),
                sentence(rng),
                rng.u32(..900)
            )
        })
        .collect()
}

fn source(rng: &mut Rng) -> String {
    format!(
        "/* {} */\n#include <stdio.h>\n\nint {}(int n) {{\n\tif (n > {}) {{ // {}\n        return n * 2;\n\t}}\n    return \"{}\" != 0;\n}}\n",
        sentence(rng),
        plain_word(rng),
        rng.u32(..50),
        sentence(rng),
        plain_word(rng)
    )
}

fn hex_line(rng: &mut Rng) -> String {
    let digits: Vec<String> =
        (0..rng.usize(4..17)).map(|_| format!("{:02x}", rng.u8(..))).collect();
    digits.join(if rng.bool() { " " } else { "" }) + "\n"
}

fn binary(rng: &mut Rng) -> Vec<u8> {
    match rng.usize(..5) {
        0 => (0..=255).collect(),
        1 => (0..rng.usize(1..80)).map(|_| rng.u8(..)).collect(),
        2 => [vec![0; 48], b"tail".to_vec()].concat(),
        3 => b"abcabcabcabc".repeat(rng.usize(4..30)),
        _ => [b"MZ\x00\x01".to_vec(), text(rng).into_bytes(), vec![0xff; 5]].concat(),
    }
}

/// Shapes that any content can take and that programs often get wrong; the name goes into the case's tags.
pub fn variants(bytes: &[u8], rng: &mut Rng) -> Vec<(&'static str, Vec<u8>)> {
    let without_newline = bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec();
    let crlf: Vec<u8> = bytes
        .iter()
        .flat_map(|b| if *b == b'\n' { vec![b'\r', b'\n'] } else { vec![*b] })
        .collect();
    let first_line: Vec<u8> =
        bytes.split_inclusive(|b| *b == b'\n').next().unwrap_or_default().to_vec();
    let mut cut = bytes.to_vec();
    cut.truncate(bytes.len() / 2 + 1);
    let mut spoiled = bytes.to_vec();
    if !spoiled.is_empty() {
        let at = rng.usize(..spoiled.len());
        spoiled[at] = [0xff, 0x00, b'"', b'{', b';'][rng.usize(..5)];
    }
    vec![
        ("no-final-newline", without_newline),
        ("crlf", crlf),
        ("empty", Vec::new()),
        ("one-line", first_line),
        ("truncated", cut),
        ("spoiled", spoiled),
        ("doubled", [bytes, bytes].concat()),
        ("blank-lines", [b"\n\n", bytes, b"\n\n"].concat()),
        ("long-line", [b"word ".repeat(60), b"\n".to_vec(), bytes.to_vec()].concat()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_a_function_of_the_seed() {
        for kind in Kind::ALL {
            let make = |seed| kind.generate(&mut Rng::with_seed(seed));
            assert_eq!(make(3), make(3), "{kind:?}");
            assert!((0..20).any(|s| make(s) != make(s + 1)), "{kind:?} never varies");
        }
    }

    #[test]
    fn json_is_json() {
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let one = Kind::Json.generate(&mut rng);
            assert!(
                serde_json::from_slice::<serde_json::Value>(&one).is_ok(),
                "{}",
                String::from_utf8_lossy(&one)
            );
            let rows: serde_json::Value = serde_json::from_str(&records(&mut rng)).unwrap();
            assert!(rows.as_array().is_some_and(|r| r.len() > 1));
        }
    }
}
