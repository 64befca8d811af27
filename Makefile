# Everything runs from .venv, which is built when it is missing or when the dependencies change.
# DATABASE_URL names the database to use; without it, it is the embedded server of `make run`, in .run/.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV   := .venv/.built
RUN    := .venv/bin/python -m
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help run test screenshots bench bench-migration bench-jobs migrate worker cron-jobs events reconcile doctor psql config-diff config-apply config-pull lint format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Options go through ARGS: make migrate ARGS=--dry-run, make test ARGS='--postgres 15 -- -k ledger'."

run: $(VENV) ## Start database, API, worker and a Stripe to try out; Ctrl-C stops them
	@$(RUN) scripts.run $(ARGS)

test: $(VENV) ## Lint, then all tests on PostgreSQL 15 and 18
	@$(PYTHON) scripts/system.py postgres browser
	@$(RUN) scripts.test $(ARGS)

screenshots: $(VENV) ## Picture each page, light, dark and phone, into screenshots/
	@$(PYTHON) scripts/system.py browser
	@$(RUN) scripts.screenshots $(ARGS)

bench: $(VENV) ## Measure the hot paths on a scratch server; writes bench.json
	@$(RUN) scripts.bench $(ARGS)

bench-migration: $(VENV) ## Measure moving 100,000 users from the old billing and back
	@$(RUN) scripts.bench_migration $(ARGS)

bench-jobs: $(VENV) ## Measure grants, a checkpoint and the alerts while users spend
	@$(RUN) scripts.bench_jobs $(ARGS)

migrate: $(VENV) ## Apply migrations and functions to the database
	@$(RUN) scripts.migrate $(ARGS)

worker: $(VENV) ## Run the jobs, do what waits for Stripe, deliver events
	@$(RUN) scripts.worker $(ARGS)

cron-jobs: $(VENV) ## Run the jobs that are due, once; ARGS=--list shows them
	@$(RUN) scripts.cron_jobs $(ARGS)

events: $(VENV) ## Events to deliver: ARGS=list, replay or test
	@$(RUN) scripts.events $(ARGS)

reconcile: $(VENV) ## Compare payments, refunds, disputes, subscriptions with Stripe
	@$(RUN) scripts.reconcile $(ARGS)

doctor: $(VENV) ## Check a live installation; says what is wrong, and what to do
	@$(RUN) scripts.doctor $(ARGS)

psql: $(VENV) ## Open psql on the database
	@$(RUN) scripts.servers psql $(ARGS)

config-diff: $(VENV) ## Compare api/billing_config.py with the database
	@$(RUN) scripts.config diff $(ARGS)

config-apply: $(VENV) ## Bring the database to what api/billing_config.py says
	@$(RUN) scripts.config apply $(ARGS)

config-pull: $(VENV) ## Bring api/billing_config.py to what the database says
	@$(RUN) scripts.config pull $(ARGS)

lint: $(VENV) ## Check Python, migrations and every SQL function
	@$(PYTHON) scripts/system.py postgres
	@$(RUN) scripts.lint $(ARGS)

format: $(VENV) ## Format the Python code
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .

# Resolves pyproject.toml in an environment of its own, so that nothing installed by hand gets in.
lock: ## Renew constraints.txt from pyproject.toml
	@$(PYTHON) scripts/system.py venv
	$(PYTHON) -m venv --clear .run/lock
	.run/lock/bin/pip install --disable-pip-version-check '.[dev]'
	.run/lock/bin/pip freeze --exclude credit-billing > constraints.txt
	rm -rf .run/lock build

clean: ## Remove .venv, caches and the embedded database with all its data
	@! kill -0 "$$(head -n 1 .run/postgres/postmaster.pid 2>&1)" 2>/dev/null || { echo 'Stop make run first.'; exit 1; }
	rm -rf .venv .run build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV): pyproject.toml constraints.txt
	@$(PYTHON) scripts/system.py venv
	@echo "Building .venv (about a minute) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]' \
		| grep -Ev '^ +(Downloading|Installing|Checking|Getting|Preparing)|^Looking|^Requirement already'
	@touch $@
