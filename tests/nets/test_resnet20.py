"""The channel-elastic ResNet20: grammar, golden costs, exact extraction, exact sorting."""

import csv

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.nets import Space

CONFIG = ofa.ResNet20()
SPACE = CONFIG.space("C4-16_C4-32_C4-64")
MIDDLE = "8-12-8-4-16-8-8-20-24-32-16-20-24-40-48-64-32-4-60-64"


def images(count=8):
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32)).astype(np.float32)


def random_net(space, kernels="auto", shortcut="official"):
    """New weights with lively BN parameters and statistics, so that nothing cancels by chance."""
    net = ofa.Network.create(ofa.ResNet20(shortcut=shortcut), space, seed=3)
    net.kernels, rng, arrays = kernels, np.random.default_rng(4), net.arrays()
    for name, array in arrays.items():
        if "/bn/" in name:
            array[:] = rng.uniform(0.5, 1.5, array.shape) - (1 if name.endswith(("beta", "mean")) else 0)
    net.set_arrays(arrays)
    return net


def test_golden_costs(shared):
    with open(shared / "golden/golden_resnet20_channel.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 10
    for row in rows:
        config = ofa.ResNet20(classes=int(row["num_classes"]), shortcut=row["shortcut"])
        cost = ofa.Network(config, SPACE).cost(row["encoding"], 32)
        assert (cost.parameters, cost.macs) == (int(row["trainable_params"]), int(row["macs_32x32"]))


def test_names_round_trip_and_the_last_width_is_ignored():
    rng = np.random.default_rng(1)
    for _ in range(20):
        arch = SPACE.sample(rng)
        assert CONFIG.arch(str(arch)) == arch and SPACE.archs(SPACE.indices([arch])) == [arch]
    assert CONFIG.arch(MIDDLE.rsplit("-", 1)[0] + "-4") == CONFIG.arch(MIDDLE)
    for name in ("C16_C32_C64", "C4-16_C4-32_C4-64", "C8-16_C32_C4-8"):
        assert str(CONFIG.space(name)) == name
    assert CONFIG.space(MIDDLE) == Space.of(CONFIG.arch(MIDDLE))
    assert str(CONFIG.space(MIDDLE)) == str(CONFIG.arch(MIDDLE))
    assert SPACE.distinct_count() == 4 ** 7 * 8 ** 6 * 16 ** 6


WIDE = ofa.ResNet20(widths=(64, 128, 256), width_step=16, stem_stride=2)


def test_a_wider_network_has_names_and_costs_of_its_own():
    space = WIDE.space("C16-64_C32-128_C64-256")
    assert str(space) == "C16-64_C32-128_C64-256"
    assert str(space.smallest()) == "-".join(["16"] * 7 + ["32"] * 6 + ["64"] * 6 + ["256"])
    assert [len(tuple(choices)) for choices in space.blocks] == [4] * 7 + [7] * 6 + [13] * 6 + [1]
    arch = space.sample(np.random.default_rng(0))
    assert WIDE.arch(str(arch)) == arch
    blocks = 16 ** 2 * 64 ** 2 * 9 * 6 + 8 ** 2 * 128 ** 2 * 9 * 5 + 4 ** 2 * 256 ** 2 * 9 * 5
    halving = 8 ** 2 * 64 * 128 * (9 + 1) + 4 ** 2 * 128 * 256 * (9 + 1)
    assert WIDE.space("C64_C128_C256").single()
    net = ofa.Network(WIDE, space)
    assert net.cost(None, 32).macs == 16 ** 2 * 3 * 64 * 9 + blocks + halving + 256 * 10


def test_a_subnet_of_a_wider_network_computes_what_it_does_within():
    net = ofa.Network.create(ofa.ResNet20(widths=(8, 16, 24), width_step=8, stem_stride=2), "C8_C8-16_C8-24")
    arch, x = net.space.sample(np.random.default_rng(2)), images(2)
    np.testing.assert_allclose(net.extract(arch).logits(x), net.logits(x, arch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings, message", [
    (dict(widths=(16, 32)), "widths.*three multiples of width_step=4"),
    (dict(widths=(16, 32, 66)), "widths.*three multiples of width_step=4"),
    (dict(width_step=0), "width_step.*from 1"), (dict(stem_stride=3), "stem_stride.*1 or 2")])
def test_impossible_widths_are_one_error(settings, message):
    with pytest.raises(ofa.OfaError, match=message):
        ofa.ResNet20(**settings)


def test_spaces_beyond_the_widths_are_one_error():
    with pytest.raises(ofa.OfaError, match="widths 8 to 64 are not multiples of 16, ascending, from 16 "):
        WIDE.space("C8-64_C32-128_C64-256")
    with pytest.raises(ofa.OfaError, match="for example C16-64_C16-128_C16-256"):
        WIDE.space("C16:64")


@pytest.mark.parametrize("text", ["", "16", "16-16", MIDDLE + "-4", "6" + MIDDLE[1:], "64" + MIDDLE[1:],
                                  MIDDLE.replace("-", ","), MIDDLE.replace("40", "-4"), "C16_C32_C64"])
def test_malformed_subnets_are_refused(text):
    with pytest.raises(ofa.OfaError):
        CONFIG.arch(text)


@pytest.mark.parametrize("name", ["", "C16", "C16_C32", "C4-16_C4-32_C4-68", "C6-16_C32_C64", "C16-4_C32_C64",
                                  "C0-16_C32_C64", "K7_E1_D3"])
def test_malformed_spaces_are_refused(name):
    with pytest.raises(ofa.OfaError):
        CONFIG.space(name)


@pytest.mark.parametrize("shortcut", ["official", "always"])
@pytest.mark.parametrize("kernels", ["nnabla", "auto"])
def test_extracted_equals_supernet(kernels, shortcut):
    net, x = random_net(SPACE, kernels, shortcut), images()
    for arch in (SPACE.largest(), SPACE.smallest(), CONFIG.arch(MIDDLE)):
        alone = net.extract(arch)
        np.testing.assert_allclose(alone.logits(x), net.logits(x, arch), rtol=0, atol=1e-5)
        assert alone.cost(image_size=32) == net.cost(arch, 32)
        assert sum(a.size for name, a in alone.arrays().items()
                   if not name.endswith(("mean", "var"))) == net.cost(arch, 32).parameters


@pytest.mark.parametrize("shortcut", ["official", "always"])
def test_fused_functions_equal_plain_nnabla(shortcut):
    nets, x = [random_net(SPACE, kernels, shortcut) for kernels in ("nnabla", "auto")], images()
    for arch in (SPACE.largest(), CONFIG.arch(MIDDLE)):
        plain, fused = (net.logits(x, arch) for net in nets)
        assert np.abs(plain - fused).max() < 1e-5 * np.abs(plain).max()


@pytest.mark.parametrize("shortcut", ["official", "always"])
def test_sorting_changes_no_logits_and_puts_important_channels_first(shortcut):
    net, x = random_net("C16_C32_C64", shortcut=shortcut), images()
    before = net.logits(x)
    net.sort_channels()
    assert np.abs(net.logits(x) - before).max() < 1e-5 * np.abs(before).max()
    arrays = net.arrays()
    importance = np.abs(arrays["blocks/4/1/conv/W"]).sum(axis=(0, 2, 3))
    assert (np.diff(importance) <= 0).all()
    wide = net.widened("C8-16_C16-32_C32-64")
    trained = wide.space.smallest()
    before = wide.logits(x, trained)
    wide.sort_channels()  # moves channels only between the widths that subnets use
    assert np.abs(wide.logits(x, trained) - before).max() < 1e-5 * np.abs(before).max()


def test_a_skip_convolution_is_used_only_where_width_or_stride_changes():
    net = ofa.Network(CONFIG, SPACE)
    skips = [layer.skip is not None for layer in net.layers(CONFIG.arch(MIDDLE))[1:10]]
    assert skips == [False] + [True] * 8
    skips = [layer.skip is not None for layer in net.layers()[1:10]]
    assert [k for k, skip in enumerate(skips) if skip] == [3, 6]
    declared = net.declared()
    assert "blocks/1/skip/conv/W" in declared  # stored: other subnets use it
    assert "blocks/1/skip/conv/W" not in ofa.Network(CONFIG, CONFIG.space("C16_C32_C64")).declared()
