//! Messages that say who sent them and in which order. Found in a frame by their marks, without parsing it: tests read
//! hundreds of thousands in a debug build.

/// Before and after; nothing else in a frame has it.
const MARK: u8 = b'~';

/// The JSON text of a message: a string.
#[must_use]
pub fn json(from: &str, number: u64) -> String {
    format!("\"~{from}/{number}~\"")
}

/// Sender and number of the message in a frame, if there is one.
#[must_use]
pub fn find(frame: &[u8]) -> Option<(&str, u64)> {
    let first = frame.iter().position(|byte| *byte == MARK)? + 1;
    let length = frame[first..].iter().position(|byte| *byte == MARK)?;
    let text = std::str::from_utf8(&frame[first..first + length]).ok()?;
    let (from, number) = text.split_once('/')?;
    Some((from, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_wherever_it_stands() {
        let frame = format!("{{\"topic\":\"t\",\"data\":{{\"payload\":{},\"id\":\"1\"}}}}", json("a-1", 42));
        assert_eq!(find(frame.as_bytes()), Some(("a-1", 42)));
        assert_eq!(find(b"{\"topic\":\"priv/acks\"}"), None);
    }
}
