"""State dicts of once-for-all: names, logits, BN statistics and orders are those of the original.

The small supernets, their subnets and what the original computes with them are in ../shared. Without that
folder two subnets that it wrote are read, and its networks written in NumPy (`once_for_all_reference`) stand
in its place.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path

import numpy as np
import once_for_all_reference as reference
import pytest
from elastic_nets import FAMILIES, images, random_net, relative, some

import nnabla_ofa as ofa
from nnabla_ofa.formats.once_for_all import from_once_for_all, keys, squeezed, to_once_for_all
from nnabla_ofa.formats.torch_file import read_state_dict, write_state_dict

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "ofa"
GOLDEN = {"mbv3": "mobilenetv3", "proxyless": "proxylessnas", "resnet50": "ofa_resnet50"}
OURS = tuple(GOLDEN.values())


@pytest.fixture(params=GOLDEN)
def golden(request, shared):
    """(the beginning of the paths of a family's golden files, the name of the family here)."""
    return str(shared / f"golden/ofa/golden_ofa_{request.param}"), GOLDEN[request.param]


def subnets(path, what="logits"):
    data = np.load(f"{path}_{what}.npz")
    return data, [json.loads(str(arch)) for arch in data["archs"]]


def expected(state, net, arch, x):
    """Logits by the reference. arch: as once-for-all has it."""
    if net.config.family == "ofa_resnet50":
        return reference.resnet(state, arch, x, net.config.stage_widths)
    return reference.mobile(state, arch, x, net.config.family == "proxylessnas")


def equal(net, other):
    """Whether two networks have the same arrays."""
    own, others = net.arrays(), other.arrays()
    return own.keys() == others.keys() and all(np.array_equal(own[name], others[name]) for name in own)


def without_counters(state):
    return {key: array for key, array in state.items() if not key.endswith("num_batches_tracked")}


# -- logits ----------------------------------------------------------------------------------------

def plain(family, space=None):
    """A random network with the strides of the original, which the reference has."""
    net = random_net(family, space)
    settings = {"stem_pool": True} if family == "ofa_resnet50" else {}
    other = ofa.Network(type(net.config)(**{**vars(net.config), "stem_stride": 2, **settings}), net.space)
    other.set_arrays(net.arrays())
    return other


@pytest.mark.parametrize("family", OURS)
@pytest.mark.parametrize("size", [32, 37])
def test_logits_are_those_of_the_reference(family, size):
    net = plain(family)
    state = to_once_for_all(net)
    for arch in some(net, 3):
        found = net.logits(images(size=size), arch)
        assert relative(found, expected(state, net, net.config.once_for_all(arch), images(size=size))) < 1e-5


@pytest.mark.parametrize("size", [64, 72])
def test_logits_are_those_of_the_original(golden, size):
    path, family = golden
    net, (data, archs) = ofa.load(f"{path}.pth"), subnets(path)
    assert net.config.family == family
    for arch, logits in zip(archs, data[f"static_{size}"]):
        x = data[f"x_{size}"]
        alone = net.extract(arch)
        for found in (net.logits(x, arch), alone.logits(x), alone.fold_bn().logits(x)):
            assert relative(found, logits) < 5e-6, arch


def test_the_reference_is_the_original(golden):
    path, _ = golden
    state, net, (data, archs) = read_state_dict(f"{path}.pth"), ofa.load(f"{path}.pth"), subnets(path)
    for i in (0, 5, 11):
        logits = expected(state, net, archs[i], data["x_72"])
        assert relative(logits, data["static_72"][i]) < 1e-5


def test_a_distributed_subnet_is_known_by_its_shapes(golden):
    path, family = golden
    alone, (data, archs) = ofa.load(f"{path}_subnet.pth"), subnets(path)
    assert alone.space.single() and alone.config.family == family
    assert alone.cost(image_size=72) == ofa.load(f"{path}.pth").cost(archs[5], 72)
    for size in (64, 72):
        assert relative(alone.logits(data[f"x_{size}"]), data[f"static_{size}"][5]) < 5e-6


@pytest.mark.parametrize("name", ["mbv3", "proxyless"])
def test_a_subnet_that_once_for_all_wrote(name, tmp_path):
    """By fixtures/ofa/make.py. Its widths are all 8, so its net.config has to say where stages begin."""
    path = tmp_path / "init"  # as it is published
    path.write_bytes(gzip.decompress((FIXTURES / f"{name}_subnet.pth.gz").read_bytes()))
    (tmp_path / "net.config").write_bytes((FIXTURES / f"{name}_subnet.config.json").read_bytes())
    alone = ofa.load(path)
    found = json.loads((FIXTURES / f"{name}_subnet.json").read_text())
    assert alone.space == ofa.Space.of(alone.config.arch(found["arch"]))
    for size in (32, 37):
        x = np.sin(0.37 * np.arange(3 * size * size)).reshape(1, 3, size, size).astype(np.float32)
        for net in (alone, alone.fold_bn()):
            assert relative(net.logits(x)[0], np.array(found[f"logits_{size}"])) < 3e-6
    state = without_counters(read_state_dict(path))
    back = to_once_for_all(alone)
    assert back.keys() == state.keys() and all(np.array_equal(back[key], state[key]) for key in state)


def test_the_form_before_torch_1_6_has_the_same_weights(shared):
    assert equal(*(ofa.load(shared / f"golden/ofa/golden_ofa_mbv3{form}.pth") for form in ("", "_legacy")))


# -- names -----------------------------------------------------------------------------------------

def small_net(family):
    """A network of the golden files' widths."""
    config = (ofa.OfaResNet50(classes=20, stage_widths=(112, 128, 144, 256)) if family == "ofa_resnet50" else
              {"mobilenetv3": ofa.MobileNetV3, "proxylessnas": ofa.ProxylessNAS}[family](classes=20,
                                                                                        width_mult=0.25))
    return ofa.Network.create(config, FAMILIES[family][1])


@pytest.mark.parametrize("name", GOLDEN)
def test_names_and_shapes_are_those_of_the_original(name):
    with open(FIXTURES / "names.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"] == name]
    wanted = {row["name"]: tuple(map(int, row["shape"].split("x"))) for row in rows}
    found = {key: array.shape for key, array in to_once_for_all(small_net(GOLDEN[name])).items()}
    assert found == wanted


