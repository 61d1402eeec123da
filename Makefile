.DEFAULT_GOAL := help
.PHONY: help run test test-long bench bench-short bench-instructions bench-peers bench-postgres bench-prune static deb deny sbom package-tests clean

BINARY := $(or $(CARGO_TARGET_DIR),target)/release/mrs-backup

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:[^=]*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build, then show two nights of an instance with a real PostgreSQL, restored and compared
	cargo build --release --locked
	benches/demo/demo.sh $(BINARY)

test: ## Everything that must pass before a change is accepted
	tests/run.sh

test-long: ## All tests with many more random cases, two hours of stress (STRESS_SECONDS=N), real systemd, object stores, packages
	PROPTEST_CASES=5000 MRS_BACKUP_TEST_FEATURES="long-tests restic" tests/run.sh
	cargo build --release --locked
	tests/systemd/run.sh $(BINARY)
	tests/object-stores.sh
	tests/packaging/run.sh

static: ## The program as it is handed out: static, reads restic, the same bytes from the same commit
	tests/packaging/release.sh

deb: target/tools/bin/cargo-deb ## A package for Debian, in target/deb
	tests/packaging/stage.sh "$$(tests/packaging/release.sh)" target/package
	PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo deb --no-build --no-strip --locked --output target/deb/mrs-backup.deb

deny: target/tools/bin/cargo-deny ## Licences, sources and crates that may be part of the program
	PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo deny --locked --config tests/packaging/deny.toml check licenses bans sources

sbom: ## What the program is made of (CycloneDX), in target/sbom.cdx.json
	mkdir -p target
	python3 tests/packaging/sbom.py >target/sbom.cdx.json

package-tests: ## Build and try the package in a fresh Debian; build twice and compare (an hour)
	tests/packaging/run.sh

target/tools/bin/cargo-deb:
	cargo install cargo-deb --version 3.8.0 --locked --profile dev --root target/tools

target/tools/bin/cargo-deny:
	cargo install cargo-deny --version 0.20.2 --locked --profile dev --root target/tools

bench: ## Measure the engine (criterion)
	cargo bench --locked

bench-short: ## Run every benchmark once, to see that it works
	cargo test --locked --benches

bench-instructions: ## Count the instructions of each stage (valgrind), compared with what is written down
	benches/instructions.sh

bench-peers: ## Measure beside restic, rustic, borg and bupstash, as far as they are installed
	cargo build --release --locked
	benches/peers.sh --document docs/benchmarks.md --plots docs/plots $(ARGS)

bench-postgres: ## Measure nights of a PostgreSQL database of 1 GiB beside pg_dump and restic
	cargo build --release --locked
	benches/postgres.sh $(BINARY) $(ARGS)

bench-prune: ## Measure forget and prune beside restic (ARGS="nights"), or on very many chunks (ARGS="chunks")
	cargo build --release --locked --bins --example generate --example synthetic
	benches/prune.py $(if $(ARGS),$(ARGS),nights)

clean: ## Remove everything that was built
	cargo clean
