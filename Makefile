.DEFAULT_GOAL := help
PARTS := services web worker beat flower echo
.PHONY: help setup lock run test lint docs fix bench chaos $(PARTS)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1

# Which Python makes the virtual environment: the first that is new enough. 3.11 and 3.12
# come first because there is a Redis to install for them.
PYTHONS := $(PYTHON) python3.12 python3.11 python3 python3.13 python3.14

help:       ## List these commands
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

setup:      ## Install everything into .venv, when the requirements have changed
	@exec 9< requirements.lock; if command -v flock > /dev/null; then flock 9; fi; \
	wanted="$(CURDIR) $$(cat requirements.lock requirements-dev.lock clients/python/pyproject.toml | cksum)"; \
	if [ "$$(cat .venv/installed 2> /dev/null)" = "$$wanted" ]; then exit 0; fi; \
	if [ -L .venv ]; then echo ".venv is a link; what it leads to is somebody else's. Remove the link." >&2; exit 1; fi; \
	if ! head -n 3 .venv/bin/pip 2> /dev/null | grep -qF "$(CURDIR)/.venv/bin/"; then \
	  for python in $(PYTHONS) ''; do \
	    if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed: install it, or say where it is with PYTHON=…" >&2; exit 1; fi; \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then break; fi; \
	  done; \
	  if ! $$python -c 'import ensurepip, venv' 2> /dev/null; then echo "$$python has no venv module: install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; fi; \
	  echo "Making .venv with $$($$python --version)"; \
	  $$python -m venv --clear .venv || exit 1; \
	fi; \
	echo "Installing the requirements into .venv"; \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock || exit 1; \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python || exit 1; \
	echo "$$wanted" > .venv/installed

# For every platform and every Python from 3.11 on. uv asks its default index, whatever this
# machine is set up to ask, so that the hashes are those that everybody gets.
LOCK := env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
  .venv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate $(if $(upgrade),--upgrade)

lock:       ## Pin the requirements and all that they need, with hashes (upgrade=1 renews what they need)
	@if ! .venv/bin/uv --version > /dev/null 2>&1; then $(MAKE) --no-print-directory setup; fi
	@$(LOCK) requirements-dev.txt --output-file requirements-dev.lock
	@$(LOCK) requirements.txt --constraint requirements-dev.lock --output-file requirements.lock

run: setup  ## Start everything, with an account to try it
	@.venv/bin/python manage.py run

# Each part is started as the Procfile says, in the foreground. "exec" puts it in the
# place of the shell, so that a signal to make reaches the part itself. Whatever is
# started first waits for the database and migrates it; several may do so at once.
services:   ## Start PostgreSQL and Redis (those without a URL) and migrate the database
web:        ## Start the API
worker:     ## Start a worker; several may run
beat:       ## Start a beat; several may run
flower:     ## Start Flower
echo:       ## Start a target that prints the requests it gets
$(PARTS): setup
	$(if $(filter web worker beat,$@),@.venv/bin/python manage.py migrate --wait 60 --verbosity 0)
	@eval "exec $$(sed -n 's/^$@: *//p' Procfile)"

test: setup ## Run the tests (make test k=dispatch runs some of them)
	@.venv/bin/python -m pytest --numprocesses=auto $(if $(k),-k '$(k)')

lint: setup ## ruff, ruff format --check, mypy, makemigrations --check, the docs
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy .
	@.venv/bin/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

docs: setup ## Build the docs as a site into var/site
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

fix: setup  ## Let ruff repair what it can
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: setup ## Measure for some 15 minutes (make bench s="burst-10k idle-1m" less, save=1 keeps it)
	@.venv/bin/python -m tests.benchmarks $(s) $(if $(rounds),--rounds $(rounds)) $(if $(save),--save)

chaos: setup ## Break things on purpose for ten minutes and check what happened (make chaos seconds=60 seed=7)
	@.venv/bin/python -m tests.chaos --seconds $(or $(seconds),600) $(if $(seed),--seed $(seed)) $(if $(only),--only "$(only)")
