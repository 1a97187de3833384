//! Standard output. A reader that goes away (`| head`) gets no more, and that is no failure: the command does all the
//! same what it was asked to do, and ends with the status that this has.

use std::io::{self, Write, stdout};

use serde_json::Value;

use crate::failure::Failure;

/// Who reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// Somebody may.
    There,
    /// Nobody ever will.
    Gone,
}

/// Prints text as it is.
pub(super) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    write(bytes).map(drop)
}

/// Prints a line of many, for a command that has nothing else to do.
pub(super) fn one_of_many(text: &str) -> Result<Reader, Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Flushes as well: readers of a pipe see it now.
fn write(bytes: &[u8]) -> Result<Reader, Failure> {
    let mut out = stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(e) => Err(Failure::unwritten(&e)),
    }
}

/// Prints a line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    raw(format!("{text}\n").as_bytes())
}

/// Prints a document for people and programs alike.
pub(super) fn document(document: &Value) -> Result<(), Failure> {
    line(&pretty(document))
}

/// Prints the one or the other.
pub(super) fn either(json: bool, document: impl FnOnce() -> Value, text: &str) -> Result<(), Failure> {
    if json { line(&document().to_string()) } else { line(text) }
}

/// Indented JSON.
pub(super) fn pretty(document: &Value) -> String {
    // A `Value` has string keys only: it cannot fail.
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// Prints rows in aligned columns.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    line(&render(head))?;
    rows.iter().try_for_each(|row| line(&render(row.each_ref().map(String::as_str))))
}
