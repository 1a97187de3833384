//! Calendar months in UTC, over which quotas count. Time itself is an argument.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// A calendar month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(u32);

impl Month {
    /// The month of a point in time, in seconds since the Unix epoch. Past the year 9999, its last month.
    #[must_use]
    pub fn at(unix_seconds: u64) -> Self {
        let time = i64::try_from(unix_seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let date = Offset::UTC.to_datetime(time.unwrap_or(Timestamp::MAX));
        // A time since the epoch has a positive year, and months are 1 to 12.
        let (year, month) = (date.year().unsigned_abs(), date.month().unsigned_abs());
        Self(u32::from(year) * 12 + u32::from(month) - 1)
    }

    /// The month of an index; `None` past the year 9999.
    #[must_use]
    pub fn from_index(index: u32) -> Option<Self> {
        (index < 10_000 * 12).then_some(Self(index))
    }

    /// Year × 12 + month − 1: the form in messages. Consecutive months have consecutive indexes.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The month before.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The month after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits = |text: &str, n| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
        let (year_ok, month_ok) = (digits(year, 4), digits(month, 2));
        let (year, month): (u32, u32) = (year.parse().ok()?, month.parse().ok()?);
        (year_ok && month_ok && (1..=12).contains(&month)).then(|| Self(year * 12 + month - 1))
    }

    /// Seconds from a point in time until the month ends; 0 once it has.
    #[must_use]
    pub fn seconds_left(self, unix_seconds: u64) -> u64 {
        self.next().first_second().saturating_sub(unix_seconds)
    }

    /// Seconds since the Unix epoch at which the month begins; 0 for months before it.
    fn first_second(self) -> u64 {
        let (year, month) = (self.0 / 12, self.0 % 12 + 1);
        let (Ok(year), Ok(month)) = (i16::try_from(year), i8::try_from(month)) else { return u64::MAX };
        match DateTime::new(year, month, 1, 0, 0, 0, 0).map(|date| Offset::UTC.to_timestamp(date)) {
            Ok(Ok(begins)) => begins.as_second().try_into().unwrap_or(0),
            // Past the year 9999.
            Ok(Err(_)) | Err(_) => u64::MAX,
        }
    }
}

/// `2026-11`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0 / 12, self.0 % 12 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T21:27:17Z.
    const NOVEMBER: u64 = 1_795_469_237;

    #[test]
    fn a_month_begins_and_ends_at_midnight_utc() {
        let november = Month::at(NOVEMBER);
        assert_eq!(november.to_string(), "2026-11");
        let december = NOVEMBER + november.seconds_left(NOVEMBER);
        assert_eq!(Month::at(december - 1), november);
        assert_eq!(Month::at(december), november.next());
        assert_eq!((november.seconds_left(december - 1), november.seconds_left(december)), (1, 0));
        assert_eq!(december % 86_400, 0);
        assert_eq!(Month::at(0).to_string(), "1970-01");
    }

    #[test]
    fn a_year_has_twelve_of_them() {
        let december = Month::at(NOVEMBER).next();
        assert_eq!((december.to_string(), december.next().to_string()), ("2026-12".into(), "2027-01".into()));
        assert_eq!(december.next().previous(), december);
        // 2028 is a leap year.
        let february = Month::parse("2028-02").unwrap();
        assert_eq!(february.seconds_left(february.first_second()), 29 * 86_400);
    }

    #[test]
    fn texts_and_indexes_are_read_back_and_nothing_else_is() {
        let november = Month::at(NOVEMBER);
        assert_eq!(Month::parse("2026-11"), Some(november));
        assert_eq!(Month::from_index(november.index()), Some(november));
        assert_eq!(Month::from_index(u32::MAX), None);
        for bad in ["", "2026", "2026-00", "2026-13", "2026-1", "26-11", "2026-11-01", "+026-11", "2026-+1"] {
            assert_eq!(Month::parse(bad), None, "{bad}");
        }
        assert_eq!(Month::at(u64::MAX).to_string(), "9999-12");
    }
}
