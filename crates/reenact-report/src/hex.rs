//! Hex dumps, sixteen bytes a line.

/// Lines like `00000010  7f 45 4c 46 …  |.ELF…|`, each ended by a newline.
pub(crate) fn dump(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 5);
    for (i, row) in bytes.chunks(16).enumerate() {
        out.push_str(&format!("{:08x} ", i * 16));
        for column in 0..16 {
            if column == 8 {
                out.push(' ');
            }
            match row.get(column) {
                Some(b) => out.push_str(&format!(" {b:02x}")),
                None => out.push_str("   "),
            }
        }
        out.push_str("  |");
        out.extend(
            row.iter().map(|b| if (b' '..=b'~').contains(b) { char::from(*b) } else { '.' }),
        );
        out.push_str("|\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_aligned_and_the_last_one_may_be_short() {
        let text = dump(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0AB\n");
        assert_eq!(
            text,
            "00000000  7f 45 4c 46 02 01 01 00  00 00 00 00 00 00 00 00  |.ELF............|\n\
             00000010  41 42 0a                                          |AB.|\n"
        );
    }
}
