//! Bytes that are written out as text: hex dumps, disassemblies, arrays in sources, base64.

/// Text that is looked at, bytes.
const MOST: usize = 64 << 20;
/// Fewer decoded bytes than this say nothing.
const FEWEST: usize = 256;
/// Letters of base64 in a row from which they are taken for it.
const RUN: usize = 40;

/// What `text` may be a writing of. Empty for binary data.
pub fn views(text: &[u8]) -> Vec<Vec<u8>> {
    let text = &text[..text.len().min(MOST)];
    if text.iter().take(4096).filter(|b| **b == 0).count() > 8 {
        return Vec::new();
    }
    let (mut hex, mut words) = (Vec::new(), Vec::new());
    for line in text.split(|b| *b == b'\n') {
        hex_line(line, &mut hex, &mut words);
    }
    // `hexdump` and `od -x` write little-endian words.
    let swapped = words.chunks_exact(2).flat_map(|w| [w[1], w[0]]).collect();
    [hex, swapped, base64(text)].into_iter().filter(|v: &Vec<u8>| v.len() >= FEWEST).collect()
}

fn hex_line(line: &[u8], bytes: &mut Vec<u8>, words: &mut Vec<u8>) {
    let line = line.trim_ascii_start();
    let first = line.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
    let bare = first.strip_suffix(b":").unwrap_or(first);
    let is_offset = first.len() < line.len()
        && !bare.is_empty()
        && bare.iter().all(u8::is_ascii_hexdigit)
        && (bare.len() < first.len() || bare.len() >= 6);
    if is_offset {
        let rest = line[first.len()..].trim_ascii_start();
        // `|text|`, two spaces, or a tab end the bytes.
        let end = rest.iter().position(|b| matches!(b, b'|' | b'\t')).unwrap_or(rest.len());
        let rest = &rest[..end];
        // `hexdump -C` has two spaces after eight bytes, xxd has them before its text.
        let wide = rest.windows(2).position(|w| w == b"  ").filter(|_| bare.len() < first.len());
        let tokens = rest[..wide.unwrap_or(rest.len())].split(|b| b.is_ascii_whitespace());
        for token in tokens.filter(|t| !t.is_empty()) {
            let Some(raw) = even(token) else { return };
            if raw.len() == 2 {
                words.extend(&raw);
            }
            bytes.extend(raw);
        }
        return;
    }
    // `0x7f, 0x45`, `\x7f\x45`, `7f 45 4c`, `7f454c46…`
    let tokens = line
        .split(|b| !b.is_ascii_alphanumeric() && *b != b'\\')
        .flat_map(|t| t.split(|b| *b == b'\\'))
        .filter(|t| !t.is_empty());
    for token in tokens {
        let marked = token.strip_prefix(b"0x").or_else(|| token.strip_prefix(b"x"));
        let raw = match marked {
            Some(digits) if digits.len() == 1 => even(&[b'0', digits[0]]),
            Some(digits) if digits.len() == 2 => even(digits),
            Some(_) => None,
            None if token.len() == 2 || token.len() >= 16 => even(token),
            None => None,
        };
        bytes.extend(raw.unwrap_or_default());
    }
}

/// Bytes of an even number of hex digits.
fn even(token: &[u8]) -> Option<Vec<u8>> {
    reenact_model::digest::from_hex(std::str::from_utf8(token).ok()?).filter(|b| !b.is_empty())
}

/// All long runs of base64's letters, decoded one after the other.
fn base64(text: &[u8]) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    let (mut bits, mut held) = (0u32, 0u32);
    for run in text.split(|b| value(*b).is_none()).filter(|r| r.len() >= RUN) {
        for six in run.iter().filter_map(|b| value(*b)) {
            bits = bits << 6 | u32::from(six);
            held += 6;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held & 0xff) as u8);
            }
        }
        // Lines of whole groups go on; the end of a text does not.
        if !run.len().is_multiple_of(4) {
            (bits, held) = (0, 0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample::tests::noise;
    use std::fmt::Write as _;

    fn holds(text: &str, bytes: &[u8]) -> bool {
        views(text.as_bytes()).iter().any(|v| v.windows(bytes.len()).any(|w| w == bytes))
    }

    #[test]
    fn dumps_arrays_and_base64_are_read_back() {
        let bytes = noise(5, 1024);
        let (mut xxd, mut dump, mut od, mut words, mut disassembly) =
            (String::new(), String::new(), String::new(), String::new(), String::new());
        for (i, line) in bytes.chunks(16).enumerate() {
            let pairs: Vec<String> =
                line.chunks(2).map(|p| format!("{:02x}{:02x}", p[0], p[1])).collect();
            writeln!(xxd, "{:08x}: {}  ab cd ef.ELF", i * 16, pairs.join(" ")).unwrap();
            let each: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
            writeln!(
                dump,
                "{:08x}  {}  {}  |.ELF....ab cd|",
                i * 16,
                each[..8].join(" "),
                each[8..].join(" ")
            )
            .unwrap();
            writeln!(od, "{:07o} {}", i * 16, each.join(" ")).unwrap();
            let swapped: Vec<String> =
                line.chunks(2).map(|p| format!("{:02x}{:02x}", p[1], p[0])).collect();
            writeln!(words, "{:07x} {}", i * 16, swapped.join(" ")).unwrap();
            for (k, some) in each.chunks(3).enumerate() {
                writeln!(
                    disassembly,
                    "  {:x}:\t{} \tpush   %rbp",
                    0x40_1000 + i * 16 + k * 3,
                    some.join(" ")
                )
                .unwrap();
            }
        }
        for text in [&xxd, &dump, &od, &words, &disassembly] {
            assert!(holds(text, &bytes), "{}", &text[..200]);
        }
        let array: Vec<String> = bytes.iter().map(|b| format!("0x{b:x}")).collect();
        assert!(holds(&format!("unsigned char x[] = {{\n  {}\n}};", array.join(", ")), &bytes));
        let escaped: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
        assert!(holds(&format!("x = b'{escaped}'"), &bytes));
        assert!(holds(&reenact_model::digest::to_hex(&bytes), &bytes));
    }

    #[test]
    fn base64_is_read_whether_wrapped_or_not() {
        // `base64` of 300 bytes 0, 1, …, 255, 0, …, 43.
        let bytes: Vec<u8> = (0..300u32).map(|n| (n % 256) as u8).collect();
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let text: String = bytes
            .chunks(3)
            .flat_map(|c| {
                let n = u32::from(c[0]) << 16 | u32::from(c[1]) << 8 | u32::from(c[2]);
                [18, 12, 6, 0].map(|s| char::from(letters[(n >> s & 63) as usize]))
            })
            .collect();
        assert!(text.starts_with("AAECAwQFBgcICQoL"));
        let wrapped: Vec<&str> =
            text.as_bytes().chunks(76).map(|l| std::str::from_utf8(l).unwrap()).collect();
        assert!(holds(&text, &bytes));
        // A last line that is short is not taken for base64.
        assert!(holds(&wrapped.join("\n"), &bytes[..285]));
    }

    #[test]
    fn prose_and_binary_data_have_no_views() {
        assert_eq!(
            views(b"usage: jq [OPTION]... FILTER [FILE]\n\n  -r  raw output\n"),
            Vec::<Vec<u8>>::new()
        );
        assert_eq!(views(&[0; 4096]), Vec::<Vec<u8>>::new());
    }
}
