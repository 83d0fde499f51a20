# Everything a person types. Logic lives in the crates and in scripts/.
.DEFAULT_GOAL := help
VOXFLOW := target/debug/voxflow
# What the benchmarks measure: the release build where there is one.
MEASURED := $(or $(wildcard target/release/voxflow),$(VOXFLOW))

.PHONY: help setup build wheel test-wheel demo test test-device torture test-slurm fuzz parity bench bench-peers bench-hippocampus bench-orchestrators bench-cluster bench-tables bench-nnunet bench-plateau bench-builds tables check doc pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## fetch libtorch once into a cache folder (CUDA=1: also the libraries for an NVIDIA GPU)
	@python3 scripts/setup.py $(if $(CUDA),--cuda)

build: setup ## build both programs
	cargo build

wheel: setup ## pack both programs into a Python wheel (target/wheel), which runs them against an installed PyTorch
	cargo build --release
	@python3 scripts/licences.py
	@python3 scripts/python.py wheel scripts/wheel.py

demo: build ## run a whole experiment on the embedded phantom (10 to 15 minutes from nothing)
	$(VOXFLOW) run workflows/demo.yaml

test: setup ## build and run all tests
	cargo test

test-slurm: setup ## the tests of clusters on a real Slurm, started here (root; VOXFLOW_SLURM_ROUNDS, VOXFLOW_SEED)
	@VOXFLOW_TEST_SLURM=1 cargo test --no-fail-fast --test slurm --test slurm_faults -- --test-threads=1 --nocapture

test-device: setup ## the tests on a pretend CUDA device with all recipes and every operation failing in turn (an hour)
	@VOXFLOW_TEST_DEVICE=1 cargo test --test device

test-wheel: wheel ## install the wheel into a fresh environment, run the demo, uninstall (fetches PyTorch with CUDA, 3 GB)
	@python3 tests/wheel/licences.py target/wheel
	@python3 tests/wheel/walkthrough.py target/wheel

torture: setup ## kill 300 runs, fail every file operation, flip bits, crowd the store (VOXFLOW_TORTURE_SEED=N repeats)
	@python3 scripts/torture.py

fuzz: setup ## fuzz each parser of foreign bytes for VOXFLOW_FUZZ_MINUTES (5); without cargo-fuzz, 100 000 mutants each
	@python3 scripts/fuzz.py

parity: build ## compare with MONAI and nnU-Net, number for number (VOXFLOW_PYTHON=… has it; else 5 GB are fetched once)
	python3 scripts/python.py monai tests/parity/compare.py $(VOXFLOW)

bench: bench-peers bench-orchestrators bench-tables bench-hippocampus ## all of the following, one after the other, on a machine with nothing else to do

bench-peers: build ## measure the program and MONAI side by side, in the environment of 'make parity'
	python3 scripts/python.py monai tests/bench/peers.py $(MEASURED)

bench-hippocampus: build ## how long both train until a mean Dice of 0.85 (DATA_ROOT=… has the task; an hour)
	python3 scripts/python.py monai tests/bench/hippocampus.py $(MEASURED)

bench-orchestrators: build ## what a run with nothing to do costs, beside DVC and Snakemake (10 GB of disk; ARGS=--growth: many items and stages only)
	python3 scripts/python.py orchestrators tests/bench/orchestrators.py $(MEASURED) $(ARGS)

bench-cluster: build ## what a cluster costs beside its own time, with Snakemake's plugin, on a Slurm started here (root)
	python3 scripts/python.py cluster tests/bench/cluster.py $(MEASURED) $(ARGS)

bench-nnunet: build ## measure the program and nnU-Net side by side (DATA_ROOT=… has the hippocampus; hours; ARGS=--tiny rehearses)
	python3 scripts/python.py monai tests/bench/nnunet.py $(MEASURED) --data "$(DATA_ROOT)" $(ARGS)

bench-plateau: setup ## what 'epochs: auto' would have saved and lost on trainings that ran to their end (CURVES=… is their file)
	cargo run --example plateau -- "$(CURVES)"

bench-tables: build ## how fast 1000 runs are compared, beside reading the same bytes with polars
	python3 scripts/python.py tables tests/bench/tables.py $(MEASURED)

bench-builds: ## measure two builds side by side (BEFORE=… and AFTER=… are their programs)
	@python3 tests/bench/builds.py $(BEFORE) $(AFTER) $(ARGS)

tables: build ## run the queries of docs/tables.md as they stand there
	python3 scripts/python.py tables scripts/tables.py $(VOXFLOW)

check: setup ## formatting, lints and structure, as CI has them
	cargo fmt --check
	python3 scripts/structure.py --check
	cargo clippy --all-targets -- -D warnings

doc: build ## the interface's documentation, and the workflow reference from the table of kinds
	cargo doc --no-deps
	$(VOXFLOW) kinds --format markdown > docs/workflow.md

pictures: ## draw the README's pictures from the newest run of the demo (needs chromium)
	python3 scripts/pictures.py $(VOXFLOW)

clean: ## remove what was built (libtorch and .voxflow stay)
	cargo clean
