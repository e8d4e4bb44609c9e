# Every target sets up the environment that it needs; `make help` lists them.

PYTHON ?= python3
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
PACKAGES := aggregates api audit cli commands infrastructure projections workers
REQUIREMENTS := .venv/.requirements-installed
INSTALLED := .venv/.project-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test lint types contracts bench bench-smoke pure-histories histories faults mutants format lock install clean help

run: $(INSTALLED) ## start the whole service on this machine, with a PostgreSQL of its own
	@exec $(BIN)/ticketing up

test: $(INSTALLED) ## run all tests (choose some with ARGS="-k wallet")
	@$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED) ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(INSTALLED) ## check types with mypy and pyright
	@$(BIN)/mypy && mypy=passed || mypy=failed; $(BIN)/pyright && [ $$mypy = passed ]

contracts: $(INSTALLED) ## check which package imports which
	@$(BIN)/lint-imports --no-logo

.PHONY: hostile
hostile: $(INSTALLED) ## attack the API with CASES=20000 requests made of its document, drawn from SEED=1
	@$(BIN)/python -m tests.hostile --cases $(or $(CASES),20000) --seed $(or $(SEED),1)

bench: $(INSTALLED) ## measure every operation beside a plain service and the ceiling (under 10 minutes)
	@$(BIN)/python -m bench

bench-smoke: $(INSTALLED) ## the same in a minute, to see that it works
	@$(BIN)/python -m bench --smoke

.PHONY: rush-at-scale
rush-at-scale: $(INSTALLED) ## let 10,000 buyers rush for 50 seats, with and without limits on admission, and audit it
	@$(BIN)/python -m bench.rush --buyers $(or $(BUYERS),10000)

.PHONY: growth soak
growth: $(INSTALLED) ## measure how cost grows with lines, logs and processes (half an hour; NAMES="lag audit")
	@$(BIN)/python -m bench.growth $(NAMES)

soak: $(INSTALLED) ## send 1,000 queue requests a second for SECONDS=600, and audit what was recorded
	@$(BIN)/python -m bench.soak --seconds $(or $(SECONDS),600)

pure-histories: $(INSTALLED) ## ask the handlers and a model of the rules alike, EXAMPLES=2000 times, drawn from SEED=1
	@$(BIN)/python -m tests.properties --examples $(or $(EXAMPLES),2000) --seed $(or $(SEED),1)

histories: $(INSTALLED) ## play many clients for SECONDS=60, drawn from SEED=1, and check what each was answered
	@$(BIN)/python -m tests.histories --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

faults: $(INSTALLED) ## break the whole product under load for SECONDS=60, drawn from SEED=1 (KAFKA=1 with Kafka)
	@$(BIN)/python -m tests.faults --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(if $(KAFKA),--kafka)

mutants: $(INSTALLED) ## change the decisions in small ways, to see tests fail (MODULES="commands/pay.py …")
	@$(BIN)/python -m tests.mutants $(MODULES)

format: $(INSTALLED) ## format the code and mend what can be mended
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: ## pin all dependencies anew, with hashes (then commit requirements.lock)
	@$(PYTHON) -m venv .venv
	@$(PIP) install uv
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-find-links --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock

install: $(INSTALLED) ## set up .venv with exactly what requirements.lock names

clean: ## remove the environment and all caches (the data in .ticketing/ stays)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache mutants build dist *.egg-info
	@find $(PACKAGES) tests bench -name __pycache__ -prune -exec rm -rf {} +

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/\1|\2/p' Makefile | while IFS='|' read -r target purpose; do \
		printf '  make %-14s %s\n' "$$target" "$$purpose"; done

$(REQUIREMENTS): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This needs Python 3.11 or later; '$(PYTHON)' is not. Try: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Setting up .venv from requirements.lock (about a minute)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes --requirement requirements.lock
	@touch $@

# The build is not isolated: setuptools comes from the lock file, too.
$(INSTALLED): $(REQUIREMENTS) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
