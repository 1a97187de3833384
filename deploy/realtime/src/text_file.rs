//! Files of bounded size: a device, or the wrong file, must not fill the machine's memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A file that is read as a whole. Well above 10,000 applications with their keys.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The text of a file.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    read_from(File::open(path)?)
}

/// The text that `reader` has, without the byte order mark that some editors put before it.
pub(crate) fn read_from(reader: impl Read) -> io::Result<String> {
    let mut bytes = all(reader)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The bytes of a file, such as certificates with names in any encoding between them.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    all(File::open(path)?)
}

fn all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more tells a whole file from the beginning of a longer one.
    if reader.take(MAX_BYTES + 1).read_to_end(&mut bytes)? as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 64 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_up_to_the_limit_and_no_byte_more() {
        let endless = || io::repeat(b'x');
        assert_eq!(read_from(endless().take(MAX_BYTES)).unwrap().len() as u64, MAX_BYTES);
        assert_eq!(read_from(endless()).unwrap_err().to_string(), "it has more than 64 MiB");
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_bytes(Path::new("/dev/zero")).is_err());
        assert_eq!(read_from(&b"\xef\xbb\xbf{}"[..]).unwrap(), "{}");
        assert_eq!(read_from(&b"\xff"[..]).unwrap_err().to_string(), "it is not UTF-8");
    }
}
