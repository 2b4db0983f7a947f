//! How long and how often a request is tried again.

use crate::client::ClientOptions;
use crate::endpoint::Endpoint;
use crate::error::ModelError;
use std::time::{Duration, Instant};

/// How long we wait for a provider that limits, is overloaded, or cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the first failure of a request to giving up. Zero: no second try.
    pub total: Duration,
    /// Instead of `total` while nothing has ever been heard from the address: it is probably mistyped.
    pub first_contact: Duration,
    /// The first wait. Each further one is twice as long, less up to half of it by chance.
    pub first: Duration,
    /// Longest wait between two tries, unless the provider asks for a longer one. Must stay below a minute-long quota
    /// window, so that every window is tried.
    pub longest: Duration,
    /// Tries for replies that make no sense (truncated JSON, wrong shape).
    pub malformed_tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(20 * 60),
            first_contact: Duration::from_secs(60),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(40),
            malformed_tries: 4,
        }
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Trying again would not help.
    Final(ModelError),
    RateLimited {
        message: String,
        retry_after: Option<Duration>,
    },
    Overloaded {
        status: u16,
        message: String,
        retry_after: Option<Duration>,
    },
    Unreachable {
        message: String,
    },
    Timeout,
    Malformed {
        message: String,
    },
    Stopped,
}

/// The tries of one request.
pub(crate) struct Retries {
    patience: Patience,
    rng: fastrand::Rng,
    tries: u32,
    malformed: u32,
    since: Option<Instant>,
}

impl Retries {
    pub(crate) fn new(patience: Patience, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { patience, rng, tries: 0, malformed: 0, since: None }
    }

    /// How long to wait before the next try; `None`: give up. `reached` tells whether the address ever answered.
    pub(crate) fn next_wait(&mut self, failure: &Failure, reached: bool) -> Option<Duration> {
        self.tries += 1;
        let asked = match failure {
            Failure::Final(_) | Failure::Stopped => return None,
            Failure::Malformed { .. } => {
                self.malformed += 1;
                if self.malformed >= self.patience.malformed_tries {
                    return None;
                }
                None
            }
            Failure::RateLimited { retry_after, .. } | Failure::Overloaded { retry_after, .. } => {
                *retry_after
            }
            Failure::Unreachable { .. } | Failure::Timeout => None,
        };
        let total = if reached {
            self.patience.total
        } else {
            self.patience.total.min(self.patience.first_contact)
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = total.saturating_sub(since.elapsed());
        self.wait(asked, left)
    }

    /// The wait itself: what the provider asked for, or the backoff; never beyond `left`.
    fn wait(&mut self, asked: Option<Duration>, left: Duration) -> Option<Duration> {
        let doublings = self.tries.saturating_sub(1).min(20);
        let full = self.patience.first.saturating_mul(1 << doublings).min(self.patience.longest);
        let by_chance = full.mul_f64(self.rng.f64() / 2.0);
        if left.is_zero() {
            return None;
        }
        match asked.filter(|a| !a.is_zero()) {
            // Coming earlier than asked would be counted against us, so chance only adds.
            Some(asked) if asked > left => None,
            Some(asked) => Some((asked + by_chance / 4).min(left)),
            None => Some((full - by_chance).min(left)),
        }
    }

    /// What `on_wait` is told.
    pub(crate) fn describe(&self, failure: &Failure, wait: Duration) -> String {
        let what = match failure {
            Failure::RateLimited { .. } => "rate limited (429)".to_owned(),
            Failure::Overloaded { status, .. } => format!("the provider fails ({status})"),
            Failure::Unreachable { message } => format!("not reachable ({message})"),
            Failure::Timeout => "no reply in time".to_owned(),
            Failure::Malformed { message } => format!("a reply that makes no sense ({message})"),
            Failure::Final(_) | Failure::Stopped => "giving up".to_owned(),
        };
        format!("{what}: try {} in {:.0} s", self.tries + 1, wait.as_secs_f64().ceil())
    }

    /// The error after the last try.
    pub(crate) fn give_up(
        &self,
        failure: Failure,
        endpoint: &Endpoint,
        options: &ClientOptions,
    ) -> ModelError {
        let base_url = endpoint.base_url().to_owned();
        let tries = self.tries;
        let waited = self.since.map_or(Duration::ZERO, |s| s.elapsed());
        match failure {
            Failure::Final(error) => error,
            Failure::RateLimited { message, .. } => {
                ModelError::RateLimited { base_url, tries, waited, message }
            }
            Failure::Overloaded { status, message, .. } => {
                ModelError::Overloaded { base_url, status, tries, waited, message }
            }
            Failure::Unreachable { message } => {
                ModelError::Unreachable { base_url, tries, waited, message }
            }
            Failure::Timeout => {
                let limit = options.request_timeout;
                ModelError::Timeout { base_url, limit, tries, waited }
            }
            Failure::Malformed { message } => ModelError::Malformed { base_url, tries, message },
            Failure::Stopped => ModelError::Stopped,
        }
    }
}

/// Longest stretch without asking `stop`.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// Sleeps; `false` if `stop` ended it.
pub(crate) fn sleep_unless(time: Duration, stop: &dyn Fn() -> bool) -> bool {
    let end = Instant::now() + time;
    loop {
        if stop() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(SLICE));
    }
}

