# One target per habit, the same for people and for .ci/run.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Set in some containers: then each process that a test starts compiles all it imports anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := .venv/bin/python
READY := .venv/ready
BROWSER_READY := .venv/browser
NODE_READY := tests/conformance/node_modules/ready
WEB_READY := node_modules/ready
CODE := packages tests benchmarks demos scripts
ARGS ?=
WORKERS ?= 3

.PHONY: help demo test test-js test-browser format lint typecheck bench conformance clean setup wheels pins

help: ## show this list
	@printf 'make demo and make test install what they need. ARGS="..." is passed on.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## stream an answer, kill its reader half way, resume it (NAME=... for the other demos)
	@.venv/bin/demo $(NAME) $(ARGS)

test: $(READY) $(NODE_READY) $(WEB_READY) $(BROWSER_READY) ## run the test suite (ARGS="-k text" for a part of it)
	@$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile --ignore=tests/browser $(ARGS)

test-js: $(WEB_READY) ## check the types of the TypeScript packages and run their unit tests
	@npm run --workspaces --if-present check
	@npm test --workspaces --if-present

test-browser: $(READY) $(WEB_READY) $(BROWSER_READY) ## run the demos in a real browser
	@$(PYTHON) -m durable_demos._pages
	@$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile tests/browser $(ARGS)

format: $(READY) ## format the code and apply the safe lint fixes
	@$(PYTHON) -m ruff check --fix $(CODE) || true
	@$(PYTHON) -m ruff format $(CODE)

lint: $(READY) ## check format, lint rules and generated files
	@$(PYTHON) -m ruff format --check $(CODE)
	@$(PYTHON) -m ruff check $(CODE)
	@for script in $$(grep -l -e '"--check"' scripts/*.py); do $(PYTHON) $$script --check; done
	@if docker compose version >/dev/null 2>&1; then \
		POSTGRES_PASSWORD=x PROXY_SECRET=x SESSIONS_SECRET=x docker compose -f docker/compose.yaml config --quiet; \
	else echo 'no docker compose here: docker/compose.yaml is read by tests/deploy only'; fi

typecheck: $(READY) ## check the types (mypy, strict)
	@$(PYTHON) -m mypy

bench: $(READY) $(NODE_READY) ## measure against floors and peers, about eight minutes
	@$(PYTHON) benchmarks/run.py $(ARGS)

conformance: $(READY) $(NODE_READY) ## run the npm conformance suite against our server, and our client against the npm server
	@$(PYTHON) tests/conformance/run.py $(ARGS)
	@$(PYTHON) -m pytest -q tests/conformance/foreign_server.py

clean: ## remove caches, builds and environments
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .cache/bench
	rm -rf tests/conformance/node_modules node_modules packages/browser/dist demos/web/dist
	find packages tests demos benchmarks scripts -name __pycache__ -prune -exec rm -rf {} +

setup: $(READY) $(NODE_READY) $(WEB_READY) $(BROWSER_READY) ## install everything without running anything

wheels: $(READY) ## build all wheels and try each alone in an empty environment
	@$(PYTHON) scripts/wheels.py $(ARGS)

pins: ## write requirements/ anew after a change of dependencies (ARGS=--upgrade for new versions)
	@scripts/setup.sh uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --all-extras --group dev $(ARGS) \
		$(foreach name,$(PACKAGE_NAMES),--no-emit-package $(name)) \
		pyproject.toml packages/*/pyproject.toml demos/pyproject.toml -o requirements/dev.txt
	@scripts/setup.sh uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --extra otel --extra postgres --constraint requirements/dev.txt \
		$(foreach name,$(PACKAGE_NAMES),--no-emit-package $(name)) \
		$(foreach name,transport streams proxy ai-db ai-db-proxy,packages/$(name)/pyproject.toml) \
		-o requirements/services.txt
	@scripts/setup.sh uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --constraint requirements/dev.txt \
		$(foreach name,$(PACKAGE_NAMES),--no-emit-package $(name)) \
		demos/pyproject.toml -o requirements/demos.txt
	@for part in build uv peers; do \
		scripts/setup.sh uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-header $(ARGS) requirements/$$part.in -o requirements/$$part.txt; \
	done

PACKAGE_NAMES = $(shell sed -n 's/^name = "\(.*\)"$$/\1/p' packages/*/pyproject.toml demos/pyproject.toml)
NAME ?= interrupted

$(READY): scripts/setup.sh requirements/dev.txt requirements/build.txt $(wildcard packages/*/pyproject.toml) demos/pyproject.toml
	@scripts/setup.sh

$(NODE_READY): scripts/setup.sh tests/conformance/package-lock.json
	@scripts/setup.sh node

$(WEB_READY): scripts/setup.sh package-lock.json
	@scripts/setup.sh web

$(BROWSER_READY): $(READY)
	@scripts/setup.sh browser
