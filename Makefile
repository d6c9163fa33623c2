# Set-up and checks. `make dev` and `make test` need only Python >= 3.11 (with venv), make and git.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_LOCK := tests/benchmarks/requirements.lock
BENCH_STAMP := $(VENV)/.installed-bench
# Tools that share nothing with the project live in environments of their own, so that they can neither hold back its
# packages nor be among what its tests see.
FUZZ_LOCK := tests/fuzz/requirements.lock
FUZZ_STAMP := .venv-fuzz/.installed
AUDIT_LOCK := tests/audit/requirements.lock
AUDIT_STAMP := .venv-audit/.installed
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)
UNAME := $(shell uname -sm)
SUPPORTED := Linux_x86_64 Linux_aarch64 Darwin_arm64
# The tests and `errander dev` start servers of their own; no address of yours is read.
ISOLATED := env -u DATABASE_URL -u DATABASE_URL_FILE -u REDIS_URL -u REDIS_URL_FILE
ARGS ?=

.PHONY: help dev test bench chaos fuzz openapi lint format lock compose-test clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml service/sdk/pyproject.toml
	@[ -n "$(filter $(subst $() ,_,$(UNAME)),$(SUPPORTED))" ] || \
		{ echo "errander: no embedded servers for $(UNAME); use: docker compose up --build" >&2; exit 1; }
	@[ -n "$(PYTHON)" ] || \
		{ echo "errander: needs Python >= 3.11 with venv on the path (or make PYTHON=/path/to/python3)" >&2; exit 1; }
	@command -v git >/dev/null || { echo "errander: needs git on the path" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "errander: installing into $(VENV) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e service/sdk -e .
	@touch $@

dev: $(STAMP) ## run everything on embedded servers (ARGS="--port 8001 ...")
	@exec $(ISOLATED) $(BIN)/errander dev $(ARGS)

test: $(STAMP) ## the whole test suite, embedded servers included (ARGS="tests/unit -k ...")
	@$(ISOLATED) $(BIN)/python -m pytest $(or $(ARGS),--numprocesses 3 --dist loadfile)

$(BENCH_STAMP): $(BENCH_LOCK) $(STAMP)
	@echo "errander: installing what the benchmarks need into $(VENV) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(BENCH_LOCK)
	@touch $@

bench: $(BENCH_STAMP) ## measure everything that docs/performance.md lists (ARGS="--quick", "--only drain,pickup", ...)
	@exec $(ISOLATED) $(BIN)/python -m tests.benchmarks $(ARGS)

chaos: $(STAMP) ## break a deployment of its own for three minutes and judge it (ARGS="--seed 7 --minutes 10")
	@exec $(ISOLATED) $(BIN)/errander chaos $(ARGS)

$(FUZZ_STAMP): $(FUZZ_LOCK) $(STAMP)
	@echo "errander: installing the fuzzer into $(@D) ..." >&2
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(FUZZ_LOCK)
	@touch $@

fuzz: $(FUZZ_STAMP) ## schemathesis over the whole API for five minutes (ARGS="--seed 7 --seconds 900")
	@exec $(ISOLATED) $(BIN)/python -m tests.fuzz $(ARGS)

openapi: $(STAMP) ## write docs/openapi.json anew, which the tests compare with the API
	@$(BIN)/python -m service.openapi.file > docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

$(AUDIT_STAMP): $(AUDIT_LOCK) $(STAMP)
	@echo "errander: installing pip-audit into $(@D) ..." >&2
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(AUDIT_LOCK)
	@touch $@

lint: $(STAMP) $(AUDIT_STAMP) ## ruff, mypy --strict, import contracts, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd service/sdk && ../../$(BIN)/mypy --strict --config-file ../../pyproject.toml -p errander
	$(BIN)/lint-imports
	@$(BIN)/python -m tests.audit requirements.lock deploy/requirements.lock

format: $(STAMP) ## let ruff format and fix
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

lock: ## resolve requirements.lock and deploy/*.lock anew (needs uv)
	uv pip compile pyproject.toml service/sdk/pyproject.toml --extra dev --extra test --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --no-emit-package errander -q -o requirements.lock
	uv pip compile pyproject.toml service/sdk/pyproject.toml --universal --python-version 3.11 -c requirements.lock \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --no-emit-package errander -q -o deploy/requirements.lock
	uv pip compile pyproject.toml --extra bench --universal --python-version 3.11 -c requirements.lock \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --no-emit-package errander -q -o $(BENCH_LOCK)
	echo 'schemathesis==4.32.5' | uv pip compile - --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate -q -o $(FUZZ_LOCK)
	echo 'pip-audit==2.10.1' | uv pip compile - --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate -q -o $(AUDIT_LOCK)
	printf 'hatchling\neditables\n' | uv pip compile - --universal --python-version 3.11 -c requirements.lock \
		--generate-hashes --no-emit-index-url --no-header --no-annotate -q -o deploy/build-requirements.lock

compose-test: $(STAMP) ## start the compose stack, check it, take it down (skips loudly without a Docker engine)
	@$(BIN)/python -m pytest --override-ini addopts="--import-mode=importlib -ra" -s tests/compose $(ARGS)

clean: ## remove the virtual environment and caches (not .errander)
	rm -rf $(VENV) .venv-fuzz .venv-audit .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
