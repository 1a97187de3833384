//! The end of a certificate's validity (RFC 5280, 4.1.2.5): the one field that the TLS library does not give out.

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const DAY_SECONDS: i64 = 86_400;

/// `notAfter` in seconds since the Unix epoch, 0 for what lies before it; `None`: not a certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let mut outer = Der(certificate).expect(SEQUENCE)?;
    let mut to_be_signed = outer.expect(SEQUENCE)?;
    if to_be_signed.0.first() == Some(&EXPLICIT_VERSION) {
        to_be_signed.next()?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        to_be_signed.next()?;
    }
    let mut validity = to_be_signed.expect(SEQUENCE)?;
    validity.next()?;
    let (tag, Der(text)) = validity.next()?;
    let seconds = match tag {
        // Years 1950 to 2049.
        UTC_TIME => {
            let year = digits(text.get(..2)?)?;
            seconds(if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)?
        }
        GENERALIZED_TIME => seconds(digits(text.get(..4)?)?, text.get(4..)?)?,
        _ => return None,
    };
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// A row of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and content.
    fn next(&mut self) -> Option<(u8, Self)> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, Self(content)))
    }

    fn expect(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// `MMDDHHMMSSZ` of a year, as RFC 5280 requires it, in seconds since the Unix epoch.
fn seconds(year: i64, text: &[u8]) -> Option<i64> {
    let [rest @ .., b'Z'] = text else { return None };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| digits(&rest[at..at + 2]);
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let time = part(4)? * 3600 + part(6)? * 60 + part(8)?;
    Some(days_since_epoch(year, month, day) * DAY_SECONDS + time)
}

/// Days from 1970-01-01 in the Gregorian calendar: years begin in March here, so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_the_epoch() {
        for (year, rest, expected) in [
            (1970, "0101000000Z", 0),
            (2000, "0229235959Z", 951_868_799),
            (2024, "0301000000Z", 1_709_251_200),
            (2049, "1231235959Z", 2_524_607_999),
            (9999, "1231235959Z", 253_402_300_799),
            (1950, "0101000000Z", -631_152_000),
        ] {
            assert_eq!(seconds(year, rest.as_bytes()), Some(expected), "{year} {rest}");
        }
        for bad in
            ["", "0101000000", "1301000000Z", "0132000000Z", "01010000Z", "0101000000+0100", "x101000000Z"]
        {
            assert_eq!(seconds(2000, bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        for bad in [
            &b""[..],
            b"\x30",
            b"\x30\x80\x00\x00",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x02\x30\x00",
            b"\x02\x01\x00",
        ] {
            assert_eq!(not_after(bad), None);
        }
    }
}
