#!/usr/bin/env bash
# What the results on CIFAR-10 are made by, one step after the other. Each takes up what is there: repeat the command
# after an interruption. Records are copied to results/records/; `python runners/tables.py` makes the pages.
#
#   scripts/evidence.sh DATA                     all steps
#   scripts/evidence.sh DATA full supernet       some of them
#
#   full      the full network alone                  5.8e14 floating-point operations
#   supernet  the same, then the elastic stage        6.2e14 more
#   search    NSGA-II, random and hand-made subnets; the predictor; a search by it
#   alone     the recipe's other four subnets from new weights, each for as many epochs; fine-tuned, too    5.6e14
#   resnet20  the challenge's ResNet20 supernet       6.1e14
#   zoo       six networks of the zoo
#   tricks    what each trick of training pays, 3 seeds
#
# RUNS is the folder of all runs (default runs); RANKS how many processes share a training (default: one a core).
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${1:-}" ] || { echo "usage: scripts/evidence.sh DATA [step ...]" >&2; exit 2; }
DATA=$1; shift
RUNS=${RUNS:-runs} RANKS=${RANKS:-$(nproc)}
RECIPE=wide_resnet20_cifar10 FULL=C64_C128_C256 SPACE=C16-64_C32-128_C64-256
W=$RUNS/$RECIPE/$SPACE/weights.h5
ZOO="efficientnetb0_cifar mobilenet_cifar mobilenetv2_cifar densenet_cifar resnet20_cifar shufflenetv2_cifar"

shared() { # a command, shared by RANKS processes where there is an mpirun
    if command -v mpirun > /dev/null && [ "$RANKS" -gt 1 ]; then
        local root=(); [ "$(id -u)" -ne 0 ] || root=(--allow-run-as-root)
        mpirun -n "$RANKS" --oversubscribe --bind-to none "${root[@]}" python "$@"
    else
        python "$@"
    fi
}
keep() { mkdir -p results/records; cp -R "$1"/records/. results/records/; } # a run's records
train() { # recipe, space, options ...
    local recipe=$1 space=$2; shift 2
    shared runners/train.py --recipe "$recipe" --search-space "$space" --data "$DATA" \
        --output "$RUNS/$recipe" "$@"
    keep "$RUNS/$recipe"
}
full() { train $RECIPE $FULL; }
supernet() { train $RECIPE $SPACE; }
search() {
    shared benchmarks/search.py --weights "$W" --data "$DATA" --output "$RUNS/$RECIPE"
    shared runners/predictor.py --weights "$W" --data "$DATA" --output "$RUNS/$RECIPE" --samples 200
    shared runners/search.py --weights "$W" --data "$DATA" --output "$RUNS/$RECIPE" --name predicted \
        --predictor "$RUNS/$RECIPE/samples.jsonl"
    keep "$RUNS/$RECIPE"
}
alone() {
    shared benchmarks/scratch.py --weights "$W" --data "$DATA" --output "$RUNS/$RECIPE" --hand-made \
        --epochs 16 --lr 0.2 --tune 5 --save "$RUNS/$RECIPE/alone.json"
    keep "$RUNS/$RECIPE"
}
resnet20() { train resnet20_cifar10_sandwich C4-16_C4-32_C4-64; }
zoo() { for net in $ZOO; do train zoo_cifar10_short "$net" --net "$net"; done; }
tricks() { # seeds side by side, a core each
    printf '%s\n' 0 1 2 | OMP_NUM_THREADS=1 xargs -P "$(nproc)" -I{} python benchmarks/ablations.py \
        --study tricks --data "$DATA" --seed {} --output "$RUNS/tricks"
    keep "$RUNS/tricks"
}

for step in "${@:-full supernet search alone resnet20 zoo tricks}"; do
    for one in $step; do echo "--- $one"; "$one"; done
done
