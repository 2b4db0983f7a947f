//! Times, as Python's `float()` reads them.

/// Seconds, if `text` is a number to Python once its commas are gone; `Some(None)` where it is none that JSON can hold.
pub fn time(text: &str) -> Option<Option<f64>> {
    let plain: String = text.trim().chars().filter(|c| *c != ',').collect();
    let digits = plain.as_bytes();
    // An underscore may stand between two digits.
    let separated = |i: usize| {
        let digit =
            |at: Option<usize>| at.and_then(|at| digits.get(at)).is_some_and(u8::is_ascii_digit);
        digit(i.checked_sub(1)) && digit(Some(i + 1))
    };
    if digits.iter().enumerate().any(|(i, b)| *b == b'_' && !separated(i)) {
        return None;
    }
    let number: f64 = plain.replace('_', "").trim().parse().ok()?;
    Some(number.is_finite().then_some(number))
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn numbers_are_pythons() {
        for (text, want) in [("0.001", 0.001), (" 1,234.5 ", 1234.5), ("1e3", 1e3), ("1_0", 10.0)] {
            assert_eq!(time(text), Some(Some(want)), "{text}");
        }
        for text in ["nan", "inf", "-Infinity", "1e999"] {
            assert_eq!(time(text), Some(None), "{text}");
        }
        for text in ["x", "1__0", "_1", "1 2", "0x10"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
