#!/usr/bin/env bash
# Builds every program of a git ref beside this checkout and prints the folder that holds them; all else goes to stderr.
# What was built once is found again: the folder is named after the commit and the profile.
# usage: scripts/build-ref.sh REF debug|release
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: scripts/build-ref.sh REF debug|release"
ref=${1:?$usage}
profile=${2:?$usage}
case $profile in
  debug) cargo_profile=dev ;;
  release) cargo_profile=release ;;
  *) echo "$usage" >&2; exit 1 ;;
esac

sha=$(git rev-parse --verify --short=12 "$ref^{commit}")
old=$PWD/target/old
source=$old/source-$sha
binaries=$old/$profile-$sha
programs=(sipdo-coordinator sipdo-generator sipdo-checker sipdo-verifier sipdo-learner sipdo-optimizer)

if [ ! -d "$binaries" ]; then
  echo "building $ref ($sha, $profile)" >&2
  mkdir -p "$old"
  git worktree prune
  [ -d "$source" ] || git worktree add --quiet --detach "$source" "$sha" >&2
  # The whole workspace, as this checkout is built: a build of some packages would leave out features that others ask for.
  # One target folder for all refs, so that dependencies are built once.
  (cd "$source" && cargo build --workspace --bins --locked --profile "$cargo_profile" --target-dir "$old/build") >&2
  git worktree remove --force "$source"
  # Under its name only when it is whole.
  rm -rf "$binaries.new"
  mkdir "$binaries.new"
  cp "${programs[@]/#/$old/build/$profile/}" "$binaries.new/"
  mv "$binaries.new" "$binaries"
fi
echo "$binaries"
