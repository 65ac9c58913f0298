"""On an NVIDIA GPU: it computes what the CPU computes, trains in half precision, and two GPUs are one.

`make gpu` runs these. cuDNN may multiply in TF32, of 10 bits, so figures agree to a hundredth.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nnabla as nn
import numpy as np
import pytest
from nnabla.ext_utils import get_extension_context

import nnabla_ofa as ofa
from nnabla_ofa.system import records
from nnabla_ofa.system.comm import Single, has_gpu
from nnabla_ofa.training.optimiser import Optimiser
from nnabla_ofa.training.settings import Train
from nnabla_ofa.training.step import Stepper, loss_scale

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not has_gpu(), reason="no NVIDIA GPU and CUDA extension")]
ROOT = Path(__file__).resolve().parent.parent
NETS = {"xception": (ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2), "K357_E0.6+0.8+1_D123"),
        "mobilenetv3": (ofa.MobileNetV3(classes=5, width_mult=0.2), "K357_E346_D234"),
        "ofa_resnet50": (ofa.OfaResNet50(classes=5, stage_widths=(16, 16, 24, 24)), "D2_E0.35_W1"),
        "shufflenetv2": (ofa.Fixed("shufflenetv2_cifar", classes=5), None)}


def gpu(precision="float"):
    """NNabla's context of the first GPU."""
    return nn.context_scope(get_extension_context("cudnn", device_id="0", type_config=precision))


def images(count=8):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 3, 32, 32)).astype(np.float32), rng.integers(0, 5, count)


def updated(name, steps, scale=None):
    """A network after some updates in the current context, and their losses."""
    net = ofa.create(*NETS[name])
    settings, (x, labels) = Train(distill=0.0), images()
    stepper = Stepper(net, settings, Optimiser(net, settings), Single(), scale=scale)
    taken = [stepper.step(iter([(x, labels, None)]), [net.space.largest()], 0.01, 1) for _ in range(steps)]
    return net, [one[0] for one in taken if one is not None]


def apart(one, other):
    """The largest difference, relative to the largest value."""
    return np.abs(one - other).max() / np.abs(other).max()


@pytest.mark.parametrize("name", sorted(NETS))
def test_logits_are_those_of_the_cpu(name):
    x, _ = images()
    on_cpu = ofa.create(*NETS[name]).logits(x)
    with gpu():
        assert apart(ofa.create(*NETS[name]).logits(x), on_cpu) < 1e-2


@pytest.mark.parametrize("name", sorted(NETS))
def test_updates_are_those_of_the_cpu(name):
    _, on_cpu = updated(name, 3)
    with gpu():
        net, losses = updated(name, 3)
        arrays = net.arrays()
    assert losses == pytest.approx(on_cpu, rel=1e-2) and all(np.isfinite(a).all() for a in arrays.values())


@pytest.mark.parametrize("name", sorted(NETS))
def test_half_precision_learns(name):
    with gpu("half"):
        net, losses = updated(name, 10, loss_scale(1024))
        assert len(losses) >= 5 and losses[-1] < losses[0]
        assert all(np.isfinite(array).all() for array in net.arrays().values())


def test_two_gpus_are_one(mpirun, tmp_path):
    gpus = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, universal_newlines=True).stdout
    if gpus.count("GPU ") < 2:
        pytest.skip("one GPU alone")
    train = [ROOT / "runners/train.py", "--recipe", ROOT / "tests/tiny.yaml", "--search-space", "K7_E1_D3",
             "--device", "cudnn", "--output"]
    mpirun(2, [*train, tmp_path / "two"])
    subprocess.run([sys.executable, *map(str, train), str(tmp_path / "one")], check=True, cwd=str(ROOT))
    one, two = ([epoch["loss"] for epoch in records.read(tmp_path / name / "records")[0]["history"]]
                for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-2)
