# hardened.docker: `make harden` hardens, `make test` proves it. Nothing clever.

SHELL := /bin/bash
INVENTORY ?= .lab/inventory.yml
export LAB_HOSTS ?= bookworm:1 trixie:1

venv := .venv
collection := .ansible/collections/ansible_collections/hardened/docker
# ansible-core 2.18 and later need this; override to choose another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)

export PATH := $(CURDIR)/$(venv)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help venv lint unit

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(venv)/stamp $(collection) ## The tools, in .venv

$(venv)/stamp: requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(venv)
	$(venv)/bin/pip install --quiet --requirement requirements-dev.txt
	touch $@

# hardened.docker.* resolves from the checkout.
$(collection):
	mkdir -p $(@D)
	ln -sfn $(CURDIR) $@

lint: venv ## ansible-lint, yamllint, ruff, import-linter
	ansible-lint --strict
	yamllint --strict .
	ruff check plugins tests
	ruff format --check plugins tests
	PYTHONPATH=plugins/module_utils lint-imports

unit: venv ## The tests of the core
	pytest
