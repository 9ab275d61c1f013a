# Two commands do everything: `make demo` runs the main job, `make test` all checks. Both make what they need.
PYTHON ?= python3
VENV := .venv
TEST_VENV := .venv-test
BIN := $(VENV)/bin
TEST := $(TEST_VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check
PACKAGES := shared client server deploy

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint types contracts pytest faults bench airgap format setup-ci clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make install    a virtual environment in .venv with emr-fl and everything it stands on
install: $(VENV)/.installed

## make demo       install, then a whole federation of hospitals on this machine, about five minutes on two cores
demo: $(VENV)/.installed
	$(BIN)/emr-fl simulate --config docs/demo.toml --records 2400

## make test       fresh environment, lint, types, import contracts, and all tests against the built wheel
test: lint types contracts pytest

## make test-all   the same with the slow tests
test-all: lint types contracts $(TEST_VENV)/.wheel
	$(TEST)/python -P -m pytest -m "slow or not slow"

lint: $(TEST_VENV)/.installed
	$(TEST)/ruff check .
	$(TEST)/ruff format --check .

types: $(TEST_VENV)/.wheel
	$(TEST)/mypy
	$(TEST)/pyright --pythonpath $(TEST)/python

contracts: $(TEST_VENV)/.wheel
	$(TEST)/lint-imports

pytest: $(TEST_VENV)/.wheel
	$(TEST)/python -P -m pytest -m "not slow"

## make setup-ci   PostgreSQL from Debian's packages, for the tests that read from a real server; without apt it says so and goes on
setup-ci:
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1; then \
	  echo "setup-ci: PostgreSQL is there"; \
	elif command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
	  policy=/usr/sbin/policy-rc.d; made=; \
	  if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' > $$policy && chmod 755 $$policy && made=1; fi; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { timeout 300 apt-get update -qq; timeout 600 apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null 2>&1 \
	    && echo "setup-ci: PostgreSQL is installed, its service is not started" \
	    || echo "setup-ci: apt-get can't install postgresql here; tests that need a server are skipped"; \
	  if [ -n "$$made" ]; then rm -f $$policy; fi; \
	else \
	  echo "setup-ci: no apt-get, or not root; tests that need PostgreSQL are skipped"; \
	fi

## make faults     the fault table of a real federation, about half an hour
faults: $(TEST_VENV)/.wheel
	$(TEST)/python -P tests/faults/fault_table.py

## make bench      the benchmarks, as tables of ratios
bench: $(TEST_VENV)/.wheel
	$(TEST)/python tests/benchmarks/training_step.py
	$(TEST)/python tests/benchmarks/corpus_targets.py

## make airgap     a bundle for machines without internet in dist/airgap: wheels, lock, checksums, SBOM, installer
airgap: $(TEST_VENV)/.wheel
	rm -rf dist/airgap
	$(TEST)/python -P -m emr_fl_deploy.airgap --wheel dist/*.whl --constraints constraints.txt --out dist/airgap/emr-fl --tar

format: $(TEST_VENV)/.installed
	$(TEST)/ruff format .
	$(TEST)/ruff check --fix .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; assert (3, 11) <= v < (3, 13), f"Python 3.11 or 3.12 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt torch
	$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -e .
	touch $@

$(TEST_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; assert (3, 11) <= v < (3, 13), f"Python 3.11 or 3.12 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ..."'
	rm -rf $(TEST_VENV)
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST)/pip install $(PIP_FLAGS) -c constraints.txt torch
	$(TEST)/pip install $(PIP_FLAGS) -c constraints.txt hatchling
	$(TEST)/pip install $(PIP_FLAGS) -c constraints.txt --no-build-isolation '.[dev,ray]'
	touch $@

# The tests run against the wheel as a hospital would install it, not against the source tree.
$(TEST_VENV)/.wheel: $(TEST_VENV)/.installed $(shell find $(PACKAGES) -type f -not -path '*/__pycache__/*')
	rm -rf dist
	$(TEST)/python -m build --quiet --wheel --no-isolation
	$(TEST)/pip install $(PIP_FLAGS) --no-deps --force-reinstall dist/*.whl
	touch $@

## make clean      remove the environments and what was built
clean:
	rm -rf $(VENV) $(TEST_VENV) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