def test_names_of_before_november_2020_are_read():
    net = small_net("mobilenetv3")
    state = to_once_for_all(net)
    old = {re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", key): a for key, a in state.items()}
    assert not old.keys() <= state.keys()
    assert equal(from_once_for_all(old), net)


def test_those_names_are_the_original_s(shared):
    names = read_state_dict(shared / "golden/ofa/golden_ofa_mbv3_legacy.pth").keys()
    assert any(".mobile_inverted_conv." in name for name in names)
    assert {squeezed(name) for name in names} >= {*map(squeezed, to_once_for_all(small_net("mobilenetv3")))}


def test_golden_state_dicts_are_written_back_equal(golden):
    path, _ = golden
    for form in ("", "_subnet"):
        state = without_counters(read_state_dict(f"{path}{form}.pth"))
        back = to_once_for_all(ofa.load(f"{path}{form}.pth"))
        assert back.keys() == state.keys()
        assert all(np.array_equal(array, state[key]) for key, array in back.items())


@pytest.mark.parametrize("family", OURS)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_network_and_its_subnets_come_back_from_a_file(family, legacy, tmp_path):
    net = small_net(family)
    path = tmp_path / "net.pth"
    write_state_dict(path, to_once_for_all(net), legacy, key="state_dict")
    again = ofa.load(path)
    assert again.config == net.config and again.space == net.space
    assert equal(again, net)
    for arch in some(net, 2):
        alone = net.extract(arch)
        write_state_dict(path, to_once_for_all(alone), legacy, key="state_dict")
        again = ofa.load(path, space=str(alone.space.largest()),
                         **({"stage_widths": net.config.stage_widths} if family == "ofa_resnet50" else {}))
        assert again.space == alone.space and again.config == alone.config
        assert equal(again, alone)


@pytest.mark.parametrize("family", ["mobilenetv3", "proxylessnas"])
def test_files_of_the_stages_are_read(family):
    """The full network has the names of a single one; the matrices of the next stage change nothing yet."""
    config = small_net(family).config
    full = from_once_for_all(to_once_for_all(ofa.Network.create(config, "K7_E6_D4", seed=2)))
    assert str(full.space) == "K7_E6_D4" and full.config == config
    state = to_once_for_all(full.widened("K357_E6_D4"))
    kernels = from_once_for_all(state, space="K357_E6_D4")
    assert str(kernels.space) == "K357_E6_D4" and equal(kernels, full.widened("K357_E6_D4"))
    assert np.array_equal(kernels.logits(images(), "K7_E6_D4"), full.logits(images()))


@pytest.mark.parametrize("family, settings", [("mobilenetv3", {}), ("mobilenetv3", {"width_mult": 1.2}),
                                              ("proxylessnas", {}), ("ofa_resnet50", {})])
def test_subnets_of_the_published_widths_are_known_by_shapes_alone(family, settings):
    """The equal widths of tiny networks hide where a stage ends; those of the published ones do not."""
    config = type(FAMILIES[family][0])(**settings)
    space, rng = config.space(FAMILIES[family][1]), np.random.default_rng(1)
    for arch in (space.sample(rng), space.smallest()):
        alone = ofa.Network.create(config, ofa.Space.of(arch))
        again = from_once_for_all(to_once_for_all(alone), stage_widths=(256, 512, 1024, 2048)) if (
            family == "ofa_resnet50") else from_once_for_all(to_once_for_all(alone))
        own, found = (str(net.space.largest()).split() for net in (alone, again))
        # Of ResNet50's stem 0.65 and 0.8 are the same width, 24.
        assert found[1:] == own[1:] and {found[0], own[0]} <= {own[0], own[0].replace("0.65", "0.8")}
        assert again.config == config and again.cost() == alone.cost()


# -- BN statistics ---------------------------------------------------------------------------------

def test_calibration_is_theirs_but_for_what_lies_between_batches(golden):
    """once-for-all averages the variances of batches; ours pools, which adds the variance of their means."""
    path, _ = golden
    net, data = ofa.load(f"{path}.pth"), np.load(f"{path}_calibration.npz")
    batches = [data["batch_0"], data["batch_1"]]
    for i in (0, 1):
        arch = net.arch(json.loads(str(data[f"{i}/arch"])))
        names = keys(net.extract(arch))
        population = net.population([arch])
        rows = np.stack([population.moments(batch) for batch in batches])
        share = rows[:, :1] / rows[:, 0].sum()
        means, squares = np.split(rows[:, 1:], 2, axis=1)
        mean, theirs = (share * means).sum(0), (share * (squares - means ** 2)).sum(0)
        between = (share * (means - mean) ** 2).sum(0)

        population.set_statistics(mean, theirs)
        found = population.statistics(0)
        for name, array in found.items():
            original = data[f"{i}/{names[name]}"]
            assert np.abs(array.ravel() - original).max() < 1e-4 * max(1, np.abs(original).max()), name
        assert relative(population.logits(data["x"])[0], data[f"{i}/logits"]) < 1e-4

        population.set_statistics(mean, theirs + between)
        pooled = population.statistics(0)
        population.calibrate(((n, batch, None) for n, batch in enumerate(batches)), 2)
        for name, array in population.statistics(0).items():
            assert np.allclose(array, pooled[name], rtol=1e-5, atol=1e-6), name


# -- orders ----------------------------------------------------------------------------------------

INNER = {"mobilenetv3": "K357_E6_D234", "proxylessnas": "K357_E6_D234", "ofa_resnet50": "D012_E0.35_W1"}
BOTTLENECKS = [f"stages/{stage}/{i}" for stage, count in enumerate((4, 4, 6, 4)) for i in range(count)]
TWO = {"mobilenetv3": "K357_E46_D234", "proxylessnas": "K357_E46_D234",
       "ofa_resnet50": "D012_E0.25+0.35_W1"}


def order_of(before, after, axis):
    """The permutation that took an array along an axis: new place j had been old place order[j].

    What lies along the other axes is permuted, too: the values of a row, sorted, say which one it is.
    """
    before, after = (np.sort(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1))
                     for array in (before, after))
    places = {row.tobytes(): i for i, row in enumerate(before)}
    return np.array([places[row.tobytes()] for row in after])


