//! The one written form of points in time: RFC 3339 with milliseconds, UTC. Time itself is an argument.

use jiff::Timestamp;

/// Writes milliseconds since the Unix epoch as `2023-09-17T15:26:35.666Z`. Past the year 9999, where the
/// form ends, the last time that it can say.
#[must_use]
pub fn timestamp(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or(Timestamp::MAX))
}

/// Whether the text is a point in time.
pub(crate) fn is_timestamp(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds_in_utc() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(1_694_964_395_666), "2023-09-17T15:26:35.666Z");
        assert_eq!(timestamp(u64::MAX), "9999-12-30T22:00:00.999Z");
        assert!(is_timestamp(&timestamp(1)));
        assert!(!is_timestamp("yesterday"));
    }
}
