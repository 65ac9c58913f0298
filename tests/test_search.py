"""Search on a tiny space against brute force; limits; the front."""

import itertools

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.arch import Arch
from nnabla_ofa.search import pareto, parse_limit, search

CONFIG = ofa.Xception(classes=4, widths=(8,) * 8, middle_blocks=2)
SPACE = CONFIG.space("K35_E1_D12")
NET = ofa.Network(CONFIG, SPACE)


def cost_of(arch):
    return NET.cost(arch, 16)


def accuracy(archs):
    """A made-up accuracy: larger kernels and depth help, the first block most."""
    return [sum((b.kernel + 3 * b.depth) * w for b, w in zip(a.blocks, (2, 1))) / 100 for a in archs]


def everything():
    return {Arch(blocks).canonical() for blocks in itertools.product(*SPACE.blocks)}


def test_a_search_of_all_subnets_is_brute_force():
    found = search(SPACE, cost_of, accuracy, len(everything()), {}, np.random.default_rng(0))
    assert {f.arch for f in found} == everything() and len(found) == len(everything())
    best = max(everything(), key=lambda a: accuracy([a])[0])
    assert pareto(found)[-1].arch == best


def test_every_subnet_is_within_the_limits_and_distinct():
    limit = cost_of(CONFIG.arch("XP1 5x5 1, XP1 3x3 2")).macs
    found = search(SPACE, cost_of, accuracy, 12, {"macs": limit}, np.random.default_rng(1))
    within = {a for a in everything() if cost_of(a).macs <= limit}
    assert {f.arch for f in found} <= within and len({f.arch for f in found}) == len(found)
    assert max(f.top1 for f in found) == max(accuracy(list(within)))
    again = search(SPACE, cost_of, accuracy, 12, {"macs": limit}, np.random.default_rng(1))
    assert found == again


def test_infeasible_limits_name_the_nearest_cost():
    least = cost_of(SPACE.smallest()).macs
    with pytest.raises(ofa.OfaError, match=f"the smallest has {least:g}"):
        search(SPACE, cost_of, accuracy, 5, {"macs": least - 1}, np.random.default_rng(0))


def test_front_is_what_nothing_beats():
    found = search(SPACE, cost_of, accuracy, 16, {}, np.random.default_rng(2))
    for one in pareto(found):
        assert not any(o.cost.macs <= one.cost.macs and o.top1 > one.top1 for o in found)


def test_limits_are_read():
    assert parse_limit("30M") == 3e7 and parse_limit("2.5G") == 2.5e9 and parse_limit("100") == 100
    for text in ("", "M", "-3M", "nan", "many"):
        with pytest.raises(ofa.OfaError, match="limit"):
            parse_limit(text)
