#!/usr/bin/env bash
# Compares the speed of an older version with this one's: builds the release programs of both, and runs one benchmark of
# both in turn against one simulator.
# usage: scripts/paired.sh OLD_REF [BENCH [PAIRS]]
set -euo pipefail
cd "$(dirname "$0")/.."

old=${1:?usage: scripts/paired.sh OLD_REF [BENCH [PAIRS]], for example the tag of the last release}
programs=$(scripts/build-ref.sh "$old" release)

echo "building this checkout"
cargo build --workspace --bins --locked --release
echo "new is this checkout, old is $old (${programs##*-})"
SIPDO_OLD_BIN=$programs "${CARGO_TARGET_DIR:-target}/release/bench-paired" "${@:2}"
