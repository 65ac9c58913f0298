"""One network, many: slices, sorting, extraction, files - each as an equality of logits."""

from dataclasses import replace

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.data import Augment, Dataset, fixed_batches, normalise
from nnabla_ofa.model import load_network
from nnabla_ofa.nets import Space

CONFIG = ofa.Xception(classes=7, widths=(8, 8, 16, 16, 40, 24, 32, 40), stem_stride=1)
FULL = "K357_E0.6+0.8+1_D123"


def random_net(space=FULL, seed=0, kernels="auto"):
    """A network whose matrices, BN parameters and statistics are all random."""
    net = ofa.Network.create(CONFIG, space, seed)
    rng = np.random.default_rng(seed + 1)
    arrays = net.arrays()
    for name, array in arrays.items():
        if name.endswith(("gamma", "var")):
            arrays[name] = rng.uniform(0.5, 1.5, array.shape)
        elif name.endswith(("beta", "mean", "to5", "to3")):
            arrays[name] = array + 0.3 * rng.standard_normal(array.shape)
    net.set_arrays(arrays)
    net.kernels = kernels
    return net


def images(seed=9, size=16):
    return np.random.default_rng(seed).standard_normal((2, 3, size, size)).astype(np.float32)


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def archs(space, count=6, seed=2):
    space, rng = CONFIG.space(space), np.random.default_rng(seed)
    return [space.largest(), space.smallest()] + [space.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("kernels", ["nnabla", "auto"])
def test_extracted_equals_supernet(kernels):
    net = random_net(kernels=kernels)
    for arch in archs(FULL):
        alone = net.extract(arch)
        # A kernel taken through its matrices by NumPy and by NNabla: 1.01e-6 on one CPU, less on others.
        assert relative(alone.logits(images()), net.logits(images(), arch)) < 3e-6
        assert alone.cost(image_size=16) == net.cost(arch, 16)
        stored = sum(a.size for n, a in alone.arrays().items() if not n.endswith(("mean", "var")))
        assert stored == net.cost(arch, 16).parameters


@pytest.mark.parametrize("space", ["K357_E1_D123", "K357_E1_D23", "K357_E1_D3"])
@pytest.mark.parametrize("kernels", ["nnabla", "auto"])
def test_sorting_keeps_every_logit(space, kernels):
    net = random_net(space, kernels=kernels)
    before = {arch: net.logits(images(), arch) for arch in archs(space, 8)}
    arrays = net.arrays()
    net.sort_channels()
    assert any(not np.array_equal(a, arrays[n]) for n, a in net.arrays().items())
    for arch, expected in before.items():
        assert relative(net.logits(images(), arch), expected) < 1e-5, arch
        assert relative(net.extract(arch).logits(images()), expected) < 1e-5, arch


def test_sorting_puts_the_most_important_first_and_again_changes_nothing():
    net = random_net("K357_E1_D123")
    net.sort_channels()
    for block in range(8):
        for layer in (1, 2):
            weight = net.arrays()[f"middle/{block}/{layer}/pointwise/W"]
            importance = np.abs(weight).sum(axis=(0, 2, 3))
            assert np.all(np.diff(importance) <= 1e-6 * importance[0])
    arrays = net.arrays()
    net.sort_channels()
    assert all(np.array_equal(a, arrays[n]) for n, a in net.arrays().items())


@pytest.mark.parametrize("space", ["K3_E0.8_D123", "K3_E0.6+0.8_D23"])
def test_sorting_needs_no_subnet_of_full_width(space):
    net = random_net(space)
    before = {arch: net.logits(images(), arch) for arch in archs(space, 4)}
    net.sort_channels()
    for arch, expected in before.items():
        assert relative(net.logits(images(), arch), expected) < 1e-5, arch


def test_second_sorting_keeps_trained_narrower_subnets():
    net = random_net("K357_E0.8+1_D123")
    before = {arch: net.logits(images(), arch) for arch in archs("K357_E0.8+1_D123", 8)}
    net.sort_channels()
    wider = net.widened(FULL)
    for arch, expected in before.items():
        assert relative(wider.logits(images(), arch), expected) < 1e-5, arch


def test_widening_starts_from_the_same_logits():
    net = random_net("K7_E1_D3")
    for space in ("K357_E1_D3", FULL):
        assert relative(net.widened(space).logits(images(), "XP1 7x7 3"), net.logits(images())) < 1e-6
    wider = net.widened(FULL)
    small = wider.arrays()["middle/0/0/depthwise/W"][:, :, 2:5, 2:5]
    assert np.allclose(wider.extract("XP1 3x3 3").arrays()["middle/0/0/depthwise/W"], small)
    with pytest.raises(ofa.OfaError, match="wrong shape"):
        random_net("K3_E1_D3").widened(FULL)


def test_kernel_matrices_by_hand():
    net = random_net()
    arrays = net.arrays()
    weight = arrays["middle/0/0/depthwise/W"]
    five = weight[:, 0, 1:6, 1:6].reshape(-1, 25) @ arrays["middle/0/0/depthwise/7to5"]
    three = five.reshape(-1, 5, 5)[:, 1:4, 1:4].reshape(-1, 9) @ arrays["middle/0/0/depthwise/5to3"]
    found = net.extract("XP1 3x3 3").arrays()["middle/0/0/depthwise/W"]
    assert np.allclose(found.reshape(-1, 9), three, atol=1e-6)


def test_files_describe_themselves(tmp_path):
    net = random_net()
    net.info = {"classes": list("abcdefg"), "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    arch = archs(FULL)[3]
    net.save(tmp_path / "supernet.h5")
    net.extract(arch).save(tmp_path / "subnet.h5")
    again, alone = ofa.load(tmp_path / "supernet.h5"), ofa.load(tmp_path / "subnet.h5")
    assert again.config == net.config and again.space == net.space and again.info == net.info
    assert np.array_equal(again.logits(images(), arch), net.logits(images(), arch))
    assert np.array_equal(alone.logits(images()), net.extract(arch).logits(images()))
    assert alone.space == Space.of(arch) and alone.info["subnet"] == str(arch.canonical())


def test_files_can_be_read_by_nnabla(tmp_path):
    import nnabla as nn
    net = random_net("K7_E1_D3")
    net.save(tmp_path / "net.h5")
    with nn.parameter_scope("", {}):
        nn.load_parameters(str(tmp_path / "net.h5"))
        found = nn.get_parameters(grad_only=False)
    assert all(np.array_equal(found[n].d, a) for n, a in net.arrays().items())


@pytest.mark.parametrize("damage", ["cut", "flip", "header", "empty"])
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "net.h5"
    random_net("K7_E1_D3").save(path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:len(content) // 2]
    elif damage == "empty":
        content = b""
    else:
        content[len(content) // 2 if damage == "flip" else 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ofa.OfaError, match="damaged"):
        ofa.load(path)
    with pytest.raises(ofa.OfaError):
        load_network(tmp_path / "absent.h5")


def test_calibration_equals_statistics_by_hand():
    net = random_net()
    arch = CONFIG.arch("XP0.6 3x3 2")
    data = np.random.default_rng(1).standard_normal((6, 3, 16, 16)).astype(np.float32)
    before = net.arrays()
    net.calibrate(data, arch, batch_size=4)
    weight = before["stem/0/conv/W"]
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, weight)
    after = net.arrays()
    assert np.allclose(after["stem/0/bn/mean"].ravel(), y.mean(axis=(0, 2, 3)), atol=1e-5)
    assert np.allclose(after["stem/0/bn/var"].ravel(), y.var(axis=(0, 2, 3)), rtol=1e-4)
    inner = before["middle/0/0/bn/mean"].shape[1]
    assert np.array_equal(after["middle/0/0/bn/mean"][:, 24:], before["middle/0/0/bn/mean"][:, 24:])
    assert inner == 40 and not np.array_equal(after["middle/0/0/bn/mean"][:, :24],
                                              before["middle/0/0/bn/mean"][:, :24])


def test_wrong_images_are_refused():
    net = random_net("K7_E1_D3")
    with pytest.raises(ofa.OfaError, match="shape"):
        net.logits(np.zeros((2, 16, 16, 3), np.float32))
    with pytest.raises(ofa.OfaError, match="normalisation"):
        net.logits(np.zeros((2, 3, 16, 16), np.uint8))


def test_xception65_is_one_number():
    net = ofa.Network.create(replace(CONFIG, middle_blocks=16), FULL)
    assert len(net.space.blocks) == 16 and net.space.distinct_count() == 21 ** 16
    alone = net.extract("XP0.8 5x5 2")
    assert relative(alone.logits(images()), net.logits(images(), "XP0.8 5x5 2")) < 1e-6


def test_python_interface_takes_uint8_and_text():
    net = random_net()
    net.info = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    raw = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16)).astype(np.uint8)
    mean, std = (np.array(net.info[k]).reshape(1, 3, 1, 1) for k in ("mean", "std"))
    by_hand = ((raw / 255 - mean) / std).astype(np.float32)
    assert relative(net.logits(raw, "XP1 7x7 3"), net.logits(by_hand, net.space.largest())) < 1e-6


def test_uint8_images_enter_as_those_of_the_loader_do():
    """Bit for bit: training and evaluation normalise batches of the loader, `logits` normalises uint8."""
    net, augment = random_net(), Augment(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    net.info = {"mean": list(augment.mean), "std": list(augment.std)}  # lists, as out of a file
    pixels = np.arange(4 * 16 * 16 * 3).reshape(4, 16, 16, 3).astype(np.uint8)  # every value in every channel
    assert all(len(np.unique(pixels[..., c])) == 256 for c in range(3))
    dataset = Dataset("all values", ("any",), np.zeros(4, np.int32), pixels)
    (_, raw, _), = fixed_batches(dataset, range(4), 16, 4, replace(augment, valid_resize=1.0), workers=0)
    assert np.array_equal(raw, pixels)
    found = net.logits(np.ascontiguousarray(raw.transpose(0, 3, 1, 2)), "XP1 7x7 3")
    assert np.array_equal(found, net.logits(normalise(raw, augment.mean, augment.std), "XP1 7x7 3"))
