# Every target first makes the environment in .venv when it is missing or stale.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.complete
# One thread for each test: the cores belong to the tests beside it and to the workers that they start.
QUIET := OMP_NUM_THREADS=1
# A file's tests share what they made, so they stay in one process.
BOTH := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: env demo test check bench faults docs clean

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: env
	$(BIN)/python demo.py

# What people and CI run before a commit: style and types.
check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(QUIET) $(BIN)/pytest $(BOTH) -m "not gpu"
	$(QUIET) CYCLEGAN_NO_SHAPE_CHECKS=1 $(BIN)/pytest -m compile tests/cyclegan/train

# benchmarks.gpu apart: it measures a GPU, and refuses without one.
bench: env
	for file in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

faults: env
	$(QUIET) CYCLEGAN_FAULTS=full $(BIN)/pytest tests/faults tests/cyclegan/train/test_interruption.py

docs: env
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf demo runs build site
