//! When to come back, and when not to. Pure.

use std::time::Duration;

use realtime_proto::{ApiError, ErrorCode};

use crate::ws::Retry;

/// A stream that stood this long was a success: the next failure starts again with short delays.
const STABLE: Duration = Duration::from_secs(10);

/// Decides after every end of a stream whether and when the next begins.
#[derive(Debug)]
pub(super) struct Pace {
    retry: Retry,
    servers: u32,
    can_renew_token: bool,
    /// A new token was had, and no stream since.
    renewed: bool,
    failures: u32,
}

impl Pace {
    pub(super) fn new(retry: Retry, servers: usize, can_renew_token: bool) -> Self {
        let servers = u32::try_from(servers).unwrap_or(u32::MAX).max(1);
        Self { retry, servers, can_renew_token, renewed: false, failures: 0 }
    }

    /// `stood`: how long the stream was ready; `None` when it never was. `random` is uniform in 0..=1.
    pub(super) fn after(
        &mut self,
        error: &ApiError,
        stood: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        if let Some(stood) = stood {
            self.renewed = false;
            if stood >= STABLE {
                self.failures = 0;
            }
        }
        if error.code == ErrorCode::Unauthenticated {
            let may_renew = self.can_renew_token && !std::mem::replace(&mut self.renewed, true);
            return may_renew.then_some(Duration::ZERO);
        }
        if !may_pass(error.code) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.retry.attempts.is_some_and(|most| self.failures >= most) {
            return None;
        }
        // Every server has its chance before anybody waits for long.
        let rounds = (self.failures - 1) / self.servers;
        let ceiling = self.retry.first.saturating_mul(2u32.saturating_pow(rounds)).min(self.retry.max);
        // One server's wish is none of the next one's.
        let at_least = error.retry_after.filter(|_| self.servers == 1).unwrap_or(0);
        Some(Duration::from_secs(at_least.into()) + ceiling.mul_f64(random))
    }
}

/// Whether the same request may be answered otherwise later, or elsewhere.
fn may_pass(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unavailable
            | ErrorCode::Draining
            | ErrorCode::Partial
            | ErrorCode::Internal
            | ErrorCode::RateLimited
            | ErrorCode::ConnectionLimit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry =
        Retry { first: Duration::from_millis(250), max: Duration::from_secs(5), attempts: None };

    fn error(code: ErrorCode) -> ApiError {
        ApiError::new(code, "why")
    }

    #[test]
    fn each_server_is_tried_soon_and_rounds_take_longer() {
        let mut pace = Pace::new(RETRY, 2, false);
        let mut ceiling =
            || pace.after(&error(ErrorCode::Unavailable), None, 1.0).map(|delay| delay.as_millis());
        let ceilings: Vec<_> = (0..12).filter_map(|_| ceiling()).collect();
        assert_eq!(ceilings, [250, 250, 500, 500, 1000, 1000, 2000, 2000, 4000, 4000, 5000, 5000]);
        assert_eq!(
            pace.after(&error(ErrorCode::Draining), Some(STABLE), 1.0),
            Some(Duration::from_millis(250))
        );
        assert_eq!(pace.after(&error(ErrorCode::Draining), Some(STABLE), 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn what_will_not_change_is_final() {
        for code in [
            ErrorCode::PermissionDenied,
            ErrorCode::InboundDisabled,
            ErrorCode::AppNotFound,
            ErrorCode::AppDisabled,
            ErrorCode::InvalidRequest,
            ErrorCode::AddressForbidden,
        ] {
            assert_eq!(Pace::new(RETRY, 3, true).after(&error(code), Some(STABLE), 0.0), None, "{code:?}");
        }
    }

    #[test]
    fn one_new_token_is_asked_for_after_each_stream() {
        let refused = error(ErrorCode::Unauthenticated);
        assert_eq!(Pace::new(RETRY, 1, false).after(&refused, None, 1.0), None);
        let mut pace = Pace::new(RETRY, 1, true);
        assert_eq!(pace.after(&refused, None, 1.0), Some(Duration::ZERO));
        assert_eq!(pace.after(&refused, Some(Duration::ZERO), 1.0), Some(Duration::ZERO));
        assert_eq!(pace.after(&refused, None, 1.0), None);
    }

    #[test]
    fn the_only_server_s_wish_is_kept() {
        let wish = error(ErrorCode::Unavailable).retry_after(7);
        assert_eq!(Pace::new(RETRY, 1, false).after(&wish, None, 0.0), Some(Duration::from_secs(7)));
        assert_eq!(Pace::new(RETRY, 2, false).after(&wish, None, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn attempts_are_limited_where_asked() {
        let mut pace = Pace::new(Retry { attempts: Some(2), ..RETRY }, 1, false);
        assert!(pace.after(&error(ErrorCode::Unavailable), None, 0.0).is_some());
        assert_eq!(pace.after(&error(ErrorCode::Unavailable), None, 0.0), None);
    }
}
