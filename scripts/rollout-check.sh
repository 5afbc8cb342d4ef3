#!/usr/bin/env bash
# Shows that an older version and this one can work on one run: builds the programs of an older git ref, starts a run with
# them, and replaces them one at a time by those of this checkout, and back.
# usage: scripts/rollout-check.sh OLD_REF
set -euo pipefail
cd "$(dirname "$0")/.."

old=${1:?usage: scripts/rollout-check.sh OLD_REF, for example the tag of the last release}
programs=$(scripts/build-ref.sh "$old" debug)

echo "building this checkout"
cargo build --workspace --bins --locked
SIPDO_OLD_BIN=$programs cargo test --locked -p sipdo-tests --test runs -- --nocapture rollout::
echo "$old (${programs##*-}) and this checkout work on one run"
