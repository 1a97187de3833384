//! When to come back: the close code's rule, full jitter, and what is remembered between sessions. Pure.

use std::time::Duration;

use realtime_proto::CloseCode;
use realtime_proto::close::Reconnect;

use super::options::Retry;

/// A session that lasted this long was a success: the next failure starts again with short delays. Shorter
/// ones do not count, or a server that accepts and closes at once would be called in a tight loop.
const STABLE: Duration = Duration::from_secs(10);
/// What an administrator closed comes back once, after this time.
const AFTER_ADMINISTRATOR: Duration = Duration::from_secs(5);
/// After a session of this length a further close by an administrator is a new affair.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Decides after every end of a session whether and when the next begins.
#[derive(Debug)]
pub(super) struct Backoff {
    retry: Retry,
    can_renew_token: bool,
    failures: u32,
    came_back_once: bool,
}

impl Backoff {
    pub(super) fn new(retry: Retry, can_renew_token: bool) -> Self {
        Self { retry, can_renew_token, failures: 0, came_back_once: false }
    }

    /// `lasted`: how long the session stood; zero when it never did. `random` is uniform in 0..=1.
    pub(super) fn after(
        &mut self,
        code: Option<u16>,
        retry_after: Option<Duration>,
        lasted: Duration,
        random: f64,
    ) -> Option<Duration> {
        if lasted >= STABLE {
            self.failures = 0;
        }
        if lasted >= FORGIVEN {
            self.came_back_once = false;
        }
        let rule = code.map_or(Reconnect::WithJitter, CloseCode::reconnect);
        let at_least = match rule {
            Reconnect::No => return None,
            Reconnect::WithNewToken if !self.can_renew_token => return None,
            Reconnect::Once if std::mem::replace(&mut self.came_back_once, true) => return None,
            Reconnect::Once => AFTER_ADMINISTRATOR,
            Reconnect::WithNewToken | Reconnect::WithJitter => retry_after.unwrap_or_default(),
        };
        self.failures = self.failures.saturating_add(1);
        if self.retry.attempts.is_some_and(|most| self.failures >= most) {
            return None;
        }
        let doubled = self.retry.first.saturating_mul(2u32.saturating_pow(self.failures - 1));
        Some(at_least + doubled.min(self.retry.max).mul_f64(random))
    }
}

/// Uniform in 0..=1, from the operating system.
pub(crate) fn random() -> f64 {
    f64::from(u32::from_ne_bytes(realtime_proto::ids::random())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn backoff() -> Backoff {
        Backoff::new(Retry::default(), true)
    }

    #[test]
    fn delays_double_up_to_the_cap_and_start_over_after_a_stable_session() {
        let mut b = backoff();
        let ceilings: Vec<_> = (0..8).map(|_| b.after(None, None, NONE, 1.0).unwrap().as_millis()).collect();
        assert_eq!(ceilings, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(b.after(Some(1001), None, STABLE, 1.0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn jitter_is_full() {
        let mut b = backoff();
        assert_eq!(b.after(None, None, NONE, 0.0), Some(NONE));
        assert_eq!(b.after(None, None, NONE, 0.5), Some(Duration::from_millis(500)));
        assert!((0.0..=1.0).contains(&random()));
    }

    #[test]
    fn short_sessions_do_not_count_as_success() {
        let mut b = backoff();
        b.after(Some(1001), None, NONE, 1.0);
        assert_eq!(b.after(Some(1001), None, STABLE / 2, 1.0), Some(Duration::from_secs(1)));
    }

    #[test]
    fn codes_that_say_no_are_final() {
        for code in [1002, 1007, 1008, 1009, 4004, 4009, 4400, 4403, 4404] {
            assert_eq!(backoff().after(Some(code), None, NONE, 0.0), None, "{code}");
        }
    }

    #[test]
    fn an_expired_token_is_final_unless_there_is_a_provider() {
        for code in [4001, 4401] {
            assert_eq!(Backoff::new(Retry::default(), false).after(Some(code), None, NONE, 0.0), None);
            assert!(backoff().after(Some(code), None, NONE, 0.0).is_some());
        }
    }

    #[test]
    fn after_an_administrators_close_it_comes_back_once_and_not_before_five_seconds() {
        let mut b = backoff();
        assert_eq!(b.after(Some(4003), None, NONE, 0.0), Some(Duration::from_secs(5)));
        assert_eq!(b.after(Some(4003), None, STABLE, 0.0), None);
        let mut b = backoff();
        b.after(Some(4003), None, NONE, 0.0);
        assert!(b.after(Some(4003), None, FORGIVEN, 0.0).is_some());
    }

    #[test]
    fn a_time_to_wait_from_the_server_is_kept() {
        let wait = Duration::from_secs(7);
        assert_eq!(backoff().after(Some(4503), Some(wait), NONE, 0.0), Some(wait));
    }

    #[test]
    fn attempts_are_limited_where_asked() {
        let mut b = Backoff::new(Retry { attempts: Some(2), ..Retry::default() }, true);
        assert!(b.after(None, None, NONE, 0.0).is_some());
        assert_eq!(b.after(None, None, NONE, 0.0), None);
    }
}
