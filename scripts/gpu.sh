#!/usr/bin/env bash
# Everything that an NVIDIA GPU can show, in ten minutes after the set-up: the driver, the tests marked cuda,
# benchmarks/step.py in single and half precision with each way to convolve depthwise, a stage on CIFAR-10,
# and two ranks through NCCL where there are two GPUs. Records, named after the GPU, go to results/records.
#   OFA_CIFAR10    CIFAR-10 as runners/train.py --data takes it    (default: cifar10, fetched where it is not there)
#   OFA_VENV       folder of the environment                       (default: .venv-cuda)
# PyTorch is compared with where .venv-bench has a PyTorch for CUDA (benchmarks/requirements-bench.txt).
# Ends with 2 where this machine has no GPU that serves, with 1 where a part failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

least_driver=525 # of CUDA 12.1
venv=${OFA_VENV:-.venv-cuda}
data=${OFA_CIFAR10:-cifar10}
failed=

unusable() { echo "gpu: $*" >&2; exit 2; }

part() { # part SECONDS TITLE COMMAND...: a part that fails or takes too long does not keep the others from running
    local seconds=$1 title=$2
    shift 2
    printf '\n--- %s\n' "$title"
    timeout --kill-after 10 "$seconds" "$@" || { echo "gpu: failed: $title" >&2; failed=yes; }
}

gpus=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null) && [ -n "$gpus" ] ||
    unusable "no NVIDIA GPU here (nvidia-smi finds none); nothing was run"
count=$(wc -l <<<"$gpus")
driver=$(head -n 1 <<<"$gpus" | sed 's/.*, *//')
[ "${driver%%.*}" -ge "$least_driver" ] 2>/dev/null ||
    unusable "the driver is $driver, CUDA 12.1 needs $least_driver or newer; nothing was run"
echo "gpu: $count x $(head -n 1 <<<"$gpus"), driver serves"

OFA_VENV=$venv OFA_REQUIREMENTS=requirements-cuda.txt scripts/setup.sh || exit 1
venv=$(cd "$venv" && pwd)
python=$venv/bin/python
LD_LIBRARY_PATH=$(printf '%s:' "$venv"/lib/python3*/site-packages/nvidia/*/lib)${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH
"$python" -c 'from nnabla_ofa.system.comm import has_gpu; raise SystemExit(not has_gpu())' 2>/dev/null ||
    unusable "nvidia-smi shows a GPU, but NNabla's CUDA extension finds none that it serves (sm_53 to sm_90)"

part 120 "tests on the GPU" "$python" -m pytest -q -m cuda
part 240 "training steps and evaluations" "$python" benchmarks/step.py --device cudnn --rounds 3 --budget 2 \
    --only big:training:largest --only big:evaluation:largest --only cifar:training:largest \
    --only mobilenetv3-big:training:largest --only resnet50-big:training:largest \
    --only zoo:training:resnet18 --only zoo:training:efficientnet_b0
[ "$data" != cifar10 ] || part 60 "CIFAR-10" "$python" runners/data.py prepare cifar10 --download
for device in cudnn cudnn:half; do
    part 60 "a stage on CIFAR-10, $device" "$python" benchmarks/stage.py --data "$data" --device "$device" \
        --batch 256 --workers 4
done
if [ "$count" -gt 1 ]; then
    part 60 "the same by two ranks through NCCL" "$python" benchmarks/stage.py --data "$data" --device cudnn \
        --batch 256 --workers 4 --processes 2
else
    echo "gpu: one GPU: two NCCL ranks are left out"
fi
"$python" runners/tables.py >/dev/null && echo "gpu: results/step.md shows the records" || failed=yes
[ -z "$failed" ]