def sorted_net(path, family, spaces):
    net = ofa.load(f"{path}.pth", space=spaces[family])
    before = net.arrays()
    net.sort_channels()
    return net, before, net.arrays()


def orders(path, family, spaces):
    """{once-for-all's name of an order: ours}, and the inner widths that are kept apart."""
    net, before, after = sorted_net(path, family, spaces)
    found = {}
    if family == "ofa_resnet50":
        for i, stage in enumerate(BOTTLENECKS):  # the axes of the 3x3 are what conv2 and conv1 give
            weights = [a[f"{stage}/1/conv/W"] for a in (before, after)]
            found[f"blocks.{i}/conv2_out"] = order_of(*weights, 0)
            found[f"blocks.{i}/conv1_out"] = order_of(*weights, 1)
        return net, found
    for i in range(1, 1 + len(net.space.blocks)):
        found[f"blocks.{i}/middle"] = order_of(*(a[f"blocks/{i}/project/conv/W"] for a in (before, after)), 1)
        if f"blocks/{i}/se/reduce/b" in before:
            units = [a[f"blocks/{i}/se/reduce/W"] for a in (before, after)]
            found[f"blocks.{i}/se_middle"] = order_of(*units, 0)
    return net, found


def test_stage_0_sorts_as_the_original_does(golden):
    path, family = golden
    net, found = orders(path, family, INNER)
    data, archs = subnets(path, "sorting")
    assert found.keys() == {name[7:] for name in data.files if name.startswith("stage0/blocks")}
    for name, order in found.items():
        assert np.array_equal(order, data[f"stage0/{name}"]), name
    for arch, before, after in zip(archs, data["before/logits"], data["stage0/logits"]):
        if net.config.arch(arch) in net.space:
            logits = net.logits(data["x"], arch)
            assert relative(logits, before) < 1e-5 and relative(logits, after) < 1e-5


