# One target per habit, the same for people and for .ci/run.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
READY := .venv/ready
BROWSER_READY := .venv/browser
NODE_READY := tests/conformance/node_modules/ready
CODE := packages tests benchmarks demos scripts
ARGS ?=

.PHONY: help demo test format lint typecheck bench conformance clean setup wheels pins

help: ## show this list
	@printf 'make demo and make test install what they need. ARGS="..." is passed on.\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## stream an answer, kill its reader half way, resume it
	@$(PYTHON) -m $(DEMO) $(ARGS)

test: $(READY) $(NODE_READY) $(BROWSER_READY) ## run the test suite (ARGS="-k text" for a part of it)
	@$(PYTHON) -m pytest $(ARGS)

format: $(READY) ## format the code and apply the safe lint fixes
	@$(PYTHON) -m ruff check --fix $(CODE) || true
	@$(PYTHON) -m ruff format $(CODE)

lint: $(READY) ## check format, lint rules and generated files
	@$(PYTHON) -m ruff format --check $(CODE)
	@$(PYTHON) -m ruff check $(CODE)
	@for script in $$(grep -l -e '"--check"' scripts/*.py); do $(PYTHON) $$script --check; done

typecheck: $(READY) ## check the types (mypy, strict)
	@$(PYTHON) -m mypy

bench: $(READY) $(NODE_READY) ## measure against floors and peers, about eight minutes
	@$(PYTHON) benchmarks/run.py $(ARGS)

conformance: $(READY) $(NODE_READY) ## run the npm conformance suite against our server, and our client against the npm server
	@$(PYTHON) tests/conformance/run.py $(ARGS)
	@$(PYTHON) -m pytest -q tests/conformance/foreign_server.py

clean: ## remove caches, builds and environments
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .cache/bench
	rm -rf tests/conformance/node_modules
	find packages tests demos benchmarks scripts -name __pycache__ -prune -exec rm -rf {} +

setup: $(READY) $(NODE_READY) $(BROWSER_READY) ## install everything without running anything

wheels: $(READY) ## build all wheels and try each alone in an empty environment
	@$(PYTHON) scripts/wheels.py $(ARGS)

pins: ## write requirements/ anew after a change of dependencies (ARGS=--upgrade for new versions)
	@scripts/setup.sh uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --all-extras --group dev $(ARGS) \
		$(foreach name,$(PACKAGE_NAMES),--no-emit-package $(name)) \
		pyproject.toml packages/*/pyproject.toml -o requirements/dev.txt
	@for part in build uv peers; do \
		scripts/setup.sh uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-header $(ARGS) requirements/$$part.in -o requirements/$$part.txt; \
	done

PACKAGE_NAMES = $(shell sed -n 's/^name = "\(.*\)"$$/\1/p' packages/*/pyproject.toml)
DEMO := demos.terminal

$(READY): scripts/setup.sh requirements/dev.txt requirements/build.txt $(wildcard packages/*/pyproject.toml)
	@scripts/setup.sh

$(NODE_READY): scripts/setup.sh tests/conformance/package-lock.json
	@scripts/setup.sh node

$(BROWSER_READY): $(READY)
	@scripts/setup.sh browser
