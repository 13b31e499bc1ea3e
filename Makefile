# Needs Python >= 3.11 and make; every target sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
DATA := $(or $(TESSERA_DATA_ROOT),$(wildcard ../shared/data))

.PHONY: setup demo test slow check real bench docs clean

setup: .venv/ready

.venv/ready: constraints.txt requirements-dev.txt shared/pyproject.toml $(wildcard packages/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed; found $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --progress-bar off -r requirements-dev.txt
	touch $@

demo: .venv/ready      ## the main job end to end, on simulated sound, or on real recordings when TESSERA_DATA_ROOT is set
	$(BIN)/python docs/tutorials/demo.py --out demo

test: .venv/ready      ## all tests but the slow ones
	$(BIN)/pytest -m "not slow and not gpu"

slow: .venv/ready      ## kills, two processes, a browser
	$(BIN)/pytest -m "slow and not gpu"

check: .venv/ready     ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

real: .venv/ready      ## tests on real data, which TESSERA_DATA_ROOT names
	$(if $(DATA),,$(error set TESSERA_DATA_ROOT to the folder with the data sets))
	TESSERA_DATA_ROOT=$(abspath $(DATA)) $(BIN)/pytest -m real

bench: .venv/ready     ## ratios to named peers on this machine
	$(BIN)/python -m benchmarks

docs: .venv/ready      ## the command line's reference page
	$(BIN)/python docs/reference/make_cli_reference.py

clean:
	rm -rf .venv demo runs sims
