# Each recipe is a plain command that works the same when copied into a shell.

_default:
    @just --list --unsorted

# Every test that an ordinary change has to pass
test:
    cargo test --locked

# Format and lints
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Everything that CI asks for
ci:
    .ci/run

# The service with its defaults: SQLite in the current folder
serve:
    cargo run --locked -- serve

# The long tests, one at a time, optimised
soak:
    cargo test --release --test it -- --ignored --test-threads 1

# Measure the times of refused sign-ins; bench/RESULTS.md has figures and bounds
bench:
    cargo bench --bench sign_in_times

# The documentation of the code, in target/doc
docs:
    cargo doc --locked --no-deps
