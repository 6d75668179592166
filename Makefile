# Each verb is one plain command, printed when it runs. `make help` lists them.
PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)

.DEFAULT_GOAL := help
.PHONY: help install test lint type docs conformance clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## make .venv with the package (editable) and all tools
	$(PYTHON) -m venv .venv && $(BIN)/python -m pip install -e ".[dev]"

test: ## run all tests, in random order, warnings as errors
	$(BIN)/python -m pytest

lint: ## check style and format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: ## check types, strictly
	$(BIN)/mypy

docs: ## write the generated parts of docs/reference, then run the documentation's tests
	$(BIN)/python docs/generate.py && $(BIN)/python -m pytest tests/docs

conformance: ## run the conformance kit on the built-in backends
	$(BIN)/aqe check numpy && $(BIN)/aqe check lexical && $(BIN)/aqe check sqlite

clean: ## remove caches and build results (not .venv, not .aqe)
	rm -rf build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache && find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