/// Longest `Retry-After` that is believed, seconds (a year): beyond that, arithmetic on times could fail.
const FOREVER: f64 = 365.0 * 86_400.0;

/// Reads a `Retry-After` header: seconds, or an HTTP date, which is compared with the reply's own `Date` where there is
/// one (clocks differ). `None` for anything else.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    let seconds = match value.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let now = date.and_then(http_date).unwrap_or_else(jiff::Timestamp::now);
            http_date(value)?.duration_since(now).as_secs_f64()
        }
    };
    // A NaN is neither.
    (seconds >= 0.0 || seconds < 0.0).then(|| Duration::from_secs_f64(seconds.clamp(0.0, FOREVER)))
}

fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(retry_after: Option<u64>) -> Failure {
        let retry_after = retry_after.map(Duration::from_secs);
        Failure::RateLimited { message: String::new(), retry_after }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let earlier = "Sun, 06 Nov 1994 08:49:37 GMT";
        let date = Some(earlier);
        let later = "Sun, 06 Nov 1994 08:50:38 GMT";
        assert_eq!(retry_after("17", None), Some(Duration::from_secs(17)));
        assert_eq!(retry_after(" 0.5 ", None), Some(Duration::from_millis(500)));
        assert_eq!(retry_after(later, date), Some(Duration::from_secs(61)));
        assert_eq!(retry_after(earlier, Some(later)), Some(Duration::ZERO));
        // Without a Date header the clock of this machine counts; 1994 is past.
        assert_eq!(retry_after(later, None), Some(Duration::ZERO));
        assert_eq!(retry_after("-3", None), Some(Duration::ZERO));
        for bad in ["", "soon", "NaN", "12:00"] {
            assert_eq!(retry_after(bad, date), None, "{bad}");
        }
        assert_eq!(retry_after("1e300", None), Some(Duration::from_secs(365 * 86_400)));
    }

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_chance() {
        let patience = Patience::default();
        let waits = |seed| {
            let mut retries = Retries::new(patience, seed);
            (0..10).map(|_| retries.next_wait(&limited(None), true).unwrap()).collect::<Vec<_>>()
        };
        for (n, wait) in waits(1).into_iter().enumerate() {
            let full = Duration::from_secs(1 << n).min(patience.longest);
            assert!(wait <= full && wait >= full / 2, "wait {n}: {wait:?}");
        }
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn the_default_outlasts_a_minute_of_refusals_many_times() {
        let mut retries = Retries::new(Patience::default(), 7);
        let waits = (0..12).map(|_| retries.next_wait(&limited(None), true).unwrap());
        assert!(waits.sum::<Duration>() > Duration::from_secs(120));
    }

    #[test]
    fn a_provider_s_wish_is_a_lower_bound_and_beyond_our_patience_it_ends() {
        let mut retries = Retries::new(Patience::default(), 7);
        let wait = retries.next_wait(&limited(Some(90)), true).unwrap();
        assert!(wait >= Duration::from_secs(90) && wait < Duration::from_secs(101), "{wait:?}");
        assert_eq!(retries.next_wait(&limited(Some(7200)), true), None);
    }

    #[test]
    fn an_address_that_never_answered_gets_less_patience() {
        let patience = Patience { first_contact: Duration::ZERO, ..Patience::default() };
        let failure = Failure::Unreachable { message: String::new() };
        assert_eq!(Retries::new(patience, 0).next_wait(&failure, false), None);
        assert!(Retries::new(patience, 0).next_wait(&failure, true).is_some());
    }

    #[test]
    fn malformed_replies_are_tried_a_few_times() {
        let failure = Failure::Malformed { message: String::new() };
        let mut retries = Retries::new(Patience::default(), 0);
        let waits = std::iter::from_fn(|| retries.next_wait(&failure, true)).count();
        assert_eq!(waits, 3);
        assert_eq!(retries.tries, 4);
    }

    #[test]
    fn stop_ends_a_sleep() {
        assert!(!sleep_unless(Duration::from_secs(3600), &|| true));
        assert!(sleep_unless(Duration::ZERO, &|| false));
    }
}
