# Everything a newcomer or CI needs. Each target sets up what it needs in .venv and may be repeated.

VENV := .venv
BIN := $(VENV)/bin
# the first of these that is there and new enough
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

# the tests start the program many times: compile it once, whatever the environment says
export PYTHONDONTWRITEBYTECODE :=

# tests wait for other processes for a third of their time
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 2) * 3 // 2)')

.DEFAULT_GOAL := help
.PHONY: help demo test slow image-test check soak bench config clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run ## run the poller against a simulated API, no credentials needed
	@$(BIN)/poller demo

test: $(VENV)/.dev ## run the tests
	@sh tests/postgres.sh
	@sh tests/helm.sh $(BIN)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

slow: $(VENV)/.dev ## run the slow tests, and properties with many examples
	@sh tests/postgres.sh
	@sh tests/browser.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow or hypothesis" --hypothesis-profile=thorough $(ARGS)

image-test: $(VENV)/.dev ## build the container image without an engine, and run it
	@sh tests/image.sh
	$(BIN)/python -m pytest tests/deploy -m image -s $(ARGS)

check: $(VENV)/.dev ## lint, format, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(VENV)/.dev ## break it for a long time: kills, faults, growth (SOAK_SECONDS=1200)
	$(BIN)/python -m pytest -m soak -s $(ARGS)

bench: $(VENV)/.dev ## measure, and write the tables to tests/benchmarks/results
	$(BIN)/python -m tests.benchmarks $(ARGS)

config: $(VENV)/.dev ## write config/ again from the settings in the code
	$(BIN)/python config/generate.py

clean: ## remove what the targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "comms-poller needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing comms-poller into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

# dependency groups need pip 25.1
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing comms-poller and what its tests need into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . --group dev
	@touch $@ $(VENV)/.run
