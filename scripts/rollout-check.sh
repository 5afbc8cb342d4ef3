#!/usr/bin/env bash
# Shows that an older version and this one can work on one run: builds the binaries of an older git ref under
# target/rollout, starts a run with them, and replaces them one at a time by the binaries of this checkout, and back.
# usage: scripts/rollout-check.sh OLD_REF
set -euo pipefail
cd "$(dirname "$0")/.."

old=${1:?usage: scripts/rollout-check.sh OLD_REF, for example the tag of the last release}
sha=$(git rev-parse --verify --short=12 "$old^{commit}")
rollout=$PWD/target/rollout
source=$rollout/source-$sha
binaries=$rollout/bin-$sha
built=(sipdo-coordinator sipdo-generator sipdo-checker sipdo-verifier sipdo-learner sipdo-optimizer)

if [ ! -x "$binaries/sipdo-coordinator" ]; then
  echo "building $old ($sha)"
  mkdir -p "$rollout"
  git worktree prune
  [ -d "$source" ] || git worktree add --detach "$source" "$sha"
  # One folder for all refs, so that dependencies are built once.
  packages=("${built[@]/#/--package=}")
  (cd "$source" && cargo build --locked --bins "${packages[@]}" --target-dir "$rollout/build")
  git worktree remove --force "$source"
  mkdir -p "$binaries"
  for program in "${built[@]}"; do
    cp "$rollout/build/debug/$program" "$binaries/"
  done
fi

echo "building this checkout"
cargo build --workspace --bins --locked
SIPDO_OLD_BIN=$binaries cargo test --locked -p sipdo-tests --test runs -- --nocapture rollout::
echo "$old ($sha) and this checkout work on one run"
