# sipdo: each target in one or two lines; `make help` lists them.
BIN := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= $(HOME)/.local
BINARIES := sipdo sipdo-coordinator sipdo-generator sipdo-checker sipdo-verifier sipdo-learner sipdo-optimizer sipdo-simulator
TASK ?= examples/object-counting/task.toml
BENCH ?= speed

.DEFAULT_GOAL := help
.PHONY: help demo chaos rollout paired test lint build bench bench-quality bench-consensus bench-speed bench-verdict bench-answers release install clean nats docs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

demo: nats build ## improve the prompt of an example task here and now, with the simulated model: no key, no account
	$(BIN)/debug/sipdo optimize $(TASK) --simulated

test: nats build ## every test of every crate, against a real nats-server
	cargo test --workspace --locked

lint: ## formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

docs: ## docs/options.md, from the comments and defaults of the code
	SIPDO_WRITE_DOCS=1 cargo test -p sipdo-strategies --test options_page --locked

build: ## every binary, for development
	cargo build --workspace --bins --locked

chaos: nats build ## at least 200 random faults of all 63 kinds, and at least 20 runs held against the undisturbed ones (5 to 8 minutes); SIPDO_CHAOS_SEED chooses others
	$(BIN)/debug/chaos

rollout: nats ## an older version (OLD=its git ref) and this one work on one run, replaced one by one and back
	scripts/rollout-check.sh $(OLD)

paired: nats ## speed of an older version (OLD=its git ref) and of this one, in turn against one simulator, as ratios; BENCH=speed, PAIRS=7
	scripts/paired.sh "$(OLD)" $(BENCH) $(PAIRS)

bench: bench-quality bench-consensus bench-speed bench-verdict bench-answers ## all five benchmarks

bench-quality: nats release ## accuracy from a one-line prompt on every simulated family, with calls and tokens
	$(BIN)/release/bench-quality

bench-consensus: nats release ## wrong labels that get past the three voters
	$(BIN)/release/bench-consensus

bench-verdict: nats release ## how often the held-out test keeps a prompt that is no better, and finds one that is
	$(BIN)/release/bench-verdict

bench-answers: release ## how many answers are read rightly, form by form, and how long reading takes
	$(BIN)/release/bench-answers

bench-speed: nats release ## jobs per second end to end, CPU, memory, jobs in flight, the price of durability
	$(BIN)/release/bench-speed

release: ## every binary, optimized
	cargo build --workspace --bins --locked --release

install: nats release ## release binaries into ~/.local/bin, or PREFIX/bin, with the nats-server of .tools where there is none
	install -d $(PREFIX)/bin && install $(addprefix $(BIN)/release/,$(BINARIES)) $(PREFIX)/bin
	@command -v nats-server >/dev/null || [ ! -x .tools/bin/nats-server ] || install .tools/bin/nats-server $(PREFIX)/bin

clean: ## what was built; the tools in .tools stay
	cargo clean

nats: # a suitable nats-server in .tools, where the machine has none
	@scripts/get-nats-server.sh
