# Each target sets up what it needs, in .venv, on first use; later runs are quick.
# PYTHON=/path/to/python chooses the interpreter; the default is the newest one present.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# Tests run in this many processes; each starts the servers that its tests need.
JOBS ?= 2
TEST := ICECHUNK_REQUIRE_SERVERS=1 $(PY) -m pytest -n $(JOBS) --dist worksteal
PIP := $(PY) -m pip --disable-pip-version-check --quiet --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test test-all servers lint format docs bench wheel ci clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
	    while IFS=$$'\t' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.demo ## Version 240 years of climate data; results in demo-output/
	@$(PY) docs/examples/demo

test: $(VENV)/.dev servers ## Run the quick tests, also on real object-store servers
	@$(TEST)

test-all: $(VENV)/.dev servers ## Run all tests, also the slow ones
	@$(TEST) -m ""

servers: $(VENV)/.dev ## Install the object-store servers that the tests start
	@$(PY) -m tests.servers.install

lint: $(VENV)/.dev ## Check style, types and the layers of the architecture
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@MYPYPATH=docs/examples/demo $(PY) -m mypy docs/examples/demo/*.py
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## Rewrite the code in the project's style
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

docs: $(VENV)/.docs ## Build the documentation into build/site
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "Open build/site/index.html"

bench: $(VENV)/.dev ## Measure against icechunk and zarr's own stores
	@$(PY) -m tests.benchmarks.run

wheel: $(VENV)/.dev ## Build the wheel into dist/
	@$(PY) -m build --wheel

ci: ## Everything that a change must pass
	@.ci/run

clean: ## Remove what the other targets made
	rm -rf .venv .venv-* build dist demo-output .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# --- virtual environment ------------------------------------------------------
# The stamp files keep a repeated make from asking the package index again.

$(PY):
	@python="$$(.ci/find-python)" && \
	    echo "Setting up $(VENV) with $$("$$python" --version) (once) ..." && \
	    "$$python" -m venv --clear $(VENV)

$(VENV)/.demo: pyproject.toml | $(PY)
	@echo "Installing what the demo needs ..."
	@$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(PY)
	@echo "Installing what development needs ..."
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.demo $@

$(VENV)/.docs: pyproject.toml | $(PY)
	@echo "Installing what the documentation needs ..."
	@$(PIP) install --editable '.[docs]'
	@touch $@
