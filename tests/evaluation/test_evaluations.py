"""What was evaluated is kept: never measured twice, damage and other weights noticed, ranks agree."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.evaluation import Evaluations

ROOT = Path(__file__).resolve().parents[2]
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
    lambda text: "", lambda text: "[]\n" + text, lambda text: "\x00", lambda text: text[:9],
    lambda text: text.replace('"weights": 1', '"weights": 3'), lambda text: "[" * 100000])
def test_a_damaged_file_is_named(tmp_path, damage):
    kept = Evaluations(tmp_path, {"weights": 1}, top1)
    kept([CONFIG.arch("XP1 3x3 2")], 16)
    before = kept.path.read_text()
    kept.path.write_text(damage(before))
    assert kept.path.read_text() != before
    with pytest.raises(ofa.OfaError, match="delete it"):
        Evaluations(tmp_path, {"weights": 1}, top1)


@pytest.mark.parametrize("bad", [
    b'{"image_size": 16, "sub', b"", b"\x00" * 60, b"\xff\xfe", b"[" * 100000, b"[]", b"3",
    b'{"image_size": 16, "subnet": "a", "top1": 1.22}', b'{"image_size": 16, "subnet": "a", "top1": NaN}',
    b'{"image_size": 16, "top1": 0.22}', b'{"image_size": "big", "subnet": "a", "top1": 0.22}'])
@pytest.mark.parametrize("place", [1, 3, 4])
def test_a_damaged_line_is_left_out_and_measured_again(tmp_path, capsys, bad, place):
    """With one warning that names it; the other lines count, and the file is whole again."""
    kept = Evaluations(tmp_path, {"weights": 1}, top1)
    kept(ARCHS, 16)
    before = kept.path.read_bytes()
    lines = before.split(b"\n")
    lost, lines[place] = lines[place], bad
    kept.path.write_bytes(b"\n".join(lines))
    counted = Counted()
    again = Evaluations(tmp_path, {"weights": 1}, counted)
    warning, = capsys.readouterr().err.splitlines()
    assert f"{kept.path}: 1 damaged line left out ({place + 1})" in warning
    assert again(ARCHS, 16) == top1(ARCHS, 16) and counted.asked == [(ARCHS[place - 1], 16)]
    assert sorted(kept.path.read_bytes().split(b"\n")) == sorted(before.split(b"\n")) and lost in before
    Evaluations(tmp_path, {"weights": 1}, top1)
    assert capsys.readouterr().err == ""


def test_a_file_that_was_cut_anywhere_keeps_its_whole_lines(tmp_path):
    kept = Evaluations(tmp_path, {"weights": 1}, top1)
    kept(ARCHS[:2], 16)
    whole = kept.path.read_bytes()
    header, *_ = whole.splitlines(keepends=True)
    for length in range(len(header), len(whole), 7):
        kept.path.write_bytes(whole[:length])
        counted = Counted()
        assert Evaluations(tmp_path, {"weights": 1}, counted)(ARCHS[:2], 16) == top1(ARCHS[:2], 16)
        assert len(counted.asked) == 2 - whole[len(header):length].count(b"}")
        assert sorted(kept.path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_process_that_is_killed_loses_the_group_that_it_was_at(tmp_path):
    code = """if True:
        import os, runpy, signal, sys
        from nnabla_ofa.evaluation import Evaluations
        here = runpy.run_path("tests/evaluation/test_evaluations.py")
        asked = []
        def measure(archs, image_size):
            asked.extend(archs)
            if len(asked) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return here["top1"](archs, image_size)
        Evaluations(sys.argv[1], {"weights": 1}, measure, chunk=1)(here["ARCHS"], 16)
        """
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=str(ROOT),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert died.returncode == -signal.SIGKILL, died.stderr
    counted = Counted()
    assert Evaluations(tmp_path, {"weights": 1}, counted, chunk=1)(ARCHS, 16) == top1(ARCHS, 16)
    assert counted.asked == [(arch, 16) for arch in ARCHS[2:]]


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
