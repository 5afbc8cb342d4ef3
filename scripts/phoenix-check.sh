#!/usr/bin/env bash
# Shows sipdo's traces in a backend that nobody here wrote: Arize Phoenix, from PyPI, offline once it is installed.
#
# Installs Phoenix into a virtual environment (PHOENIX_VENV, else .tools/phoenix; some minutes the first time), starts
# it on free ports, runs the object-counting example with simulated models and everything traced, and asks Phoenix over
# its REST API whether every span has arrived and is of a kind that it knows, and whether one trace holds spans of the coordinator
# and of all five agents, with models and token counts.
# KEEP=1 leaves Phoenix running and says where to look.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${CARGO_TARGET_DIR:-target}/debug
venv=${PHOENIX_VENV:-.tools/phoenix}
work=$(mktemp -d)
phoenix=

finish() {
  if [ -n "${KEEP:-}" ]; then
    echo "Phoenix goes on (process $phoenix): http://127.0.0.1:$http"
  else
    [ -z "$phoenix" ] || kill "$phoenix" 2>/dev/null || true
    rm -rf "$work"
  fi
}
trap finish EXIT

[ -x "$bin/sipdo" ] || { echo "build first: make build" >&2; exit 1; }
if [ ! -x "$venv/bin/phoenix" ]; then
  echo "installing arize-phoenix into $venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" --disable-pip-version-check install --quiet arize-phoenix
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
http=$(free_port)
grpc=$(free_port)

PHOENIX_WORKING_DIR=$work PHOENIX_HOST=127.0.0.1 PHOENIX_PORT=$http PHOENIX_GRPC_PORT=$grpc \
  PHOENIX_TELEMETRY_ENABLED=false "$venv/bin/phoenix" serve >"$work/phoenix.log" 2>&1 &
phoenix=$!
answers() { curl --silent --fail --output /dev/null "http://127.0.0.1:$http/healthz"; }
# Its first start makes a database and loads much: minutes on a busy machine.
for _ in $(seq 300); do
  if answers; then break; fi
  kill -0 "$phoenix" 2>/dev/null || break
  sleep 1
done
answers || { tail -n 30 "$work/phoenix.log" >&2; exit 1; }

OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$grpc OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none \
  OTEL_RESOURCE_ATTRIBUTES=openinference.project.name=sipdo \
  "$bin/sipdo" optimize examples/object-counting/task.toml --simulated --data-dir "$work/sipdo" \
  --set strategy.repair_seed_errors=false --set strategy.levels=4 --out "$work/out" --quiet

"$venv/bin/python" scripts/phoenix-check.py "http://127.0.0.1:$http" sipdo "$work/sipdo"
