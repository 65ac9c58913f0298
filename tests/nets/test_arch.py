"""Search spaces and subnets are values: grammar, counts, canonical forms, draws, encodings."""

import itertools

import numpy as np
import pytest

from nnabla_ofa.errors import OfaError
from nnabla_ofa.nets import Arch, Space
from nnabla_ofa.nets.elastic.xception import GENOTYPE_CANDIDATES, Block, Xception

NET = Xception()
FULL = NET.space("K357_E0.6+0.8+1_D123")


@pytest.mark.parametrize("name", ["K357_E0.6+0.8+1_D123", "K7_E1_D3", "K35_E0.8+1_D23"])
def test_space_names_round_trip(name):
    assert str(NET.space(name)) == name


@pytest.mark.parametrize("name, complaint", [
    ("K357", "K357_E0.6"), ("", "form"), ("K9_E1_D3", "9 is not allowed"), ("K7_E0.7_D3", "0.7"),
    ("K7_E1_D4", "4 is not allowed"), ("K753_E1_D3", "ascend"), ("K77_E1_D3", "ascend"),
    ("K7_E1_D3 x", "form")])
def test_malformed_space_names_say_what_is_wrong(name, complaint):
    with pytest.raises(OfaError, match=complaint):
        NET.space(name)


@pytest.mark.parametrize("text", ["XP2 3x3 1", "XP1 3x5 1", "XP1 3x3", "", "XP1 3x3 1, XP1 3x3 1",
                                  "XP1 3x3 4", "XP1 9x9 1", ", ".join(["XP1 3x3 1"] * 9)])
def test_malformed_subnets_are_refused(text):
    with pytest.raises(OfaError):
        NET.arch(text)


def test_counts():
    assert FULL.distinct_count() == 21 ** 8
    small = Xception(middle_blocks=2).space("K35_E0.8+1_D12")
    archs = {Arch(blocks).canonical() for blocks in itertools.product(*small.blocks)}
    assert len(archs) == small.distinct_count()


def test_text_json_and_genotype_round_trip():
    rng = np.random.default_rng(0)
    for _ in range(50):
        arch = FULL.sample(rng)
        assert NET.arch(str(arch)) == NET.arch(str(list(map(str, arch.blocks)))) == arch
        assert NET.arch(str([GENOTYPE_CANDIDATES.index(block) for block in arch.blocks])) == arch
    assert [str(b) for b in GENOTYPE_CANDIDATES[:4]] == ["XP1 3x3 1", "XP1 3x3 2", "XP1 3x3 3",
                                                        "XP0.8 3x3 1"]
    assert NET.arch("XP1 7x7 3").blocks == (Block(7, 1.0, 3),) * 8
    with pytest.raises(OfaError, match="0 to 26"):
        NET.arch(str([27] * 8))


def test_depth_one_has_no_expand_ratio():
    assert Block.parse("XP0.6 3x3 1").canonical() == Block.parse("XP1 3x3 1")
    assert NET.arch("XP0.6 3x3 1") in NET.space("K3_E1_D1")
    assert NET.arch("XP0.6 3x3 2") not in NET.space("K3_E1_D12")


def test_one_arch_space():
    arch = FULL.sample(np.random.default_rng(1))
    alone = Space.of(arch)
    assert alone.single() and alone.largest() == alone.smallest() == arch.canonical()
    assert not FULL.single() and NET.space("K7_E1_D3").single()


def test_sampling_is_uniform_and_seeded():
    rng = np.random.default_rng(3)
    archs = [FULL.sample(rng) for _ in range(2000)]
    counts = {}
    for arch in archs:
        for block in arch.blocks:
            counts[block] = counts.get(block, 0) + 1
    share = np.array([counts[block] for block in GENOTYPE_CANDIDATES]) / 16000
    assert np.abs(share - 1 / 27).max() < 0.006
    assert FULL.sample(np.random.default_rng(3)) == archs[0]


def test_mutation_and_crossover_stay_in_the_space():
    rng = np.random.default_rng(4)
    mother, father = FULL.largest(), FULL.smallest()
    assert FULL.mutate(mother, rng, rate=0.0) == mother
    for _ in range(100):
        child = FULL.crossover(mother, father, rng)
        assert all(b in (m, f) for b, m, f in zip(child.blocks, mother.blocks, father.blocks))
        assert FULL.mutate(child, rng, rate=0.5) in FULL
    with pytest.raises(OfaError, match="block 0"):
        NET.space("K3_E1_D3").mutate(mother, rng)


def test_encoding_is_one_hot_over_distinct_networks():
    rng = np.random.default_rng(5)
    for _ in range(50):
        arch = FULL.sample(rng)
        indices = FULL.indices([arch])
        vector, = FULL.one_hot(indices)
        assert vector.shape == (8 * 21,) and vector.sum() == 8
        assert FULL.archs(indices) == [arch.canonical()]
