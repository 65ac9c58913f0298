#!/usr/bin/env bash
# The whole chain on scikit-learn's scanned digits: train all six stages, evaluate named subnets,
# search a few, extract and fine-tune one, write the tables. Running it again resumes, or reuses
# what is done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

space=K357_E0.6+0.8+1_D123
weights=runs/demo/$space/weights.h5
venv=${OFA_VENV:-.venv}
launcher=() # where there are two cores: of digits, two processes train faster than one of two threads

choose_launcher() { # Open MPI's mpirun, the environment's or the machine's
    local mpirun=$venv/bin/mpirun
    [ -x "$mpirun" ] || mpirun=$(command -v mpirun) || return 0
    [ "$(nproc)" -gt 1 ] && "$mpirun" --version 2>/dev/null | grep -qE 'Open MPI|OpenRTE' || return 0
    launcher=("$mpirun" -n 2 --oversubscribe --bind-to none)
    [ "$(id -u)" -ne 0 ] || launcher+=(--allow-run-as-root)
    "${launcher[@]}" "$venv/bin/python" -c 'import mpi4py.MPI' >/dev/null 2>&1 </dev/null || launcher=()
}

run() { # shows a command as one would type it, then runs it
    printf '\n$ python'
    printf ' %q' "$@"
    printf '\n'
    "$venv/bin/python" "$@"
}

run_by_two() { # the same by two processes of a core each
    [ "${#launcher[@]}" -gt 0 ] || { run "$@"; return; }
    printf '\n$ mpirun'
    printf ' %q' "${launcher[@]:1}" python "$@"
    printf '\n'
    OMP_NUM_THREADS=1 "${launcher[@]}" "$venv/bin/python" "$@"
}

choose_launcher
run_by_two runners/train.py --search-space $space --recipe xception_digits --output runs/demo
run runners/evaluate.py --weights $weights --output runs/demo \
    --subnet "XP1 7x7 3" --subnet "XP0.8 5x5 2" --subnet "XP0.6 3x3 1"
run runners/search.py --weights $weights --output runs/demo --max-macs 2M --count 20
run_by_two runners/finetune.py --weights $weights --output runs/demo
run runners/tables.py --records runs/demo/records --output runs/demo/tables
printf '\nThe tables and pictures are in runs/demo/tables.\n'
