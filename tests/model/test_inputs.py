"""Whatever Python passes in: the logits of the same pixels, or an OfaError; the network stays as it was."""

from __future__ import annotations

import warnings
from functools import lru_cache, partial

import nnabla as nn
import numpy as np
import pytest
import test_supernet

import nnabla_ofa as ofa
from nnabla_ofa import kernels
from nnabla_ofa.cost import CostModel
from nnabla_ofa.cost.model import costs_of
from nnabla_ofa.data import normalise
from nnabla_ofa.model import Frozen
from nnabla_ofa.nets.zoo import ZOO, Entry, resnet_cifar

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
SMALL = "small_resnet"
MAKERS = {
    "elastic": lambda: test_supernet.random_net(),
    "subnet": lambda: test_supernet.random_net().extract("XP0.6 3x3 2"),
    "resnet20": lambda: ofa.Network.create(ofa.ResNet20(classes=7), "C4-16_C4-32_C4-64"),
    "fixed": lambda: ofa.FixedNetwork.create(ofa.Fixed(SMALL, classes=7)),
}
made_once = lru_cache(lambda kind: MAKERS[kind]())


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A fixed network of seconds: one block in each of the first two stages."""
    monkeypatch.setitem(ZOO, SMALL, Entry(partial(resnet_cifar.resnet, blocks=(1, 1))))


@pytest.fixture(params=["nnabla", "fast"])
def way(request):
    """The kernels."""
    if request.param == "fast" and kernels.unavailable_reason() is not None:
        pytest.skip(str(kernels.unavailable_reason()))
    return request.param


@pytest.fixture(params=MAKERS)
def net(request, way):
    """A network of every kind, that says how its images were normalised."""
    model = made_once(request.param)
    net = type(model)(model.config, model.space, info={"mean": MEAN, "std": STD}, kernels=way)
    net.set_arrays(model.arrays())
    return net


def pixels(count=3, side=8):
    return np.random.default_rng(4).integers(0, 256, (count, 3, side, side)).astype(np.uint8)


def floats(count=3, side=8):
    return normalise(pixels(count, side).transpose(0, 2, 3, 1), MEAN, STD)


# Sizes -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
def test_no_image_has_no_logits(net, dtype):
    found = net.logits(np.zeros((0, 3, 8, 8), dtype))
    assert found.shape == (0, 7) and found.dtype == np.float32


@pytest.mark.parametrize("shape", [(2, 3, 0, 8), (2, 3, 8, 0), (0, 3, 0, 0), (2, 1, 8, 8), (3, 8, 8),
                                   (2, 8, 8, 3), (0,)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_images_of_another_shape_are_refused(net, shape, dtype):
    before = net.arrays()
    for use in (net.logits, net.calibrate):
        with pytest.raises(ofa.OfaError, match=r"\(N, 3, H, W\)"):
            use(np.zeros(shape, dtype))
    assert unchanged(net, before)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 0, 8), (2, 3, 8, 0)])
def test_a_graph_on_nothing_is_refused(net, shape):
    """Where the images do not come through `logits`, too."""
    arch, x = net.space.largest(), np.zeros(shape, np.float32)
    calls = [lambda: net.forward(nn.Variable(shape), [arch], net.mode(batch_stat=False)),
             lambda: net.population([arch]).logits(x), lambda: net.population([arch]).moments(x)]
    if net.space.single():
        calls.append(lambda: Frozen(net)(x))
    for call in calls:
        with pytest.raises(ofa.OfaError, match="1 or more"):
            call()


@pytest.mark.parametrize("side", [1, 2, 3])
def test_the_smallest_images_have_logits(net, side):
    assert np.isfinite(net.logits(pixels(side=side))).all()


# Types -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64,
                                   ">i4", list])
def test_integers_up_to_255_are_pixels(net, dtype):
    x = pixels() // 2 if dtype is np.int8 else pixels()
    assert np.array_equal(net.logits(x), net.logits(normalise(x.transpose(0, 2, 3, 1), MEAN, STD)))
    same = x.tolist() if dtype is list else x.astype(dtype)
    assert np.array_equal(net.logits(same), net.logits(x))
    one, other = net.extract(), net.extract()
    one.calibrate(same)
    other.calibrate(x)
    assert unchanged(one, other.arrays())


@pytest.mark.parametrize("dtype", [np.float16, np.float64, list])
def test_floating_point_numbers_are_normalised_already(net, dtype):
    x = floats().astype(np.float16).astype(np.float32)
    same = x.tolist() if dtype is list else x.astype(dtype)
    assert np.array_equal(net.logits(same), net.logits(x))


@pytest.mark.parametrize("wrong", [-1, 256, 65535])
def test_other_integers_are_refused(net, wrong):
    x = pixels().astype(np.int64)
    x[1, 2, 3, 4] = wrong
    before = net.arrays()
    for given in (x, x.tolist(), x.astype(np.int32)):
        for use in (net.logits, net.calibrate):
            with pytest.raises(ofa.OfaError, match=f"{wrong}.* not pixels from 0 to 255"):
                use(given)
    assert unchanged(net, before)


@pytest.mark.parametrize("dtype", [bool, complex, object, "U3", "S3", "M8[s]"])
def test_other_types_are_refused(net, dtype):
    x = (pixels() // 255).astype(np.int64).astype(dtype)
    for use in (net.logits, net.calibrate):
        with pytest.raises(ofa.OfaError, match="neither floating-point numbers"):
            use(x)


def test_lists_of_unequal_lengths_are_refused(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy below 1.24 makes objects of them
        with pytest.raises(ofa.OfaError, match="images"):
            net.logits([[[[1, 2], [3]]] * 3])


@pytest.mark.parametrize("info", [{}, {"mean": MEAN}, {"std": STD}])
def test_pixels_need_the_files_normalisation(net, info):
    net.info = info
    for x in (pixels(), pixels().tolist()):
        with pytest.raises(ofa.OfaError, match="normalisation"):
            net.logits(x)
    assert np.isfinite(net.logits(floats())).all()


@pytest.mark.parametrize("arch", [5, b"XP1 7x7 3", ["XP1 7x7 3"]])
def test_what_is_no_subnet_is_refused(net, arch):
    for use in (net.arch, partial(net.logits, pixels()), partial(net.calibrate, pixels()), net.cost,
                net.extract):
        with pytest.raises(ofa.OfaError, match="is neither an Arch"):
            use(arch)


# Calibration -------------------------------------------------------------------------------------

def unchanged(net, before):
    return all(np.array_equal(array, before[name]) for name, array in net.arrays().items())


def with_value(value):
    x = floats()
    x[2, 1, 7, 7] = value
    return x


@pytest.mark.parametrize("images, complaint", [
    (pixels(0), "at least one image"), (floats(0), "at least one image"), (with_value(np.nan), "NaN"),
    (with_value(np.inf), "infinite"), (with_value(-np.inf), "infinite"),
    (np.full((2, 3, 8, 8), 1e300), "infinite"), (with_value(3e38), "not finite")],
    ids=["no pixels", "no floats", "NaN", "inf", "-inf", "float64", "overflow"])
def test_a_calibration_that_fails_changes_nothing(net, images, complaint):
    before, logits = net.arrays(), net.logits(pixels())
    with pytest.raises(ofa.OfaError, match=complaint):
        net.calibrate(images)
    assert unchanged(net, before) and np.array_equal(net.logits(pixels()), logits)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, None, "3", True])
def test_a_batch_is_of_one_or_more(net, batch_size):
    before = net.arrays()
    with pytest.raises(ofa.OfaError, match="batch_size="):
        net.calibrate(pixels(), batch_size=batch_size)
    assert unchanged(net, before)


def test_a_population_needs_an_image(net):
    population = net.population([net.space.largest()])
    before = population.statistics(0)
    for batches, total in (([], 0), ([], 2)):
        with pytest.raises(ofa.OfaError, match="at least one image"):
            population.calibrate(batches, total)
    assert all(np.array_equal(array, before[name]) for name, array in population.statistics(0).items())


@pytest.mark.parametrize("maker", ["subnet", "fixed"])
def test_a_folded_network_has_nothing_to_calibrate(maker):
    folded = MAKERS[maker]().fold_bn()
    before = folded.arrays()
    with pytest.raises(ofa.OfaError, match="folded"):
        folded.calibrate(floats())
    assert unchanged(folded, before)


# Costs -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [0, -1, 16.0, 1.5, True, "16", None, [16], np.array([16])])
def test_an_image_has_a_side_of_one_pixel_or_more(net, size):
    calls = [lambda: net.cost(image_size=size), lambda: costs_of(net, [net.space.largest()], size)]
    if isinstance(net, ofa.Network):
        calls.append(lambda: CostModel(net, size))
    for call in calls:
        with pytest.raises(ofa.OfaError, match="image_size="):
            call()


def test_a_numpy_integer_is_a_size(net):
    assert net.cost(image_size=np.int64(16)) == net.cost(image_size=16)


def test_costs_of_subnets_by_their_texts():
    net = test_supernet.random_net()
    names = ["XP1 7x7 3", "XP0.6 3x3 1"]
    for own, found in zip(CostModel(net, 16)([net.arch(name) for name in names]), CostModel(net, 16)(names)):
        assert np.array_equal(own, found)
    for wrong in ("XP1 7x7 3", net.arch("XP1 7x7 3"), [5]):
        with pytest.raises(ofa.OfaError, match="subnet"):
            CostModel(net, 16)(wrong)
