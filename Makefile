# hardened.docker: `make harden` hardens, `make test` proves it. Nothing clever.

SHELL := /bin/bash
lab_inventory := $(or $(LAB_DIR),.lab)/inventory.yml
INVENTORY ?= $(lab_inventory)
LAB_HOSTS ?= bookworm:1 trixie:1
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

# ansible-core 2.18 and later run on Python 3.11 and later.
PYTHON := $(or $(PYTHON),$(shell \
	for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& command -v $$python && break; \
	done))

venv := .venv
collection := .ansible/collections/ansible_collections/hardened/docker
zipapp := .ansible/zipapp

export LAB_HOSTS SOURCE_DATE_EPOCH
export PATH := $(CURDIR)/$(venv)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# This checkout, and never a copy that somebody installed below their home.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.ansible/collections

# The peer that `make bench` runs beside ours: a URL, or the path of a clone.
DOCKER_BENCH ?= https://github.com/docker/docker-bench-security
peer := .ansible/docker-bench-security

# `make differential`: another seed makes other cases.
SEED ?= 1
CASES ?= 5000
STARTS ?= 300

.PHONY: help harden lab lab-down test test-all lint sanity unit scenarios bench differential faults dist venv clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

harden: venv $(if $(filter $(lab_inventory),$(INVENTORY)),lab) ## Harden the lab, or the fleet of INVENTORY=path; ARGS= goes to ansible-playbook
	ansible-playbook --inventory $(INVENTORY) playbooks/harden.yml $(ARGS)

lab: venv ## Boot the throwaway hosts of LAB_HOSTS ("bookworm:1 trixie:1")
	python tests/lab/lab.py up

lab-down: venv ## Take the throwaway hosts away
	python tests/lab/lab.py down

test: lint sanity unit scenarios ## All that .ci/run runs

test-all: LAB_HOSTS := bookworm:1 trixie:1 forky:1
test-all: test ## The same with a host of Debian testing

lint: venv ## ansible-lint, ruff, vermin, import-linter, shellcheck, changelog, galaxy-importer
	ansible-lint --strict
	ruff check plugins tests docs
	ruff format --check plugins tests docs
	vermin --target=3.8- --no-tips --violations plugins
	PYTHONPATH=plugins/module_utils lint-imports
	shellcheck --severity=warning .ci/run tests/*.sh tests/lab/*.sh
	antsibull-changelog lint
	tests/galaxy.sh

sanity: venv ## ansible-test sanity and antsibull-docs
	tests/sanity.sh

unit: venv ## The tests of the core
	pytest --numprocesses 2

scenarios: venv ## Every Molecule scenario, on the lab
	python tests/scenarios.py
	molecule test --all

differential: venv ## Compare our answer to "does it start" with dockerd itself (SEED= CASES= STARTS=)
	python tests/differential/differential.py --seed $(SEED) --cases $(CASES) --starts $(STARTS)

faults: venv ## Strike at every change that a run makes to real hosts (FAULTS_SITUATIONS= FAULTS_STRIKES= FAULTS_EVENTS= FAULTS_LIMIT= SEED=)
	python tests/faults/faults.py

bench: lab dist/dockerd-validate ## What a judgement of a host costs, beside docker-bench-security (DOCKER_BENCH=path or URL)
	@test -d $(peer) || git clone --quiet $(DOCKER_BENCH) $(peer) \
		|| { echo "No docker-bench-security to compare with: name a clone with DOCKER_BENCH=" >&2; exit 1; }
	git -C $(peer) archive --prefix=docker-bench-security/ --output=$(CURDIR)/$(peer).tar HEAD
	ansible-playbook --inventory $(INVENTORY) tests/bench/bench.yml \
		--extra-vars "bench_judge=$(CURDIR)/dist/dockerd-validate bench_peer=$(CURDIR)/$(peer).tar"

dist: venv dist/dockerd-validate ## The collection archive and dockerd-validate, in dist/
	rm -f dist/*.tar.gz
	ansible-galaxy collection build --output-path dist

dist/dockerd-validate: $(shell find plugins/module_utils/_dockerd -name '*.py')
	rm -rf $(zipapp)
	mkdir -p dist
	mkdir -p $(zipapp)/_dockerd
	cd plugins/module_utils/_dockerd && find . -name '*.py' -exec cp --parents -t $(CURDIR)/$(zipapp)/_dockerd {} +
	printf 'import sys\n\nfrom _dockerd.command import main\n\nsys.exit(main())\n' > $(zipapp)/__main__.py
	# The same bytes whenever and by whomever it is built.
	chmod -R u=rwX,go=rX $(zipapp)
	find $(zipapp) -exec touch --date=@$(SOURCE_DATE_EPOCH) {} +
	TZ=UTC $(PYTHON) -m zipapp --python '/usr/bin/env python3' --output dist/dockerd-validate $(zipapp)
	chmod 0755 dist/dockerd-validate
	dist/dockerd-validate --help > /dev/null

venv: $(venv)/stamp ## The tools, in .venv
	@# hardened.docker.* is this checkout.
	@mkdir -p $(dir $(collection)) && ln -sfn $(CURDIR) $(collection)

$(venv)/stamp: requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer on PATH: install one, or name it with PYTHON=/path/to/python3" >&2; exit 1; }
	@package=$$($(PYTHON) -c 'import sys; print("python3.%d-venv" % sys.version_info.minor)'); \
	if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update --quiet && apt-get install --yes --no-install-recommends $$package; \
	else echo "$(PYTHON) cannot make virtual environments: install $$package" >&2; exit 1; fi
	@test ! -L $(venv) || { echo "$(venv) is a link, and what it leads to would be emptied: remove the link" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(venv)
	$(venv)/bin/pip install --quiet --requirement requirements-dev.txt
	touch $@

clean: ## Remove what make made, but for the lab and its cache
	rm -rf $(venv) .ansible dist .ruff_cache .pytest_cache .hypothesis .import_linter_cache
