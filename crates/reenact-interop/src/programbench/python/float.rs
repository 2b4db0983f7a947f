//! Floats as CPython shows, rounds and adds them.

use super::value::Value;

/// `repr(x)`: the shortest digits that give `x` back, with an exponent below 1e-4 and from 1e16 on
/// (CPython `Python/pystrtod.c`, `format_float_short`, code `r`). Infinities and NaN as `json.dumps` has them.
pub fn repr(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let short = format!("{x:e}");
    // `{:e}` of a finite number always has an exponent.
    let (mantissa, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// `round(x, digits)`: to the nearest decimal, the even one of two that are equally near; decided on the exact value of `x`,
/// so that `round(2.675, 2)` is 2.67 (CPython `Objects/floatobject.c`, `double_round`).
pub fn round(x: f64, digits: usize) -> f64 {
    if !x.is_finite() {
        return x;
    }
    // Formatting with a precision is exact, and half goes to even; the text is then read back to the nearest float.
    format!("{x:.digits$}").parse().unwrap_or(x)
}

/// `sum(values)` of numbers: whole as long as all are, else with the compensated summation of CPython 3.12 and later
/// (`Python/bltinmodule.c`, after Neumaier). `None` if one of them is no number.
pub fn sum<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Value> {
    let mut values = values.into_iter();
    let mut whole = 0i128;
    let mut total = loop {
        match values.next() {
            None => return Some(Value::Int(whole)),
            Some(Value::Int(n)) => whole = whole.checked_add(*n)?,
            Some(Value::Bool(b)) => whole = whole.checked_add(i128::from(*b))?,
            Some(Value::Float(x)) => break whole as f64 + x,
            Some(_) => return None,
        }
    };
    let mut compensation = 0.0;
    for value in values {
        match value {
            Value::Float(x) => {
                let next = total + x;
                compensation +=
                    if total.abs() >= x.abs() { (total - next) + x } else { (x - next) + total };
                total = next;
            }
            Value::Int(n) => total += *n as f64,
            Value::Bool(b) => total += f64::from(u8::from(*b)),
            _ => return None,
        }
    }
    if compensation != 0.0 && f64::is_finite(compensation) {
        total += compensation;
    }
    Some(Value::Float(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn floats_look_as_in_python() {
        for (x, want) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (-2.5, "-2.5"),
            (100.0 / 3.0, "33.333333333333336"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(repr(x), want);
        }
    }

    #[test]
    fn halves_go_to_even_and_what_only_looks_like_one_does_not() {
        for (x, n, want) in [
            (0.25, 1, 0.2),
            (0.75, 1, 0.8),
            (2.5, 0, 2.0),
            (3.5, 0, 4.0),
            (0.125, 2, 0.12),
            (0.375, 2, 0.38),
            (2.675, 2, 2.67),
            (1.005, 2, 1.0),
            (0.05, 1, 0.1),
            (0.15, 1, 0.1),
            (-0.25, 1, -0.2),
            (1e22, 1, 1e22),
            (99.95, 1, 100.0),
        ] {
            assert_eq!(round(x, n), want, "round({x}, {n})");
        }
    }

    /// The exact decimal expansion, rounded by hand.
    fn by_hand(x: f64, digits: usize) -> f64 {
        // A float has at most 1074 decimals, and formatting with that many is exact.
        let exact = format!("{:.1100}", x.abs());
        let (whole, fraction) = exact.split_once('.').unwrap();
        let mut kept: Vec<u8> = whole.bytes().chain(fraction.bytes().take(digits)).collect();
        let rest = &fraction[digits..];
        let half = format!("5{}", "0".repeat(rest.len() - 1));
        let odd = (kept[kept.len() - 1] - b'0') % 2 == 1;
        if rest > half.as_str() || (rest == half && odd) {
            let mut i = kept.len();
            loop {
                if i == 0 {
                    kept.insert(0, b'1');
                    break;
                }
                i -= 1;
                if kept[i] == b'9' {
                    kept[i] = b'0';
                } else {
                    kept[i] += 1;
                    break;
                }
            }
        }
        let digits_at = kept.len() - digits;
        let text = String::from_utf8(kept).unwrap();
        let value: f64 = format!("{}.{}", &text[..digits_at], &text[digits_at..]).parse().unwrap();
        value.copysign(x)
    }

    proptest! {
        #[test]
        fn rounding_is_exact(x in prop::num::f64::NORMAL.prop_filter("bounded", |x| x.abs() < 1e18), digits in 0usize..5) {
            prop_assert_eq!(round(x, digits), by_hand(x, digits));
        }

        // Where two decimals are equally near: odd multiples of a power of a half.
        #[test]
        fn ties_are_exact(n in -40_000i32..40_000, shift in 1i32..6, digits in 0usize..5) {
            let x = f64::from(n) / f64::from(1 << shift);
            prop_assert_eq!(round(x, digits), by_hand(x, digits));
        }

        // What the leaderboard rounds: hundredths of sums of fractions over 200.
        #[test]
        fn percentages_are_exact(passed in 0u32..2000, of in 1u32..2000) {
            let x = 100.0 * (f64::from(passed) / f64::from(of)) / 200.0;
            prop_assert_eq!(round(x, 1), by_hand(x, 1));
        }

        #[test]
        fn what_is_shown_reads_back(x in prop::num::f64::ANY.prop_filter("finite", |x| x.is_finite())) {
            prop_assert_eq!(repr(x).parse::<f64>().unwrap().to_bits(), x.to_bits());
        }
    }

    #[test]
    fn sums_are_pythons() {
        let floats = |list: &[f64]| sum(&list.iter().map(|x| Value::Float(*x)).collect::<Vec<_>>());
        // 0.9999999999999999 before 3.12.
        assert_eq!(floats(&[0.1; 10]), Some(Value::Float(1.0)));
        assert_eq!(floats(&[1.0, 1e100, 1.0, -1e100]), Some(Value::Float(2.0)));
        assert_eq!(floats(&[]), Some(Value::Int(0)));
        let mixed = [Value::Int(1), Value::Bool(true), Value::Float(0.5), Value::Int(2)];
        assert_eq!(sum(&mixed), Some(Value::Float(4.5)));
        assert_eq!(sum(&[Value::Int(2), Value::Bool(true)]), Some(Value::Int(3)));
        assert_eq!(sum(&[Value::Null]), None);
    }
}
