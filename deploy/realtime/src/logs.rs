//! Where log lines go: standard error, for people on a terminal, JSON otherwise. `RUST_LOG` selects.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// What a server logs unless `RUST_LOG` says otherwise. The TLS and HTTP/2 libraries warn of what clients do: anybody
/// could fill the log, and raise alerts on warnings.
const SERVER_LINES: &str = "info,rustls=error,h2=error";

/// For a server: from `info` on.
pub(crate) fn for_server() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(SERVER_LINES));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // A line that cannot be written, as to a terminal that is gone, is lost. The library would say so on standard
    // error, and panic because that fails, too.
    let builder = builder.log_internal_errors(false);
    // A second subscriber cannot be: main calls one of these once.
    let _ = if stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}

/// For commands, whose own output is what counts: from `warn` on, always for people.
pub(crate) fn for_commands() {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // At `trace` the library writes its requests out, the token with them.
    if let Ok(quieter) = "tungstenite::handshake=warn".parse() {
        filter = filter.add_directive(quieter);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let _ = builder.with_ansi(stderr().is_terminal()).without_time().try_init();
}
