//! Traces of this host and this day in an output: the date, the kernel, the host's name. A repetition a second later would
//! not show them, a repetition tomorrow would.

use regex::bytes::Regex;

/// What to look for.
pub struct Environment {
    /// Times and dates of today, to be masked.
    dates: Regex,
    /// The host's name and its kernel's version: no case may show them.
    host: Vec<Vec<u8>>,
}

impl Environment {
    /// The environment of this process, today.
    pub fn today() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self::new(
            &reenact_bundle::now_rfc3339(),
            &[read("/proc/sys/kernel/osrelease"), read("/proc/sys/kernel/hostname")],
        )
    }

    /// An environment with this RFC 3339 time and these host strings. Short and common names are not looked for.
    pub fn new(now: &str, host: &[String]) -> Self {
        let months =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let field = |range: std::ops::Range<usize>| {
            now.get(range).and_then(|t| t.parse::<usize>().ok()).unwrap_or(1)
        };
        let (year, month, day) = (field(0..4), field(5..7).clamp(1, 12), field(8..10));
        let name = months[month - 1];
        let clock = r"(?:[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?)?";
        let pattern = format!(
            r"{year}-{month:02}-(?:{day:02}|{:02}){clock}|\b{name}\w* +0?{day}\b,?{clock}(?: {year})?|\b0?{day} {name}\w* {year}{clock}|{day:02}/{month:02}/{year}|{month:02}/{day:02}/{year}|\b{year}{month:02}{day:02}\b",
            day + 1
        );
        let host = host
            .iter()
            .filter(|h| h.len() > 4 && *h != "localhost")
            .map(|h| h.clone().into_bytes())
            .collect();
        Self {
            dates: Regex::new(&pattern).expect("numbers and month names in a literal pattern"),
            host,
        }
    }

    /// Whether `bytes` shows the host itself.
    pub fn shows_host(&self, bytes: &[u8]) -> bool {
        self.host.iter().any(|h| bytes.windows(h.len()).any(|w| w == h.as_slice()))
    }

    /// `bytes` as another day would show it, if it shows this one: digits of dates are changed. Settled together with the
    /// real observations, it masks the dates.
    pub fn another_day(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !self.dates.is_match(bytes) {
            return None;
        }
        let turn = |caps: &regex::bytes::Captures<'_>| -> Vec<u8> {
            caps[0]
                .iter()
                .map(|b| if b.is_ascii_digit() { b'0' + (b - b'0' + 1) % 10 } else { *b })
                .collect()
        };
        Some(self.dates.replace_all(bytes, turn).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_today_are_found_and_others_are_not() {
        let env = Environment::new(
            "2026-11-21T13:40:00Z",
            &["6.18.5-host".to_owned(), "localhost".to_owned()],
        );
        assert_eq!(
            env.another_day(b"made 2026-11-21 13:40 ok").unwrap(),
            b"made 3137-22-32 24:51 ok"
        );
        assert!(env.another_day(b"Sat Nov 21 13:40:01 2026").is_some());
        assert!(env.another_day(b"2021-03-04 and 21 apples").is_none());
        assert!(env.shows_host(b"Linux 6.18.5-host x86_64"));
        assert!(!env.shows_host(b"localhost"));
    }
}
