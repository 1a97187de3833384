# The few commands people need. `tests/run` does all of `check` without just.

# Everything that must hold before a change goes in
check: deny
    tests/run

# Rust tests only; `just test -p realtime-session` for one crate
test *args='--workspace':
    cargo test {{args}}

# Format everything
fmt:
    cargo fmt --all

# Licences, bans and sources of the dependencies; skipped where cargo-deny is not installed
deny:
    @if cargo deny --version >/dev/null 2>&1; then cargo deny --all-features check bans licenses sources; else echo "cargo-deny is not installed: skipped (cargo install --locked cargo-deny)"; fi
