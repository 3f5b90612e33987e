# Everything sets up what it needs: a virtual environment in .venv, from hashed locks, once.
SHELL := bash
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
export PIP_NO_INPUT := 1
# Else each worker would compile all tests, and each process that is started the program.
unexport PYTHONDONTWRITEBYTECODE

# pip writes into the program which Python it is for: that of this directory, or of the one that .venv is a link to. If it
# names another, the checkout was copied or moved here, and what is in .venv would run the program at the old place.
IS_FOR_HERE := { test ! -e $(BIN)/reconciler || head -n 2 $(BIN)/reconciler | tr '!"' '  ' | \
	grep -qF -e " $$(pwd -P)/$(BIN)/python" -e " $$(realpath .venv)/bin/python"; }

# Where packages are for the Python that is asked for, or else for that of the environment, if that can still be run. It
# is another one, for which nothing is installed, when an upgrade of the distribution has put it under the old one's name.
PACKAGES := $(shell { $(BIN)/python -c pass && $(IS_FOR_HERE) && \
	$(if $(filter file,$(origin PYTHON)),$(BIN)/python,$(PYTHON)) -c \
	'import sysconfig; print(sysconfig.get_path("purelib", "venv", {"base": ".venv"}))'; } 2> /dev/null)

.PHONY: help install demo test test-fast mutation bench check format readme lock clean another-python
.DEFAULT_GOAL := help

help:
	@echo 'make install    the program, ready to run as .venv/bin/reconciler'
	@echo 'make demo       the whole job on an empty machine, against a simulated Kie'
	@echo 'make test       all tests, with coverage'
	@echo 'make test-fast  the tests that are not slow'
	@echo 'make mutation   what of the domain and the gate could change and no test would fail; half an hour'
	@echo 'make bench      what the benchmarks need beyond the tests: a rival and a painter of plots'
	@echo 'make check      lint, format, types, import rules'
	@echo 'make format     mend what lint and format can mend'
	@echo 'make readme     make the generated parts of README.md anew'
	@echo 'make lock       resolve the requirements anew'
	@echo 'make clean      remove the environment and everything made by the above'

# Compiled beforehand: a service may not write here, and would compile itself at each start.
install: .venv/.program
	@$(BIN)/reconciler --version > /dev/null
	@$(BIN)/python -m compileall -q reconciler
	@echo 'Ready: .venv/bin/reconciler'

demo: .venv/.program
	@$(BIN)/reconciler demo $(ARGS)

# The last line is pytest's own summary again: the coverage reports stand before it.
test: .venv/.dev
	@rm -f .coverage .coverage.*
	@set -o pipefail; $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report= $(ARGS) | tee .pytest-output
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --include='reconciler/domain/*' --fail-under=100
	@tail -n 1 .pytest-output

test-fast: .venv/.dev
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m 'not slow' $(ARGS)

# Results are kept in mutants/: what was tried is tried again when its function changes, or by its name in ARGS.
mutation: .venv/.mutation
	@nice $(BIN)/mutmut run --max-children $(WORKERS) $(ARGS)
	@$(BIN)/mutmut results
	@$(BIN)/mutmut export-cicd-stats
	@$(BIN)/python -c 'import json; found = json.load(open("mutants/mutmut-cicd-stats.json")); \
		share = (found["killed"] + found["timeout"]) / found["total"]; \
		print(f"{share:.1%} of them were noticed; at least 90 % are to be"); raise SystemExit(share < 0.9)'

bench: .venv/.bench
	@echo 'Ready: $(BIN)/python benchmarks/….py; benchmarks/README.md tells which'

check: .venv/.dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports

format: .venv/.dev
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

readme: .venv/.dev
	@$(BIN)/python scripts/readme.py

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-config --upgrade pyproject.toml --all-extras
lock: .venv/.dev
	@$(LOCK) --group build --output-file requirements.lock
	@$(LOCK) --group dev --constraints requirements.lock --output-file requirements-dev.lock
	@$(LOCK) --group bench --constraints requirements-dev.lock --output-file requirements-bench.lock

clean:
	@rm -rf .venv mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* .pytest-output dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The program with its extras, as it is deployed. A lock is complete: with --no-deps nothing is resolved anew, which older
# versions of pip do for extras (coverage[toml]) and then refuse a release that is newer than the locked one.
.venv/.program: requirements.lock pyproject.toml $(if $(wildcard $(PACKAGES)),,another-python)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=…")'
	@test -d '$(PACKAGES)' && $(PIP) --version > /dev/null 2>&1 || { echo 'Making .venv'; $(PYTHON) -m venv --clear .venv; }
	@echo 'Installing the locked requirements'
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.program
	@echo 'Installing the tools for tests and checks'
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

.venv/.bench: requirements-bench.lock .venv/.dev
	@echo 'Installing what the benchmarks need'
	@$(PIP) install --require-hashes --no-deps -r requirements-bench.lock
	@touch $@

# Not locked with the others: it brings a parser and a terminal's user interface along.
.venv/.mutation: .venv/.dev
	@echo 'Installing mutmut'
	@$(PIP) install mutmut==3.8.1
	@touch $@
