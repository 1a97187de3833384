//! Nothing but tests (`tests/contract`): what the project's protocol document promises, asked of a running server.
