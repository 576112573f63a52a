# The entry for people and for CI. `make test` is all that a fresh machine with cargo needs.

CARGO ?= cargo
# The runner of the tests: nextest where it is installed, else cargo's own, which is the reference (`make test RUNNER=test`).
RUNNER ?= $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo nextest || echo test)

.DEFAULT_GOAL := help

.PHONY: help
help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: ## Install what the tests need, where it is missing
	@tests/setup/tests.sh

.PHONY: test
test: setup ## All tests, with real parts
ifeq ($(RUNNER),nextest)
	$(CARGO) nextest run --locked --no-fail-fast
else
	$(CARGO) test --locked --no-fail-fast
endif

.PHONY: differential
differential: ## Ten million generated pairs of rule and event: native against interpreted
	REDFLAG_PAIRS=10000000 $(CARGO) test --locked --release --lib native_and_interpreted -- --nocapture

.PHONY: lint
lint: fmt clippy ## Formatting and lints

.PHONY: fmt
fmt: ## Formatting is as rustfmt.toml says
	$(CARGO) fmt --check

# The profile and features are those of the tests: what clippy has checked, they need not check again.
.PHONY: clippy
clippy: ## Lints, warnings refused
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test reliability -- -D warnings

.PHONY: deny
deny: ## Licences, bans, sources and advisories of the dependencies
	@tests/setup/deny.sh

.PHONY: docs
docs: ## The documentation builds, and its links lead somewhere
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --locked --no-deps --lib --document-private-items
	@python3 tests/setup/links.py

.PHONY: reliability
reliability: ## Real faults, up to three hours, as root: a table and target/reliability.json. ROWS="R1 R9" runs some
	@tests/setup/tests.sh reliability
	$(CARGO) test --locked --test reliability -- $(ROWS)

.PHONY: bench
bench: setup ## The figures of docs/performance.md, as a table and in target/bench/
	$(CARGO) bench --locked

.PHONY: demo
demo: ## The whole path on this machine, with invented people
	$(CARGO) run --locked --release -- demo

.PHONY: clean
clean: ## Everything that was built, tools included
	$(CARGO) clean
