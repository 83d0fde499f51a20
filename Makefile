# Everything a person types. Logic lives in the crates and in scripts/.
.DEFAULT_GOAL := help
VOXFLOW := target/debug/voxflow

.PHONY: help setup build demo test torture fuzz parity bench-peers bench-orchestrators tables bench-tables check doc pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## fetch libtorch once into a cache folder (CUDA=1: also the libraries for an NVIDIA GPU)
	@python3 scripts/setup.py $(if $(CUDA),--cuda)

build: setup ## build both programs
	cargo build

demo: build ## run a whole experiment on the embedded phantom (10 to 15 minutes from nothing)
	$(VOXFLOW) run workflows/demo.yaml

test: setup ## build and run all tests
	cargo test

torture: setup ## kill 300 runs, fail every file operation, flip bits, crowd the store (VOXFLOW_TORTURE_SEED=N repeats)
	@python3 scripts/torture.py

fuzz: setup ## give a hundred thousand mutants of known inputs to each parser of foreign bytes
	VOXFLOW_TORTURE_MUTANTS=$(or $(VOXFLOW_TORTURE_MUTANTS),100000) cargo test --test mutants -- --nocapture

parity: build ## compare with MONAI, number for number (PARITY_PYTHON=… has it; else 5 GB are fetched once)
	python3 scripts/parity.py

bench-peers: build ## measure the program and MONAI side by side, in the environment of 'make parity'
	python3 scripts/bench_peers.py

bench-orchestrators: build ## what a run with nothing to do costs, beside DVC and Snakemake (release build if there; 10 GB of disk)
	python3 scripts/bench_orchestrators.py

tables: build ## run the queries of docs/tables.md as they stand there (fetches DuckDB, polars and pandas once)
	python3 scripts/tables.py

bench-tables: build ## how fast 1000 runs are compared, beside reading the same bytes with polars (release build if there)
	python3 scripts/bench_tables.py

check: setup ## formatting and lints, as CI has them
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

doc: build ## the interface's documentation, and the workflow reference from the table of kinds
	cargo doc --no-deps
	$(VOXFLOW) kinds --format markdown > docs/workflow.md

pictures: ## draw the README's pictures from the newest run of the demo (needs chromium)
	python3 scripts/pictures.py $(VOXFLOW)

clean: ## remove what was built (libtorch and .voxflow stay)
	cargo clean
