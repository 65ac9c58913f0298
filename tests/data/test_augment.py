"""Each augmentation against its definition: Pillow's operations, statistics over many draws, purity."""

from __future__ import annotations

import colorsys
from collections import Counter

import cv2
import nnabla as nn
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from nnabla_ofa.data import Augment, Dataset, TrainLoader, colour, cover, mix, normalise, one_hot, policies
from nnabla_ofa.data.boxes import centred_box
from nnabla_ofa.data.loader import draw_rows
from nnabla_ofa.data.policies import AUTOAUGMENT, OPERATIONS, RANDAUGMENT, SHIFT
from nnabla_ofa.data.transforms import N_UNIFORM, augment_image, further, row_length
from nnabla_ofa.errors import OfaError
from nnabla_ofa.training.losses import hits, loss_gradients, smooth_targets
from nnabla_ofa.training.settings import Train

FILL = (124, 116, 104)
PLAIN = dict(crop="none", flip=False)
FURTHER = {"hue": {"hue": 0.2}, "autoaugment": {"policy": "autoaugment-cifar10"},
           "autoaugment ImageNet": {"policy": "autoaugment-imagenet"},
           "randaugment": {"policy": "randaugment", "rand_magnitude": 5.0},
           "cutout": {"cutout": 0.5}, "erasing": {"erasing": 1.0}}
EVERYTHING = {"brightness": 0.4, "hue": 0.1, "policy": "randaugment", "cutout": 0.5, "erasing": 0.5,
              "mixup": 0.4, "cutmix": 1.0, "mix_probability": 0.8}


