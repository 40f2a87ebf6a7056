# `make demo` and `make test` need only git, make and Python 3.11+; everything else is made in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test lint types unit campaign ray bench audit coverage mutation clean help

help:                ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("meterfeed needs Python 3.11 or newer; call: make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing meterfeed (first time: a minute or two)"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "installing the test tools"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.runtime    ## sandbox + sample export + sync + report, no account needed
	@$(BIN)/meterfeed demo || [ $$? -eq 10 ]  # 10: done, and some rows deserved quarantine

test: lint types unit     ## everything that must hold before a change lands

lint: $(VENV)/.dev        ## style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev       ## strict types on everything shipped
	@$(BIN)/mypy

# Ledgers are flushed to the disk thousands of times, and many tests wait for a process to come up or a lease to end:
# in memory where there is room for it, and one more at a time than CI has cores. A folder of its own, as a second run
# of pytest beside this one would take the rights from the first one's PostgreSQL.
MEMORY := $(shell test -w /dev/shm && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 4000000 {print "/dev/shm/"}')
IN_MEMORY := folder=$$(mktemp -d $(or $(MEMORY),/tmp/)meterfeed-XXXXXX) && trap 'rm -rf "$$folder"' EXIT && TMPDIR=$$folder
unit: $(VENV)/.dev        ## the test suite
	@$(IN_MEMORY) $(BIN)/python -m pytest -n 3 --dist loadgroup

SIZE ?= 10000000
bench: $(VENV)/.dev       ## our speed and memory against the best, both sides in one run (SIZE=rows)
	@$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@$(BIN)/python -m benchmarks.records --rows $(SIZE) --rounds 3 --json benchmarks/records.json
	@$(BIN)/python -m benchmarks.push --locations 500000 --rounds 3 --json benchmarks/push.json
	@$(BIN)/python -m benchmarks.singles --rounds 3 --json benchmarks/singles.json
	@$(BIN)/python -m benchmarks.nightly --rows 1000000 --rounds 3 --json benchmarks/nightly.json

campaign: $(VENV)/.dev    ## the fault campaign: an hour, or MINUTES=…; SEED=… CASE=… replays one case; ONLY=schedules
	@SEED='$(SEED)' CASE='$(CASE)' MINUTES='$(MINUTES)' ONLY='$(ONLY)' $(BIN)/python -m tests.campaign
	@[ -n '$(CASE)$(ONLY)' ] || { $(IN_MEMORY) $(BIN)/python -m pytest -m 'campaign or hypothesis' --hypothesis-profile exploring -n 2 --dist loadgroup; }

# An environment of its own: where Ray is installed, Prefect imports it at every start.
ray:                 ## a worker of a Ray cluster is killed, and what Ray costs and brings, in an environment of its own
	@test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	@.venv-ray/bin/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt --editable '.[dev,ray]'
	@$(IN_MEMORY) .venv-ray/bin/python -m pytest -m campaign tests/campaign/test_ray.py
	@.venv-ray/bin/python -m benchmarks.shared --rows 60000 --ray

audit: $(VENV)/.dev       ## known vulnerabilities of the pinned packages; says so when nobody could be asked
	@$(PIP) install --constraint constraints.txt --editable '.[audit]'
	@$(BIN)/python -m tests.security.audit

coverage: $(VENV)/.dev    ## branch coverage of ledger, classifier, sender and guards; fails below 100 %
	@$(BIN)/python -m tests.coverage

mutation: $(VENV)/.dev    ## would the tests notice a change in those? fails below 90 % (MODULES='guards sender')
	@$(PIP) install --constraint constraints.txt --editable '.[mutation]'
	@$(BIN)/python -m tests.mutation $(MODULES)

clean:                    ## remove the virtual environment and caches
	rm -rf $(VENV) .venv-ray .mypy_cache .ruff_cache .hypothesis build dist
