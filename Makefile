# Every target needs Python 3.11 or newer and make: what it uses besides is put into .venv by itself, once.
#   make test ARGS="-k lease"    passes arguments on        make demo PYTHON=python3.13    chooses a Python

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.stamp

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check fix bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(READY) ## the whole system on this machine, no keys: a job that fails over, shown as it happens
	@$(BIN)/understudy demo $(ARGS)

test: $(READY) ## all tests, on a real server that comes with the packages
	@$(BIN)/python -m pytest -q $(ARGS)

test-long: $(READY) ## the property tests, with many more examples, and a minute of torture
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -q -m 'hypothesis or torture' --timeout 3600 $(ARGS)

check: $(READY) ## format, lint, types, layers
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fix: $(READY) ## format, and repair what the linter can
	@$(BIN)/ruff check --fix --exit-zero
	@$(BIN)/ruff format

bench: $(READY) ## what the worker adds, as ratios to a floor measured in the same run
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove all that these targets made
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .understudy
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	  "Python 3.11 or newer is needed, $(PYTHON) is %d.%d: try make PYTHON=python3.11" % v[:2])'
	@echo 'Setting up .venv, once ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
