# `make` alone lists the targets. Each one does the set-up that it needs.

venv := $(or $(OFA_VENV),.venv)
python := "$(venv)/bin/python"

# Two processes, each test file in one of them, so that what a file trains is trained once.
in_two := -n 2 --dist loadfile

.PHONY: help setup demo test test-all lint docs asan smoke gpu tables clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

setup: ## .venv with the project and all it needs (see scripts/setup.sh for its options)
	@scripts/setup.sh

demo: setup ## all six stages on scanned digits, evaluated, fine-tuned, with tables (4 minutes)
	@scripts/demo.sh

test: setup ## the test suite, in two processes; `pytest` alone does the same in one
	@$(python) -m pytest $(in_two)

test-all: setup ## the same with the large networks: half an hour, 16 GB
	@$(python) -m pytest $(in_two) -m "large or not large"

lint: setup ## ruff, mypy and the import order; on Python 3.10 (half a minute)
	@"$(venv)/bin/ruff" check .
	@"$(venv)/bin/mypy"
	@"$(venv)/bin/lint-imports"

docs: ## the documentation site in build/site, from docs/ (needs a CPython 3.10 or fetches one)
	@OFA_PYTHON=3.10 OFA_VENV=.venv-docs OFA_REQUIREMENTS=requirements-docs.txt OFA_ALONE=yes \
		scripts/setup.sh
	@.venv-docs/bin/mkdocs build --strict

asan: ## the C kernels of every vector width under AddressSanitizer (half a minute; needs gcc)
	@sh tests/kernels/asan_kernels.sh

smoke: ## the smoke test on CPython 3.8 with NNabla 1.28, where a CPython 3.8 is installed
	@scripts/smoke.sh

gpu: ## all that an NVIDIA GPU can show, recorded (10 minutes and the set-up; exit 2 without one)
	@scripts/gpu.sh

tables: setup ## every result table and picture, from results/records
	@$(python) runners/tables.py

clean: ## removes environments, caches and builds; never runs/ or results/
	@rm -rf .venv .venv-1.28 .venv-docs .venv-cuda .venv*.lock .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	@rm -rf build dist *.egg-info
	@find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +
