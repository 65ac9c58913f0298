"""What was evaluated is kept: never measured twice, damage and other weights noticed, ranks agree."""

from __future__ import annotations

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.evaluation import Evaluations

CONFIG = ofa.Xception(classes=4, widths=(40,) * 8, middle_blocks=2)
ARCHS = CONFIG.space("K35_E1_D2").sample_distinct(4, np.random.default_rng(0))


def top1(archs, image_size):
    """A made-up accuracy."""
    return [(sum(block.kernel for block in arch.blocks) + image_size) / 100 for arch in archs]


class Counted:
    """`top1`, with what it was asked; interrupted at call number `dies_at`."""

    def __init__(self, dies_at=None):
        self.asked, self.calls, self.dies_at = [], 0, dies_at

    def __call__(self, archs, image_size):
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.calls += 1
        self.asked += [(arch, image_size) for arch in archs]
        return top1(archs, image_size)


def test_each_subnet_and_image_size_is_measured_once(tmp_path):
    first, second = Counted(dies_at=1), Counted()
    with pytest.raises(KeyboardInterrupt):
        Evaluations(tmp_path, {"weights": 1}, first, chunk=3)(ARCHS, 16)
    kept = Evaluations(tmp_path, {"weights": 1}, second, chunk=3)
    assert kept([*ARCHS, ARCHS[0]], 16) == top1([*ARCHS, ARCHS[0]], 16)
    assert first.asked + second.asked == [(arch, 16) for arch in ARCHS]
    assert kept(ARCHS, 12) == top1(ARCHS, 12) and second.asked[1:] == [(arch, 12) for arch in ARCHS]
    assert kept.count(12) == kept.count(16) == 4 and kept.count(20) == 0


def test_names_of_one_network_are_one_subnet(tmp_path):
    counted = Counted()
    names = [CONFIG.arch(f"XP{expand} 3x3 1") for expand in ("0.6", "1")]
    Evaluations(tmp_path, {}, counted)(names, 16)
    assert len(counted.asked) == 1


def test_other_weights_share_nothing(tmp_path):
    counted = Counted()
    for weights in (1, 2, 1, 2):
        Evaluations(tmp_path, {"weights": weights}, counted)(ARCHS, 16)
    assert len(counted.asked) == 2 * len(ARCHS)


@pytest.mark.parametrize("damage", [
    lambda text: text[:-9], lambda text: "", lambda text: "[]\n" + text, lambda text: "\x00",
    lambda text: text.replace("0.22", "1.22"), lambda text: text.replace("0.22", "NaN"),
    lambda text: text.replace('"weights": 1', '"weights": 3'), lambda text: "[" * 100000])
def test_a_damaged_file_is_named(tmp_path, damage):
    kept = Evaluations(tmp_path, {"weights": 1}, top1)
    kept([CONFIG.arch("XP1 3x3 2")], 16)
    before = kept.path.read_text()
    kept.path.write_text(damage(before))
    assert kept.path.read_text() != before
    with pytest.raises(ofa.OfaError, match="delete it"):
        Evaluations(tmp_path, {"weights": 1}, top1)


def test_two_ranks_know_the_same(mpirun, tmp_path):
    code = """if True:
        import runpy, sys
        from nnabla_ofa.evaluation import Evaluations
        from nnabla_ofa.system.comm import connect
        here = runpy.run_path("tests/evaluation/test_evaluations.py")
        archs, top1 = here["ARCHS"][:int(sys.argv[2])], here["top1"]
        kept = Evaluations(sys.argv[1], {"weights": 1}, top1, connect("cpu"), chunk=1)
        print("same:", kept(archs, 16) == top1(archs, 16), flush=True)
        """
    for count in (2, 4):
        assert mpirun(2, ["-c", code, tmp_path, count]).stdout.count("same: True") == 2
