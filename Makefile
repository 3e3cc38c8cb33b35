# The two commands: `make train` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup train test test-gpu test-minimum soak check docs bench clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "AlphaTriangle needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

train: setup  ## train: from an empty folder to an agent that learns; run it again to go on
	$(BIN)/alphatriangle train --preset quick

check: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check  ## everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-gpu: setup  ## the tests that need a GPU; says so where there is none
	$(BIN)/python -m pytest -m gpu tests/gpu

soak: setup  ## the long form of the durability proof, the gate on it, and the lowest versions: hours
	$(BIN)/python -m tests.durability.soak

MINIMUM := .venv-minimum

test-minimum: $(MINIMUM)/.installed  ## the tests but for durability, with the lowest versions declared
	$(MINIMUM)/bin/python -m pytest -n 2 --dist worksteal --ignore tests/durability --ignore tests/test_packaging.py

$(MINIMUM)/.installed: pyproject.toml constraints-minimum.txt
	$(PYTHON) -m venv $(MINIMUM)
	$(MINIMUM)/bin/python -m pip install --disable-pip-version-check -c constraints-minimum.txt torch==2.13.0
	$(MINIMUM)/bin/python -m pip install --disable-pip-version-check -c constraints-minimum.txt -e '.[dev]'
	@touch $@

docs: setup  ## the manual, as pages in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-bench  ## measured claims, as ratios taken in one run
	$(BIN)/python -W ignore -m benchmarks

$(VENV)/.installed-bench: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

clean:  ## remove what setup made; training data stays
	rm -rf $(VENV) $(MINIMUM) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
