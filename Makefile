# Every target first makes what it needs of the environment in .venv, when that is missing or stale.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ENV := .venv/.complete
DEV := .venv/.complete-dev
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt
# One thread for each test: the cores belong to the tests beside it and to the workers that they start.
# A file's tests share what they made, so they stay in one process.
PYTEST_OPTIONS := --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 20
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_OPTIONS)
# What `make test` leaves to `make test-all`, by the markers in pyproject.toml. Only files that name one are
# read for it.
LATER := ray or slow or browser or compile
MARKED = $$(grep -rlE --include='test_*.py' 'mark\.($(1))\b' tests | sort)

# An environment with the CUDA build of torch, and stubs of CUDA's runtime and driver: docs/gpu.md.
GPU := .venv-gpu
GPU_PIP := $(GPU)/bin/python -m pip install --quiet -c constraints.txt
STUBS := $(CURDIR)/$(GPU)/stubs
GPU_DRY := OMP_NUM_THREADS=1 LD_PRELOAD=$(STUBS)/libcudart_stub.so LD_LIBRARY_PATH=$(STUBS) \
    $(GPU)/bin/pytest $(PYTEST_OPTIONS) --dist load tests/gpu_dry

# On a machine with a GPU: an interpreter that is there, with torch, and nothing is installed into it.
GPU_PYTHON = $(if $(filter command% environment%,$(origin PYTHON)),$(PYTHON),$(firstword $(wildcard $(BIN)/python) $(PYTHON)))
# What pyproject.toml says of pytest's plugins, and tests/conftest.py imports, may be absent there.
# cuBLAS reads its variable once, and tests of equal bits come after others.
GPU_TESTS = CYCLEGAN_NO_SHAPE_CHECKS=1 CUBLAS_WORKSPACE_CONFIG=:4096:8 $(GPU_PYTHON) -m pytest tests/gpu --confcutdir tests/gpu \
    -o addopts=--import-mode=importlib -o filterwarnings=default -W 'ignore:Unknown config option' \
    -ra -p no:cacheprovider

.PHONY: env demo check test test-all gpu gpu-dry gpu-dry-quick gpu-dry-cpu bench faults docs clean

# What users need.
env: $(ENV)

$(ENV): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e .
	touch $@

# What checks, tests and pages need beside it.
$(DEV): $(ENV)
	$(PIP) -e '.[dev,docs]'
	touch $@

demo: env
	$(BIN)/python examples/demo.py

# Style and types.
check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Before a commit, in minutes.
test: check
	$(PYTEST) -m "not gpu and not ($(LATER))"

# Everything: `make test` and what that leaves out. The shape checks of the other tests break compiled
# graphs, so the compile tests have a call of their own.
test-all: test
	$(PYTEST) -m "not gpu and not compile and ($(LATER))" $(call MARKED,ray|slow|browser)
	CYCLEGAN_NO_SHAPE_CHECKS=1 $(PYTEST) --dist load -m compile $(call MARKED,compile)
	[ ! -e $(GPU)/.complete ] || $(MAKE) gpu-dry-quick

# Both, whatever the first finds; 8 minutes for the second.
gpu:
	@status=0; \
	if $(GPU_PYTHON) -c 'import pytest'; then $(GPU_TESTS) -m gpu || status=$$?; \
	else echo 'SKIP tests/gpu: pytest is not installed'; fi; \
	$(GPU_PYTHON) -m benchmarks.gpu --json benchmarks/results/gpu.json --docs docs/gpu.md || status=$$?; \
	exit $$status

# The CUDA build alone: 4.7 GB. With `===` a CPU build of that version is none of it, wherever pip looks.
$(GPU)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GPU)
	$(GPU_PIP) $$(sed -n 's/^torch==/torch===/p' constraints.txt)
	$(GPU_PIP) -e '.[dev]'
	touch $@

$(GPU)/.complete-stubs: $(GPU)/.complete $(wildcard tests/gpu_dry/*.[ch]) tests/gpu_dry/stub_libraries.py
	$(GPU)/bin/python -m tests.gpu_dry.stub_libraries $(STUBS)
	touch $@

# What would end or slow the first minute on a GPU and shows in devices, shapes, types and code.
gpu-dry: $(GPU)/.complete-stubs
	$(GPU_DRY) -m "not compile"
	CYCLEGAN_NO_SHAPE_CHECKS=1 $(GPU_DRY) -m compile

gpu-dry-quick: $(GPU)/.complete-stubs
	$(GPU_DRY) -m "not ($(LATER))"

# The tests of the networks and of training, on the CPU, under the CUDA build.
gpu-dry-cpu: $(GPU)/.complete
	OMP_NUM_THREADS=1 $(GPU)/bin/pytest $(PYTEST_OPTIONS) -m "not gpu and not ($(LATER))" \
	    tests/cyclegan/nets tests/cyclegan/data tests/cyclegan/inference tests/cyclegan/train \
	    tests/cyclegan/export

# benchmarks.gpu apart: it measures a GPU, and refuses without one.
bench: $(DEV)
	for file in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

# Counts of injected faults, which continue where they stopped: FAULTS='--promise P3 --minutes 5'.
faults: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults $(FAULTS)

docs: $(DEV)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf demo runs build site