def test_stage_1_keeps_the_same_channels_apart(golden):
    """Within a segment the original's float32 shifts blur its order: the sets are compared.

    Its units of squeeze-and-excitation are not kept apart; ours are, and trained subnets keep their logits.
    """
    path, family = golden
    net, found = orders(path, family, TWO)
    data, _ = subnets(path, "sorting")
    for name, order in found.items():
        if name.endswith("se_middle"):
            continue
        base, theirs = name.split("/")[0], data[f"stage1/{name}"]
        _, segment = inner_widths(net, int(base.split(".")[1]))
        assert {*order[:segment]} == {*range(segment)} == {*theirs[:segment]}, name
        importance = data[f"{name}_importance"]
        assert np.abs(importance[order] - importance[theirs]).max() < 0.05, name


def inner_widths(net, block):
    """(the largest, the second largest) width within a block."""
    if net.config.family == "ofa_resnet50":
        name = f"{BOTTLENECKS[block]}/0"
    else:
        name = f"blocks/{block}/expand"
    part, = [p for layer in net.layers() for p in layer.parts() if p.name == name]
    return part.segments[-1], part.segments[-2]


# -- what is refused -------------------------------------------------------------------------------

@pytest.mark.parametrize("settings, complaint", [
    ({"width_mult": 1.2}, r"has width_mult=0.25, not 1.2"), ({"classes": 5}, "has 20 classes, not 5"),
    ({"kernels": 3}, "kernels is no setting of this family"), ({"widths": [8]}, "nnabla-nas"),
    ({"net": "proxylessnas"}, "not of proxylessnas"), ({"net": "resnet18_cifar"}, "lacks"),
    ({"space": "K35_E346_D234"}, "unknown|wrong shape")])
def test_arguments_that_contradict_the_file_are_named(settings, complaint, tmp_path):
    path = tmp_path / "net.pth"
    write_state_dict(path, to_once_for_all(small_net("mobilenetv3")))
    with pytest.raises(ofa.OfaError, match=complaint) as caught:
        ofa.load(path, **settings)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("family", OURS)
def test_misshapen_state_dicts_are_refused(family):
    """One array at a time lost, cut, of another rank or of another name: each is one error."""
    state, rng = to_once_for_all(small_net(family)), np.random.default_rng(0)
    names = [*state]
    for name in [names[i] for i in rng.choice(len(names), 12, replace=False)] + names[:2] + names[-2:]:
        cut = state[name][..., :-1] if state[name].shape[-1] > 1 else state[name][:-1]
        others = [np.float32(1), state[name][None, None], np.zeros((0,) * state[name].ndim, np.float32), cut]
        for wrong in [{**state, name: other} for other in others] + [
                {key: array for key, array in state.items() if key != name},
                {(f"blocks.x{key}" if key == name else key): array for key, array in state.items()}]:
            if name.endswith("_matrix") and name not in wrong:
                continue  # a file of one kernel may lack them: the error is tested above
            with pytest.raises(ofa.OfaError):
                from_once_for_all(wrong)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_truncated_files_are_refused(legacy, share, tmp_path):
    path = tmp_path / "net.pth"
    write_state_dict(path, to_once_for_all(small_net("mobilenetv3")), legacy)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(ofa.OfaError) as caught:
        ofa.load(path)
    assert "\n" not in str(caught.value)


def test_the_net_config_beside_a_subnet_tells_its_stages_apart(tmp_path):
    """Of such a width two stages look alike; the strides say where the second one begins."""
    net = ofa.Network.create(ofa.MobileNetV3(classes=3, width_mult=0.1), "K357_E346_D234")
    alone = net.extract({"ks": 5, "e": 4, "d": [3, 2, 3, 2, 3]})
    path, config = tmp_path / "init.pth", tmp_path / "net.config"
    write_state_dict(path, to_once_for_all(alone), key="state_dict")
    with pytest.raises(ofa.OfaError, match="give the net.config"):
        ofa.load(path)
    strides = [1] + [stride if number == 0 else 1 for stride, depth in zip((2, 2, 2, 1, 2), (3, 2, 3, 2, 3))
                     for number in range(depth)]
    body = "mobile_inverted_conv"
    config.write_text(json.dumps({"blocks": [{body: {"stride": stride}} for stride in strides]}))
    assert ofa.load(path).space == ofa.load(path, net_config=config).space == alone.space
    for wrong in ("{", "[]", '{"blocks": [1, 2]}', '{"blocks": [{"conv": {}}, {"conv": {}}]}'):
        config.write_text(wrong)
        with pytest.raises(ofa.OfaError, match="net.config is not a net.config"):
            ofa.load(path)


def test_a_family_that_once_for_all_lacks_is_refused():
    with pytest.raises(ofa.OfaError, match="no xception"):
        to_once_for_all(random_net("xception"))