def scene(height=32, width=32, seed=0):
    """A smooth, colourful picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def numbered(n, size=8, classes=10):
    images = np.stack([scene(size, size, seed) for seed in range(n)])
    return Dataset("numbered", tuple(map(str, range(classes))), np.arange(n, dtype=np.int32) % classes,
                   images)


# Operations of the policies ----------------------------------------------------------------------


def transformed(image, matrix):
    return image.transform(image.size, Image.AFFINE, matrix, Image.NEAREST, fillcolor=FILL)


PILLOW = {
    "Identity": lambda i, x: i,
    "ShearX": lambda i, x: transformed(i, (1, 0.3 * x, 0, 0, 1, 0)),
    "ShearY": lambda i, x: transformed(i, (1, 0, 0, 0.3 * x, 1, 0)),
    "TranslateX": lambda i, x: transformed(i, (1, 0, SHIFT * x * i.width, 0, 1, 0)),
    "TranslateY": lambda i, x: transformed(i, (1, 0, 0, 0, 1, SHIFT * x * i.height)),
    "Rotate": lambda i, x: i.rotate(30 * x, Image.NEAREST, fillcolor=FILL),
    "AutoContrast": lambda i, x: ImageOps.autocontrast(i),
    "Invert": lambda i, x: ImageOps.invert(i),
    "Equalize": lambda i, x: ImageOps.equalize(i),
    "Solarize": lambda i, x: ImageOps.solarize(i, 256 * (1 - abs(x))),
    "Posterize": lambda i, x: ImageOps.posterize(i, 8 - round(4 * abs(x))),
    "Contrast": lambda i, x: ImageEnhance.Contrast(i).enhance(1 + 0.9 * x),
    "Color": lambda i, x: ImageEnhance.Color(i).enhance(1 + 0.9 * x),
    "Brightness": lambda i, x: ImageEnhance.Brightness(i).enhance(1 + 0.9 * x),
    "Sharpness": lambda i, x: ImageEnhance.Sharpness(i).enhance(1 + 0.9 * x),
}
# Pillow cuts fractions off, OpenCV rounds; on a turn, a place midway between pixels can go either way
LEVELS = {"Contrast": 1, "Color": 1, "Brightness": 1, "Sharpness": 1}
PIXELS = {"Rotate": 0.01}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_equal_pillow(name):
    grey = np.full((9, 7, 3), 99, np.uint8)
    dark = scene(40, 40, seed=3) // 4 + 50
    for image in (scene(), scene(33, 45, seed=1), dark, grey, grey[:2, :2]):
        before = image.copy()
        for x in (-1, -0.7, -4 / 9, -0.1, 0, 0.2, 1 / 3, 0.6, 1):
            result = OPERATIONS[name](image, x, FILL)
            expected = np.array(PILLOW[name](Image.fromarray(image), x)).astype(int)
            off = np.abs(result - expected) > LEVELS.get(name, 0)
            assert result.dtype == np.uint8 and result.shape == image.shape
            assert off.any(axis=2).mean() <= PIXELS.get(name, 0), x
        assert np.array_equal(image, before)


@pytest.mark.parametrize("name", OPERATIONS)
def test_strength_0_is_the_identity_and_1_is_not(name):
    image = scene(seed=2) // 2 + 20
    if name not in ("AutoContrast", "Invert", "Equalize"):  # of no strength
        assert np.array_equal(OPERATIONS[name](image, 0, FILL), image)
    if name != "Identity":
        assert not np.array_equal(OPERATIONS[name](image, 1, FILL), image)


# Policies ----------------------------------------------------------------------------------------


@pytest.fixture
def applied(monkeypatch):
    """The (operation, strength) pairs that the policies apply, none of which does anything."""
    calls = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda i, x, fill, name=name: calls.append((name, x)) or i)
    return calls


def test_the_policies_are_whole():
    for policy in AUTOAUGMENT.values():
        steps = [step for sub_policy in policy for step in sub_policy]
        assert len(policy) == 25 and len(steps) == 50
        assert all(name in OPERATIONS and 0 <= p <= 1 and 0 <= m <= 9 for name, p, m in steps)
    assert len(RANDAUGMENT) == 14


@pytest.mark.parametrize("name", AUTOAUGMENT)
def test_autoaugment_applies_its_table(name, applied):
    """Every operation comes as often as the table says, with its strength, either way alike."""
    count, expected = 20000, {}
    for sub_policy in AUTOAUGMENT[name]:
        for operation, probability, magnitude in sub_policy:
            for sign in (1, -1):
                key = (operation, sign * magnitude / 9)
                expected[key] = expected.get(key, 0) + probability / 25 / 2
    for u in np.random.default_rng(0).random((count, 5)):
        policies.autoaugment(scene(2, 2), name, FILL, u)
    found = {key: times / count for key, times in Counter(applied).items()}
    assert set(found) == {key for key, p in expected.items() if p > 0}
    for key, frequency in found.items():
        assert abs(frequency - expected[key]) < 5 * np.sqrt(expected[key] / count), key


def test_an_operation_of_probability_0_or_1(applied):
    for way in (0.0, 0.9):  # the sub-policies 7: Posterize 0.8, Equalize 1.0; and 12: Equalize 0.0
        policies.autoaugment(scene(2, 2), "autoaugment-imagenet", FILL, [7.5 / 25, 0.9, way, 0.999, way])
        policies.autoaugment(scene(2, 2), "autoaugment-imagenet", FILL, [12.5 / 25, 0.0, way, 0.9, way])
    assert [name for name, _ in applied] == ["Equalize", "Equalize"]


def test_randaugment_takes_n_operations_alike(applied):
    for u in np.random.default_rng(0).random((7000, 6)):
        policies.randaugment(scene(2, 2), 7.0, FILL, u)
    assert len(applied) == 21000 and {abs(x) for _, x in applied} == {0.7}
    for name in RANDAUGMENT:
        assert abs(sum(n == name for n, _ in applied) / 1500 - 1) < 0.13
    assert abs(sum(x > 0 for _, x in applied) / 10500 - 1) < 0.05


# Hue ---------------------------------------------------------------------------------------------


def test_hue_turns_colour_and_keeps_luma():
    image = scene(seed=4) // 3 + 80  # no value is clipped
    assert np.array_equal(colour.turn_hue(image, 0), image)
    assert np.abs(colour.turn_hue(image, 1.0).astype(int) - image).max() == 0
    grey = np.full((3, 3, 3), 77, np.uint8)
    red = np.array([[[150, 80, 80]]], np.uint8)
    for turns in (-0.4, -0.1, 0.1, 0.25, 0.5):
        turned = colour.turn_hue(image, turns)
        assert np.abs((turned - image.astype(float)) @ colour.GREY).max() <= 1
        assert np.array_equal(colour.turn_hue(grey, turns), grey)
        # the definition: U + iV times e^(i angle)
        u, v = ((image - (image @ colour.GREY)[..., None])[..., c] * s for c, s in ((2, 0.492), (0, 0.877)))
        rotated = (u + 1j * v) * np.exp(2j * np.pi * turns)
        expected = (image @ colour.GREY) + np.stack([rotated.imag / 0.877, 0 * u, rotated.real / 0.492])
        assert np.abs(turned[..., 0] - expected[0]).max() <= 1
        assert np.abs(turned[..., 2] - expected[2]).max() <= 1
    # near HSV's: a third of a turn of red is green
    hue = colorsys.rgb_to_hsv(*colour.turn_hue(red, 1 / 3)[0, 0] / 255)[0]
    assert abs(hue - 1 / 3) < 0.06


# Cutout and random erasing -----------------------------------------------------------------------


def test_cutout_covers_a_square_around_a_point_anywhere():
    image = np.full((32, 32, 3), 255, np.uint8)
    hidden = np.zeros((32, 32))
    for u in np.random.default_rng(0).random((4000, 2)):
        result = cover.cutout(image, 0.5, FILL, u)
        x, y, w, h = centred_box(32, 32, 16, 16, u)
        assert (result[y:y + h, x:x + w] == FILL).all() and (result != 255).all(axis=2).sum() == w * h
        hidden += result[..., 0] != 255
    # a pixel is covered by the centres at most 8 away: 16 of 32 in each direction, 8 at a corner
    assert abs(hidden[16, 16] / 4000 - 0.25) < 0.03 and abs(hidden[0, 0] / 4000 - 9 / 32 * 9 / 32) < 0.03
    assert cover.cutout(image, 0.5, FILL, [0.0, 0.0])[:8, :8].max() < 255
    assert (image == 255).all() and np.array_equal(cover.cutout(image, 0, FILL, [0.5, 0.5]), image)
    grey = normalise(cover.cutout(image, 1, Augment().mean_colour(), [0.5, 0.5])[None], Augment().mean,
                     Augment().std)
    assert np.abs(grey).max() < 0.01  # what is covered is 0 after normalisation


def test_erasing_makes_noise_of_a_box():
    image, settings = np.zeros((64, 64, 3), np.uint8), ((0.1, 0.4), (0.3, 1 / 0.3))
    areas, ratios, values, erased = [], [], [], 0
    for u in np.random.default_rng(0).random((3000, 6)):
        result = cover.erase(image, 0.6, *settings, u)
        changed = (result > 0).any(axis=2)
        erased += changed.any()
        if changed.any():
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert changed.sum() == h * w
            areas.append(h * w / 64**2)
            ratios.append(np.log(w / h))
            values.append(result[changed].mean())
    assert abs(erased / 3000 - 0.6) < 0.04 and not image.any()
    assert abs(np.mean(areas) - 0.25) < 0.01 and min(areas) > 0.09 and max(areas) < 0.42
    assert abs(np.mean(ratios)) < 0.05 and max(map(abs, ratios)) < 1.3
    assert abs(np.mean(values) - 127.5) < 1 and np.std(values) < 10
    assert cover.erase(image, 0.0, *settings, [0.0] * 6) is image


# One image ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FURTHER)
def test_each_is_active_and_a_pure_function_of_image_and_row(name):
    augment, image = Augment(**PLAIN, **FURTHER[name]), scene()
    rows = np.random.default_rng(0).random((200, row_length(augment)))
    before, results = image.copy(), [augment_image(image, augment, u) for u in rows]
    assert np.array_equal(image, before) and all(r.shape == image.shape for r in results)
    changed = sum(not np.array_equal(r, image) for r in results)
    assert changed > 0.6 * 200 and len({r.tobytes() for r in results}) > 30
    again = [augment_image(image, augment, u.tolist()) for u in rows[::-1]]
    assert all(np.array_equal(a, b) for a, b in zip(results, again[::-1]))


def test_nothing_further_by_default():
    assert further(Augment()) == () and row_length(Augment()) == N_UNIFORM
    weakest = Augment(**PLAIN, policy="randaugment", rand_magnitude=0.0, rand_operations=1)
    which = RANDAUGMENT.index("Rotate") / 14 + 0.01
    assert np.array_equal(augment_image(scene(), weakest, [0.5] * N_UNIFORM + [which, 0.1]), scene())


def test_turning_one_on_leaves_the_draws_of_the_others_alone():
    def rows(**settings):
        return draw_rows(Augment(**settings), (0, "kernel", 2), 8, 4)

    plain, erasing = rows(), rows(erasing=1.0)
    both = rows(erasing=1.0, cutout=0.5)
    assert np.array_equal(erasing[:, :N_UNIFORM], plain) and np.array_equal(both[:, :N_UNIFORM], plain)
    assert np.array_equal(both[:, N_UNIFORM + 2:], erasing[:, N_UNIFORM:])
    assert len(np.unique(both)) == both.size
    # the numbers of a place do not depend on the batch in which it is drawn
    whole = draw_rows(Augment(erasing=1.0), (0, "kernel", 2), 0, 40)
    assert np.array_equal(whole[8:12], erasing)


@pytest.mark.parametrize("wrong", [
    dict(hue=0.6), dict(policy="auto"), dict(rand_operations=0), dict(rand_magnitude=11), dict(cutout=16),
    dict(erasing=1.5), dict(erasing_scale=[0.4, 0.1]), dict(erasing_ratio=[0, 1]), dict(mixup=-1),
    dict(cutmix=-0.1), dict(mix_probability=2)])
def test_settings_say_what_is_allowed(wrong):
    with pytest.raises(OfaError, match=f"data.augment.{next(iter(wrong))}: .* is not "):
        Augment(**wrong)


# A batch -----------------------------------------------------------------------------------------


def batch(n=6, size=16):
    data = numbered(n, size)
    return data.images, one_hot(data.labels, 10)


def test_mixup_is_the_mean_weighted_by_its_share():
    images, targets = batch()
    augment = Augment(mixup=0.4)
    for u in np.random.default_rng(0).random((20, 5)):
        before = images.copy()
        mixed, soft = mix.mix(images, targets, augment, u)
        share = float(soft[0, 0])
        expected = share * images + (1 - share) * np.roll(images, 1, axis=0)
        assert np.abs(mixed - expected).max() <= 0.51 and np.array_equal(images, before)
        assert np.allclose(soft, share * targets + (1 - share) * targets[[5, 0, 1, 2, 3, 4]])
    assert np.array_equal(mix.mixup(images, 1.0), images)
    assert np.array_equal(mix.mixup(images, 0.0), np.roll(images, 1, axis=0))


def test_cutmix_gives_labels_the_share_of_their_pixels():
    n, targets = np.arange(6, dtype=np.uint8), np.eye(6, dtype=np.float32)
    images = np.broadcast_to(n[:, None, None, None], (6, 20, 30, 3))
    for u in np.random.default_rng(0).random((50, 5)):
        mixed, soft = mix.mix(images, targets, Augment(cutmix=1.0), u)
        shares = np.stack([(mixed == m).all(axis=3).mean(axis=(1, 2)) for m in n], axis=1)
        assert np.allclose(shares, soft, atol=1e-6)
    assert np.array_equal(mix.cutmix(images, 1.0, [0.5, 0.5])[0], images)
    assert mix.cutmix(images, 0.0, [0.5, 0.5])[1] == 0.0


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_follow_beta(alpha):
    images, targets = batch(2, 4)
    shares = np.array([mix.mix(images, targets, Augment(mixup=alpha), u)[1][0, 0]
                       for u in np.random.default_rng(0).random((4000, 5))])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 0.03 and abs(shares.var() / variance - 1) < 0.06


def test_batches_are_mixed_with_their_probability_and_either_way_alike():
    images, targets = batch(4, 8)
    augment = Augment(mixup=1.0, cutmix=1.0, mix_probability=0.6)
    rows = np.random.default_rng(0).random((1000, 5))
    cut = plain = 0
    for u in rows:
        mixed, _ = mix.mix(images, targets, augment, u)
        plain += mixed is images
        cut += mixed is not images and ((mixed == images) | (mixed == np.roll(images, 1, axis=0))).all()
    assert abs(plain / 1000 - 0.4) < 0.05 and abs(cut / 1000 - 0.3) < 0.05
    assert mix.mix(images, targets, Augment(mixup=1.0, mix_probability=0.6), [0.6] + [0.5] * 4)[0] is images


def test_targets_are_soft_only_where_batches_are_mixed():
    def labels(**settings):
        loader = TrainLoader(numbered(8), Augment(**settings), 0, "kernel", 4, workers=0)
        return next(loader.epoch(0, lambda step: 8))[1]

    assert labels().dtype == np.int32 and labels(mixup=1.0, mix_probability=0.0).shape == (4,)
    assert labels(mixup=1.0).shape == (4, 10) and np.allclose(labels(cutmix=1.0).sum(axis=1), 1)


def test_ranks_accumulation_and_resuming_see_the_same_mixed_images():
    def passes(ranks, start=0, workers=0):
        loaders = [TrainLoader(numbered(48), Augment(**EVERYTHING), 5, "kernel", 4, rank, ranks, workers)
                   for rank in range(ranks)]
        epochs = [list(one.epoch(1, lambda step: 12, start_step=start, accumulate=4 // ranks))
                  for one in loaders]
        return [pair for step in zip(*epochs) for pair in step]

    whole = passes(1)
    assert len(whole) == 12
    for others, expected in ((passes(2), whole), (passes(4), whole), (passes(1, start=5), whole[5:]),
                             (passes(1, workers=2), whole)):
        assert len(others) == len(expected)
        for one, other in zip(others, expected):
            assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
    assert len({labels.tobytes() for _, labels in whole}) == 12


# Soft targets ------------------------------------------------------------------------------------


def test_smoothing_of_soft_targets():
    labels = np.array([3, 0, 1])
    targets = one_hot(labels, 5)
    assert np.array_equal(smooth_targets(targets, 5, 0.1), smooth_targets(labels, 5, 0.1))
    mixed = 0.3 * targets + np.float32(0.7) * targets[::-1]
    expected = 0.3 * smooth_targets(labels, 5, 0.1) + 0.7 * smooth_targets(labels[::-1], 5, 0.1)
    assert np.allclose(smooth_targets(mixed, 5, 0.1), expected)


def test_gradient_of_soft_targets_equals_float64():
    rng = np.random.default_rng(0)
    logits, teacher = rng.standard_normal((2, 4, 5)).astype(np.float32)
    targets = rng.dirichlet(np.ones(5), 4).astype(np.float32)
    output = nn.Variable.from_numpy_array(logits)
    value = loss_gradients([output], targets, Train(label_smoothing=0.1, distill=0.7), 0.5, teacher)
    log_p = logits - np.log(np.exp(logits.astype(float)).sum(axis=1, keepdims=True))
    soft = np.exp(teacher.astype(float)) / np.exp(teacher.astype(float)).sum(axis=1, keepdims=True)
    whole = 0.9 * targets.astype(float) + 0.1 / 5 + 0.7 * soft  # of weight 1.7
    assert abs(value + (whole * log_p).sum() / 4) < 1e-6
    assert np.abs(output.g - 0.5 * (1.7 * np.exp(log_p) - whole) / 4).max() < 1e-6


def test_a_mixed_image_is_right_by_the_weight_of_its_class():
    logits = np.array([[0, 5, 1], [2, 1, 0], [0, 1, 3]], np.float32)
    assert hits(logits, np.array([1, 1, 2])) == 2
    assert hits(logits, one_hot(np.array([1, 1, 2]), 3)) == 2
    assert np.isclose(hits(logits, np.array([[0.7, 0.3, 0], [0.6, 0, 0.4], [0, 0, 1]])), 1.9)
