# The commands of this project. Each sets up what it needs; `make help` lists them.
SHELL := /bin/bash
PYTHON := .venv/bin/python
PORT ?= 8080
N ?= 500
.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster lint smoke bench bench-launch bench-scale format lock clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: ## Run all of Slipway here with sample data, until Ctrl-C (PORT=8080)
	@config/ops/setup nginx-light
	@exec $(PYTHON) -m config.demo --port $(PORT)

test: ## Run all tests on SQLite and on PostgreSQL, the live ones in a real browser
	@config/ops/test

test-cluster: ## Run the tests that want a Kubernetes, on the one that KUBECONFIG names (see CONTRIBUTING.md)
	@config/ops/setup --dev nginx-light chromium
	@exec $(PYTHON) -m pytest tests/cluster -m cluster

lint: ## Check style, types, layers, migrations and the production settings
	@config/ops/lint

smoke: ## Walk the main path over HTTP against a stack of its own: launch, run a cell, pause, resume, delete
	@config/ops/setup --dev nginx-light
	@exec $(PYTHON) -m tests.smoke

bench: ## Measure launches and pages
	@config/ops/setup --dev nginx-light
	@exec $(PYTHON) -m tests.bench

bench-launch: ## Measure N launches (N=500) on the fake nodes of the cluster that KUBECONFIG names, against the floor
	@config/ops/setup --dev nginx-light
	@exec $(PYTHON) -m tests.bench.launch_cluster --launches $(N)

bench-scale: ## Measure the controller beside 10,000 paused and 1,000 running sessions, on the same cluster
	@config/ops/setup --dev nginx-light
	@exec $(PYTHON) -m tests.bench.scale

format: ## Let ruff format and mend what it can
	@config/ops/setup --dev
	@.venv/bin/ruff check -q --fix . ; .venv/bin/ruff format -q .

lock: ## Pin requirements*.in into requirements*.txt, with hashes
	@config/ops/setup --dev
	@for file in requirements requirements-dev; do \
	  CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/pip-compile -q --generate-hashes --strip-extras --allow-unsafe \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o $$file.txt $$file.in || exit 1; \
	done

clean: ## Remove the virtual environment, caches and the demo with its data (asks first)
	@read -r -p "Remove .venv, caches and the demo's data in .demo? [y/N] " answer && [ "$$answer" = y ] \
	  && rm -rf .venv .demo staticfiles .mypy_cache .ruff_cache .import_linter_cache .pytest_cache \
	  && find . -name __pycache__ -type d -prune -exec rm -rf {} + || echo "Nothing was removed."
