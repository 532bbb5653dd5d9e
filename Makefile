.DEFAULT_GOAL := help
PARTS := services web worker beat flower echo
.PHONY: help setup setup-run lock run cells test lint docs fix screenshots bench chaos $(PARTS)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1
# Without the compiled files each of a dozen processes would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

help:       ## List these commands
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

setup:      ## Install everything into .venv, when the requirements have changed
	@scripts/setup dev

# What running needs, without the tools and the packages of the tests.
setup-run:
	@scripts/setup run

# For every platform and every Python from 3.11 on. uv asks its default index, whatever this
# machine is set up to ask, so that the hashes are those that everybody gets.
LOCK := env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
  .venv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate $(if $(upgrade),--upgrade)

lock: .venv/bin/uv ## Pin the requirements and all that they need, with hashes (upgrade=1 renews what they need)
	@$(LOCK) requirements-dev.txt --output-file requirements-dev.lock
	@for set in requirements requirements-run requirements-docs; do \
	  $(LOCK) $$set.txt --constraint requirements-dev.lock --output-file $$set.lock || exit 1; done

.venv/bin/uv:
	@scripts/setup dev

run: setup-run ## Start everything, with an account to try it
	@.venv/bin/python manage.py run

cells: setup-run ## Start several cells behind a door, to try them (make cells n=2)
	@.venv/bin/python manage.py cells --count $(or $(n),4)

# Each part is started as the Procfile says, in the foreground. "exec" puts it in the
# place of the shell, so that a signal to make reaches the part itself. Whatever is
# started first waits for the database and migrates it; several may do so at once.
services:   ## Start PostgreSQL and Redis (those without a URL) and migrate the database
web:        ## Start the API
worker:     ## Start a worker; several may run
beat:       ## Start a beat; several may run
flower:     ## Start Flower
echo:       ## Start a target that prints the requests it gets
$(PARTS): setup-run
	$(if $(filter web worker beat,$@),@.venv/bin/python manage.py migrate --wait 60 --verbosity 0)
	@eval "exec $$(sed -n 's/^$@: *//p' Procfile)"

test: setup ## Run the tests (make test k=taking runs some of them, cov=1 measures their coverage)
	@.venv/bin/python -m pytest --numprocesses=auto $(if $(k),-k '$(k)') $(if $(cov),--cov)

lint: setup ## ruff, ruff format --check, mypy, makemigrations --check, the docs
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy .
	@.venv/bin/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

docs: setup ## Build the docs as a site into var/site
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

fix: setup  ## Let ruff repair what it can
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

screenshots: setup ## Take pictures of all pages into docs/images/pages
	@.venv/bin/python -m pytest -n 0 -q -s tests/browser/screenshots.py

bench: setup ## Measure for some 15 minutes (make bench s="burst-10k idle-1m" less, save=1 keeps it)
	@.venv/bin/python -m tests.benchmarks $(s) $(if $(rounds),--rounds $(rounds)) $(if $(save),--save)

chaos: setup ## Break things on purpose for ten minutes and check what happened (make chaos seconds=60 seed=7)
	@.venv/bin/python -m tests.chaos --seconds $(or $(seconds),600) $(if $(seed),--seed $(seed)) $(if $(only),--only "$(only)") $(if $(mixed),--mixed) $(if $(before),--before $(before)) $(if $(cells),--cells $(cells))
