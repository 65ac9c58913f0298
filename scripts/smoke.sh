#!/usr/bin/env bash
# The smoke test on the oldest supported pair, CPython 3.8 and NNabla 1.28 (what the Dockerfile
# has), in an environment of their own. Skipped, and said so, where no CPython 3.8 is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! python=$(scripts/find_python.sh 3.8); then
    echo "smoke: skipped, no CPython 3.8 here (pyenv install 3.8 gets one)"
    exit 0
fi
OFA_PYTHON=$python OFA_VENV=.venv-1.28 OFA_REQUIREMENTS=requirements-1.28.txt scripts/setup.sh
exec .venv-1.28/bin/python -m pytest tests/test_smoke.py
