# The two commands that matter: `make demo` and `make test`. Everything is installed into .venv and nowhere else
# (but Slurm itself, by apt, where `make test` runs as root on Debian or Ubuntu).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Python 3.11 or later; `make setup PYTHON=/path/to/python3.12` takes another.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
INSTALL = $(UV) pip install --quiet --python $(BIN)/python
NAME ?=
SEEDS ?= 0:300
ARGS ?=

.PHONY: help setup demo test test-long test-cluster lint types docs bench simulate lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.dev ## a .venv with all that development needs (instant when nothing changed)
	@:

demo: $(VENV)/.demo ## run the main job on this machine, without Slurm
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./examples/demo.sh

test: $(VENV)/.dev ## all tests but the long ones (as root on Debian or Ubuntu: with a real Slurm)
	@PATH="$(CURDIR)/$(BIN):$$PATH" tests/run

test-long: $(VENV)/.dev ## the tests that take longer
	@PATH="$(CURDIR)/$(BIN):$$PATH" tests/run --long

test-cluster: $(VENV)/.dev $(VENV)/.cluster ## the tests that several machines take, in containers (Docker Compose or Podman)
	@PATH="$(CURDIR)/$(BIN):$$PATH" tests/run-cluster

lint: $(VENV)/.dev ## ruff, the layers, and Python 3.6 where compute nodes need it
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/vermin --quiet --no-tips --violations --target=3.6- --eval-annotations $(wildcard $(PYTHON36))

# What runs on compute nodes, with whatever Python they have.
PYTHON36 := $(addprefix src/penstock/,__init__.py failpoint.py wire runner tracking transport/files.py transport/programs.py transport/remote.py)

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy --scripts-are-modules $(TYPED)

TYPED = src tests $(patsubst %/__init__.py,%,$(wildcard benchmarks/__init__.py)) $(wildcard deploy/local-slurm deploy/test-cluster)

docs: $(VENV)/.dev ## build the documentation into site/, strictly
	$(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.project ## one benchmark with its peers: make bench NAME=submit ARGS=--json
	@test -n "$(NAME)" || { echo "which one? make bench NAME=…" >&2; exit 2; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks $(NAME) $(ARGS)

simulate: $(VENV)/.dev ## histories of the reconciler against a model of Slurm: make simulate SEEDS=0:300, or one with its story
	@$(BIN)/python -m penstock.testing $(SEEDS)

clean: ## remove .venv and all that was built
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- the environment: one stamp file for each set, so that nothing is done twice -------------------------------------

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Penstock needs Python 3.11 or later; say which: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) \
	  || { echo "No venv module? On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.build: requirements/build.txt | $(BIN)/python
	@echo "setting up $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.build
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.demo $(VENV)/.dev $(VENV)/.cluster: $(VENV)/.%: requirements/%.txt $(VENV)/.project
	@$(INSTALL) --require-hashes -r $<
	@touch $@

# --- the lock: hashes, but no index's address, so that a site's own mirror serves as well ----------------------------

LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: $(VENV)/.build ## renew requirements/*.txt after a change of pyproject.toml (UPGRADE=--upgrade takes newer versions)
	$(LOCK) $(UPGRADE) --group build -o requirements/build.txt
	$(LOCK) $(UPGRADE) pyproject.toml -c requirements/build.txt -o requirements/base.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group dev --extra ssh --extra postgres \
	  -c requirements/build.txt -c requirements/base.txt -o requirements/dev.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group test --extra ssh --extra postgres \
	  -c requirements/dev.txt -o requirements/test.txt
	$(LOCK) $(UPGRADE) --group cluster -c requirements/dev.txt -o requirements/cluster.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group demo -c requirements/dev.txt -o requirements/demo.txt
	$(LOCK) $(UPGRADE) --group bench -o requirements/bench.txt
