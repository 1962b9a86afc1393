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

# Replace three nodes of one release by those of the next, under load
rolling-upgrade old new:
    tools/rolling-upgrade {{old}} {{new}}

# Measure the times of refused sign-ins; bench/RESULTS.md has figures and bounds
bench:
    cargo bench --bench sign_in_times

# The documentation of the code, in target/doc
docs:
    cargo doc --locked --no-deps

# Fuzz every parser of outside input, each for so many seconds; CONTRIBUTING.md tells what it needs
fuzz seconds="60":
    for target in $(cargo fuzz list); do mkdir -p fuzz/corpus/$target && RUSTC_BOOTSTRAP=1 cargo fuzz run $target fuzz/corpus/$target fuzz/seeds/$target -- -max_total_time={{seconds}} || exit 1; done
