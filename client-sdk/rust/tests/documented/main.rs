//! The program in Rust of docs/http-api.md: compiled here, and the same there.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod program;

#[test]
fn the_program_of_the_page_is_the_one_that_is_compiled() {
    let page = include_str!("../../../../docs/http-api.md");
    let (_, shown) = page.split_once("```rust\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let compiled = include_str!("program.rs").replace("pub(crate) ", "");
    assert!(compiled.ends_with(shown), "{compiled}");
    // Called by nobody: it publishes where the documents' server is.
    drop(program::publish("a token"));
}
