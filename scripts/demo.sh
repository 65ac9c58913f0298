#!/usr/bin/env bash
# The whole chain on scikit-learn's scanned digits: train all six stages, evaluate named subnets,
# search a few, extract and fine-tune one, write the tables. Running it again resumes, or reuses
# what is done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

space=K357_E0.6+0.8+1_D123
weights=runs/demo/$space/weights.h5

run() { # shows a command as one would type it, then runs it
    printf '\n$ python'
    printf ' %q' "$@"
    printf '\n'
    "${OFA_VENV:-.venv}/bin/python" "$@"
}

run runners/train.py --search-space $space --recipe xception_digits --output runs/demo
run runners/evaluate.py --weights $weights --output runs/demo \
    --subnet "XP1 7x7 3" --subnet "XP0.8 5x5 2" --subnet "XP0.6 3x3 1"
run runners/search.py --weights $weights --output runs/demo --max-macs 2M --count 20
run runners/finetune.py --weights $weights --output runs/demo
run runners/tables.py --records runs/demo/records --output runs/demo/tables
printf '\nThe tables and pictures are in runs/demo/tables.\n'
