# `make` alone lists the targets. Each one does the set-up that it needs.

python := "$(or $(OFA_VENV),.venv)/bin/python"

.PHONY: help setup demo test asan smoke tables clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

setup: ## .venv with everything in requirements.txt (see scripts/setup.sh for its options)
	@scripts/setup.sh

demo: setup ## all six stages on scanned digits, evaluated, fine-tuned, with tables (3 minutes)
	@scripts/demo.sh

test: setup ## the test suite
	@$(python) -m pytest

asan: ## the C kernels of every vector width under AddressSanitizer (half a minute; needs gcc)
	@sh tests/kernels/asan_kernels.sh

smoke: ## the smoke test on CPython 3.8 with NNabla 1.28, where a CPython 3.8 is installed
	@scripts/smoke.sh

tables: setup ## every result table and picture, from results/records
	@$(python) runners/tables.py

clean: ## removes environments and caches; never runs/ or results/
	@rm -rf .venv .venv.lock .venv-1.28 .venv-1.28.lock .pytest_cache .ruff_cache build dist *.egg-info
	@find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +
