# Every target is a line or two that can also be typed. Python 3.13 is taken where it is found, else 3.12 or 3.11.
PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
NOT_FOUND := Python 3.11, 3.12 or 3.13 with venv is needed and was not found.

.PHONY: run test quick soak check bench clean

run: .venv/run.stamp
	@.venv/bin/python -m shared serve

test: .venv/dev.stamp
	.venv/bin/python -m pytest -n 2

quick: .venv/dev.stamp
	.venv/bin/python -m pytest -n 2 tests/unit tests/service tests/http

soak: .venv/dev.stamp
	.venv/bin/python -m pytest tests/reliability --soak

check: .venv/dev.stamp
	.venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy

bench: .venv/bench.stamp
	.venv/bin/python -m bench
	.venv/bin/python -m bench.databases

clean:
	rm -rf .venv .tools .hypothesis .mypy_cache .pytest_cache .ruff_cache

.venv/run.stamp: requirements.txt requirements-local.txt
	@$(if $(PYTHON),,$(error $(NOT_FOUND)))$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-local.txt && touch $@

.venv/dev.stamp: $(wildcard requirements*.txt)
	@$(if $(PYTHON),,$(error $(NOT_FOUND)))$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt && touch .venv/run.stamp $@

.venv/bench.stamp: .venv/dev.stamp requirements-bench.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt && touch $@
