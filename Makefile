# Each target sets up what it needs in .venv first; `make demo` and `make test` start from nothing.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --editable
JOBS ?= 2

.PHONY: help demo test lint bench check-examples clean

help:
	@echo "make demo            quantize the example model, check it, show the result (under two minutes)"
	@echo "make test            every test, against TensorFlow and LiteRT"
	@echo "make lint            ruff and mypy"
	@echo "make bench           benchmarks"
	@echo "make check-examples  make the example model and data again and compare (needs TensorFlow)"
	@echo "make clean           remove .venv and everything built"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10 to 3.13 is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# A stamp a set of extras: installed again when the list of dependencies changes.
$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), about half a minute"
	$(PIP) .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) with TensorFlow, one to three minutes"
	$(PIP) '.[test,tensorflow,peers,report,dask,parquet]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) '.[test,dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(VENV)/bin/python examples/demo.py

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

bench: $(VENV)/.test
	$(VENV)/bin/python -m pytest bench --benchmark-enable --benchmark-only

check-examples: $(VENV)/.test
	$(VENV)/bin/python examples/make_model.py --check

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
