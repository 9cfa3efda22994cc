# Everything that people run here. `make` alone prints this list.

.DEFAULT_GOAL := help
.PHONY: help run test clients clients-python bench webhooks-drill regressions-simulation check fmt lint doc deps api-documents autobahn cluster cluster-check

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

run: ## the embedded server with its demo page
	cargo run --release

test: deps ## every test, on real parts; installs them first when it may
	cargo test --workspace --no-fail-fast
	$(MAKE) clients clients-python

clients: ## the package for JavaScript: build, types, tests
	clients/js/check

clients-python: ## the package for Python: style, types, tests
	clients/python/check

bench: ## what the hot paths of a node cost: decide, encode, sequence, deliver
	cargo bench -p gateway --bench hot_paths

webhooks-drill: ## a receiver of webhooks down for WEBHOOKS_DRILL_DOWN (600 s), nodes killed meanwhile
	cargo test -p gateway --test faults webhooks::drill -- --ignored --exact --nocapture

regressions-simulation: ## days of simulated load: how often the watch for regressions is wrong
	cargo test --release -p common --test regressions -- --ignored --nocapture

check: lint doc test ## exactly what CI runs

fmt: ## format the code
	cargo fmt --all

lint: ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

doc: ## the documentation of the crates, without warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

deps: ## the programs that the tests start
	@testkit/install

api-documents: ## the API documents by tools of others, and a client made from them; needs the network
	gateway/tests/api_documents/check

autobahn: ## the WebSocket layer against the Autobahn test suite; takes long
	gateway/tests/autobahn

cluster: ## the whole cluster in containers, on port 8080
	docker compose up --build

cluster-check: ## what the cluster in containers promises, tried out
	deploy/check
