"""The images that training and evaluation see: which, in what order, and what is done to them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from nnabla_ofa.data import (
    Augment,
    Dataset,
    TrainLoader,
    calibration_indices,
    fixed_batches,
    normalise,
    open_dataset,
    opencv,
    split,
)
from nnabla_ofa.data.boxes import cut, train_box, valid_box
from nnabla_ofa.data.colour import twist_colours
from nnabla_ofa.data.decode import read_image
from nnabla_ofa.data.loader import draw_rows
from nnabla_ofa.data.transforms import FLIP, LEFT, N_UNIFORM, TOP
from nnabla_ofa.data.views import train_images, valid_images
from nnabla_ofa.errors import OfaError

ROOT = Path(__file__).resolve().parents[2]
PLAIN = Augment(crop="none", flip=False, valid_resize=1)
EVERYTHING = Augment(brightness=0.4, contrast=0.4, saturation=0.4)
MIDDLE = [0.5] * N_UNIFORM


def numbers(**columns):
    """A row of uniforms, 0.5 but for the columns named."""
    row = list(MIDDLE)
    for name, value in columns.items():
        row[{"flip": FLIP, "left": LEFT, "top": TOP}[name]] = value
    return row


def train_image(dataset, index, size, augment, u):
    return next(iter(train_images(dataset, [index], size, augment, [u], opencv.pixels)))


def valid_image(dataset, index, size, augment):
    return next(iter(valid_images(dataset, [index], size, augment, opencv.pixels)))


def scene(height, width, seed=0):
    """A smooth picture, so that JPEG and resizing leave it nearly as it is."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def folder(root, parts=("train", "val"), classes=("ant", "bee"), images=3, size=12):
    for part in parts:
        for c in classes:
            for i in range(images):
                write(root / part / c / f"{i}.png", scene(size, size, seed=i))
    return root


def numbered(n, size=8):
    """n images in memory whose every pixel, and whose label, is the image's number."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, size, size, 3))
    return Dataset("numbered", tuple(map(str, range(n))), np.arange(n, dtype=np.int32), images)


@pytest.fixture(scope="module")
def digits():
    return open_dataset("digits")


# Data sets ---------------------------------------------------------------------------------------


def test_digits_are_all_there_and_the_test_set_is_stratified(digits):
    train, test = digits
    assert (len(train), len(test), train.classes) == (1438, 359, tuple("0123456789"))
    assert train.images.shape[1:] == (8, 8, 3) and train.images.dtype == np.uint8
    assert train.images.max() == 255 and train.images.min() == 0
    everything = np.bincount(np.concatenate([train.labels, test.labels]))
    assert np.abs(np.bincount(test.labels) - 0.2 * everything).max() <= 1


def test_split_parts_every_image_once_and_repeats(digits):
    train, valid = split(numbered(100), 0.13, seed=1)
    assert sorted([*train.labels, *valid.labels]) == list(range(100)) and len(valid) == 13
    assert np.array_equal(split(numbered(100), 0.13, seed=1)[1].labels, valid.labels)
    assert not np.array_equal(split(numbered(100), 0.13, seed=2)[1].labels, valid.labels)
    assert np.array_equal(valid.images[:, 0, 0, 0], valid.labels)
    assert len(split(numbered(10), 0.001, seed=0)[1]) == 1
    held_out = split(digits[0], 0.05, seed=3)[1]
    assert np.abs(np.bincount(held_out.labels) - 0.05 * np.bincount(digits[0].labels)).max() <= 1
    for fraction in (0, 1, -0.1, 0.99):
        with pytest.raises(OfaError, match="fraction"):
            split(numbered(10), fraction, seed=0)


@pytest.mark.parametrize("part", ["val", "test"])
def test_class_folders(tmp_path, part):
    root = folder(tmp_path / "insects", ("train", part))
    write(root / "train" / "bee" / "LAST.JPEG", scene(12, 12))
    (root / "train" / "bee" / "notes.txt").write_text("not an image")
    train, test = open_dataset(root)
    assert train.name == "imagefolder:insects" and train.classes == ("ant", "bee")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.images.shape == (7, 12, 12, 3) and not train.paths  # small: in memory
    assert np.array_equal(train.decode(1), scene(12, 12, seed=1))  # RGB as it was written


def test_large_or_uneven_images_stay_on_disk(tmp_path):
    root = folder(tmp_path, ("train",))
    folder(root, ("val",), size=70)
    write(root / "train" / "bee" / "wide.png", scene(12, 13))
    train, test = open_dataset(root)
    assert train.images is None and test.images is None and len(train.paths) == len(train) == 7
    assert train.decode(6).shape == (12, 13, 3)
    assert train.subset([6, 0]).paths == (train.paths[6], train.paths[0])


def test_list_files(tmp_path):
    for name in ("a b.png", "c.png", "d.png"):
        write(tmp_path / "pictures" / name, scene(9, 9))
    (tmp_path / "train_label").write_text("# name label\n\npictures/a b.png 1\npictures/c.png 0\n")
    (tmp_path / "val_label").write_text("pictures/d.png\t1\n")
    train, test = open_dataset(tmp_path)
    assert train.labels.tolist() == [1, 0] and test.labels.tolist() == [1]
    assert train.classes == test.classes == ("0", "1") and train.name.startswith("imagelist:")


@pytest.mark.parametrize("train, val, message", [
    ("a.png 0\nb.png\n", "a.png 0\n", r"train_label:2: 'b.png' is not 'path label'"),
    ("a.png one\n", "a.png 0\n", r"train_label:1: 'a.png one' is not"),
    ("a.png -1\n", "a.png 0\n", r"train_label:1: 'a.png -1' is not"),
    ("a.png 0\n", "# the test set\na.png 1\n", r"val_label:2: label 1 is out of range"),
    ("a.png 1\n", "a.png 1\n", r"train_label: label 0 has no image; labels must count from 0"),
    ("\n", "a.png 0\n", r"train_label: lists no images"),
    ("a.png 0\n", None, r"val_label is missing"),
])
def test_bad_lists_name_file_and_line(tmp_path, train, val, message):
    (tmp_path / "train_label").write_text(train)
    if val is not None:
        (tmp_path / "val_label").write_text(val)
    with pytest.raises(OfaError, match=message):
        open_dataset(tmp_path)


def test_bad_folders_say_what_is_wrong(tmp_path):
    def message(root):
        with pytest.raises(OfaError) as error:
            open_dataset(root)
        return str(error.value)

    assert "neither a folder, nor a CIFAR archive, nor one of digits," in message(tmp_path / "nowhere")
    assert "needs class folders train/<class>/" in message(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "val" / "ant").mkdir(parents=True)
    assert "has no class folders" in message(tmp_path)
    (tmp_path / "train" / "ant").mkdir()
    assert "ant has no images" in message(tmp_path)
    folder(tmp_path, classes=("ant",))
    (tmp_path / "val" / "wasp").mkdir()
    assert "same class folders; only one of them has wasp" in message(tmp_path)


# Decoding ----------------------------------------------------------------------------------------


def test_reduced_decoding_is_the_image_made_smaller(tmp_path):
    write(tmp_path / "odd.jpg", scene(201, 300))
    write(tmp_path / "a.jpg", scene(208, 304))
    path = str(tmp_path / "a.jpg")
    whole = read_image(path)
    for r in (2, 4, 8):
        odd = read_image(str(tmp_path / "odd.jpg"), lambda h, w, r=r: r if (h, w) == (201, 300) else 1)
        assert odd.shape == (-(-201 // r), -(-300 // r), 3)
        small = read_image(path, lambda h, w, r=r: r).astype(int)
        expected = cv2.resize(whole, (304 // r, 208 // r), interpolation=cv2.INTER_AREA)
        assert np.abs(small - expected).mean() < 1
    # a decode for evaluation at 32 pixels takes the reduced path and sees the same image
    photo = Dataset("one", ("a",), np.zeros(1, np.int32), paths=(path,))
    memory = Dataset("one", ("a",), np.zeros(1, np.int32), images=whole[None])
    seen, expected = (valid_image(d, 0, 32, Augment()).astype(int) for d in (photo, memory))
    assert np.abs(seen - expected).mean() < 3


def test_grey_and_transparent_images_come_as_rgb(tmp_path):
    grey = scene(20, 20)[..., 0]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert np.array_equal(read_image(str(tmp_path / "grey.png")), np.dstack([grey] * 3))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([grey] * 4))
    assert read_image(str(tmp_path / "alpha.png")).shape == (20, 20, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp"])
def test_broken_files_are_named(tmp_path, name, capfd):
    path = tmp_path / name
    write(path, scene(64, 64) + np.arange(64, dtype=np.uint8)[:, None])
    data = path.read_bytes()
    for broken in (b"", data[:3], data[:20], data[:len(data) // 2], data[:-64], b"words" * 99):
        path.write_bytes(broken)
        with pytest.raises(OfaError, match=f"{name}: cannot be decoded .*; replace the file"):
            read_image(str(path))
    path.unlink()
    with pytest.raises(OfaError, match=f"{name}: cannot be read .No such file"):
        read_image(str(path))


def test_opencv_writes_nothing_while_it_reads_a_file_and_may_again_afterwards(tmp_path, capfd):
    path, level = tmp_path / "a.bmp", cv2.getLogLevel()
    path.write_bytes(cv2.imencode(".bmp", scene(64, 64))[1].tobytes()[:-99])
    with pytest.raises(OfaError, match="a.bmp"):
        read_image(str(path))
    assert capfd.readouterr().err == "" and cv2.getLogLevel() == level > 1
    assert cv2.imread(str(path)) is None and "a.bmp" in capfd.readouterr().err


def test_a_thumbnail_does_not_hide_a_truncated_jpeg(tmp_path):
    """Its end marker, in the segment APP1, is not the image's."""
    whole = cv2.imencode(".jpg", scene(64, 64))[1].tobytes()
    segment = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole
    with_thumbnail = whole[:2] + segment + whole[2:]
    path = tmp_path / "a.jpg"
    path.write_bytes(with_thumbnail)
    assert np.array_equal(read_image(str(path)), cv2.imdecode(
        np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
    path.write_bytes(with_thumbnail[:-2])
    with pytest.raises(OfaError, match="Premature end"):
        read_image(str(path))


def test_pixels_are_those_of_opencv_for_every_kind_of_jpeg(tmp_path):
    image, path = scene(45, 61), tmp_path / "a.jpg"
    kinds = [[cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors] for factors in (0x111111, 0x211111, 0x221111)]
    for options in kinds + [[cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]]:
        for pixels in (image, image[..., 0]):
            data = cv2.imencode(".jpg", pixels, options)[1]
            path.write_bytes(data.tobytes())
            assert np.array_equal(read_image(str(path)), cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def test_a_jpeg_of_odd_sampling_is_read(tmp_path):
    """One flat unit of Y 2x2, Cb 1x2, Cr 1x1, which TurboJPEG's interface has no name for."""
    data = cv2.imencode(".jpg", np.full((16, 16, 3), 128, np.uint8))[1].tobytes()
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    data = data[:frame + 14] + b"\x12" + data[frame + 15:scan + 14]
    bits = "001010" * 4 + "0000" * 3 + "1111"
    path = tmp_path / "a.jpg"
    path.write_bytes(data + int(bits, 2).to_bytes(5, "big") + b"\xff\xd9")
    assert (read_image(str(path)) == 128).all()


def test_a_lost_block_within_a_jpeg_is_noticed(tmp_path):
    """OpenCV decodes it without a word: the end marker is there."""
    rng = np.random.default_rng(0)
    whole = cv2.imencode(".jpg", rng.integers(0, 256, (200, 200, 3)))[1].tobytes()
    path = tmp_path / "a.jpg"
    for start in rng.integers(1000, len(whole) - 5000, 5):
        path.write_bytes(whole[:start] + bytes(4096) + whole[start + 4096:])
        with pytest.raises(OfaError, match="a.jpg: cannot be decoded .Corrupt JPEG data"):
            read_image(str(path))


# Transforms --------------------------------------------------------------------------------------


def test_identity():
    image = scene(32, 32)
    one = Dataset("one", ("a",), np.zeros(1, np.int32), image[None])
    assert np.array_equal(valid_image(one, 0, 32, PLAIN), image)
    assert np.array_equal(train_image(one, 0, 32, PLAIN, [0.1] * N_UNIFORM), image)
    centred = Augment(crop="padded", brightness=1, contrast=1, saturation=1, valid_resize=1)
    assert np.array_equal(train_image(one, 0, 32, centred, MIDDLE), image)
    assert np.array_equal(train_image(one, 0, 32, centred, numbers(flip=0.49)), image[:, ::-1])


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_alternating_flips_show_an_image_both_ways_in_two_epochs(balance):
    """Whatever place it has in them; half of the images begin mirrored, another half with another seed."""
    images = np.zeros((400, 4, 4, 3), np.uint8)
    images[:, :, 0], images[:, 0, 1, 0], images[:, 0, 1, 1] = 255, np.arange(400) // 200, np.arange(400) % 200
    dataset = Dataset("sides", ("a",), np.zeros(400, np.int32), images, balance=balance)
    augment = Augment(crop="none", alternating_flip=True, valid_resize=1)

    def mirrored(epoch, seed=0, **options):
        found = {}
        for batch, _ in TrainLoader(dataset, augment, seed, "s", 50, workers=0, **options).epoch(
                epoch, lambda number: 4):
            for image in batch:
                turned = bool(image[0, 0, 0] < 255)
                own = image[:, ::-1] if turned else image
                found[200 * int(own[0, 1, 0]) + int(own[0, 1, 1])] = turned
        return found

    first, second, third = (mirrored(epoch) for epoch in range(3))
    assert len(first) == len(second) == 400 or balance
    shared = first.keys() & second.keys() & third.keys()
    assert all(first[i] == third[i] != second[i] for i in shared) and len(shared) > 10
    assert 0.4 < np.mean(list(first.values())) < 0.6 and mirrored(0, 1) != first
    halves = {**mirrored(0, rank=0, ranks=2), **mirrored(0, rank=1, ranks=2)}
    assert halves == first or balance


def test_alternating_flips_need_flips():
    with pytest.raises(OfaError, match="data.augment.alternating_flip: True is not possible with "
                                       "data.augment.flip=false"):
        Augment(flip=False, alternating_flip=True)


def test_padded_crop_shifts_by_every_offset_alike():
    augment = Augment(crop="padded", pad=2, flip=False, valid_resize=1)
    grid = (np.arange(1000) + 0.5) / 1000
    shifts = [train_box(8, 8, augment, numbers(left=u))[0] for u in grid]
    assert np.bincount(np.array(shifts) + 2).tolist() == [200] * 5
    image = scene(8, 8)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    box = train_box(8, 8, augment, numbers(left=0.0, top=0.99))
    assert np.array_equal(cut(image, box), padded[4:12, 0:8])


def test_resized_crop_has_the_area_and_ratio_it_says():
    augment, rng = Augment(scale=(0.25, 1.0)), np.random.default_rng(0)
    for height, width in ((300, 400), (400, 300), (100, 900)):
        rows = rng.random((2000, N_UNIFORM))
        x, y, w, h = np.array([train_box(height, width, augment, u) for u in rows]).T
        assert (x >= 0).all() and (y >= 0).all()
        assert (x + w <= width).all() and (y + h <= height).all()
        if width < 900:  # such a strip cannot hold the larger boxes
            area = w * h / (height * width)
            assert abs(area.mean() - 0.625) < 0.02 and area.min() > 0.24 and area.max() > 0.97
            assert (w / h >= 0.74).all() and (w / h <= 1.35).all()


def test_evaluation_looks_at_the_centre():
    assert valid_box(100, 160, Augment(valid_resize=1)) == (30, 0, 100, 100)
    assert valid_box(256, 256, Augment()) == (16, 16, 224, 224)
    image = scene(96, 128)
    one = Dataset("one", ("a",), np.zeros(1, np.int32), image[None])
    assert np.array_equal(valid_image(one, 0, 48, Augment(valid_resize=2)), image[24:72, 40:88])


def test_colour_twist_is_what_it_says():
    image, grey = scene(16, 16).astype(float), np.array([0.299, 0.587, 0.114])

    def close(factors, expected):
        result = twist_colours(image.astype(np.uint8), *factors)
        assert result.dtype == np.uint8
        assert np.abs(result - np.clip(expected, 0, 255)).max() < 1  # OpenCV's fixed point

    luma = (image @ grey)[..., None]
    close((1, 1, 1), image)
    close((0.6, 1, 1), 0.6 * image)
    close((1.7, 1, 1), 1.7 * image)
    close((1, 1.4, 1), luma.mean() + 1.4 * (image - luma.mean()))
    close((1, 0, 1), np.full_like(image, luma.mean()))
    close((1, 1, 0.3), luma + 0.3 * (image - luma))
    close((1, 1, 0), np.repeat(luma, 3, axis=2))


@pytest.mark.parametrize(
    "name", ["flip", "brightness", "contrast", "saturation", "resized", "padded"])
def test_every_augmentation_is_active(name):
    one = Dataset("one", ("a",), np.zeros(1, np.int32), scene(32, 32)[None])
    only = {"flip": Augment(crop="none", valid_resize=1),
            "resized": Augment(flip=False), "padded": Augment(crop="padded", flip=False)}
    augment = only.get(name) or Augment(crop="none", flip=False, valid_resize=1, **{name: 0.5})
    rows = np.random.default_rng(0).random((400, N_UNIFORM))
    images = [train_image(one, 0, 32, augment, u).tobytes() for u in rows]
    original = one.images[0].tobytes()
    if name == "flip":
        assert abs(images.count(original) / 400 - 0.5) < 0.08 and len(set(images)) == 2
    else:
        assert images.count(original) < 20 and len(set(images)) > 50


@pytest.mark.parametrize("wrong", [
    dict(crop="centre"), dict(scale=[0, 1]), dict(scale=[0.5, 1.1]), dict(ratio=[2, 1]),
    dict(pad=-1), dict(brightness=1.5), dict(mean=[124, 117, 104]), dict(std=[0, 1, 1]),
    dict(valid_resize=0.9)])
def test_augment_says_what_is_allowed(wrong):
    with pytest.raises(OfaError, match=f"data.augment.*{next(iter(wrong))}.* is not "):
        Augment(**wrong)


def test_normalise():
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    x = normalise(images, Augment().mean, Augment().std)
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert x.dtype == np.float32 and x.flags.c_contiguous and x.shape == (5, 3, 6, 7)
    assert np.abs(x - expected.transpose(0, 3, 1, 2)).max() < 1e-5


# Loader ------------------------------------------------------------------------------------------


def sizes(step):
    return (8, 12, 10)[step % 3]


def same(batches, others):
    batches, others = list(batches), list(others)
    assert len(batches) == len(others) > 0
    return all(np.array_equal(a, b)
               for one, other in zip(batches, others) for a, b in zip(one, other))


def loader(dataset, batch_size=16, seed=0, stage="kernel", augment=EVERYTHING, **options):
    return TrainLoader(dataset, augment, seed, stage, batch_size, **options)


def test_an_epoch_sees_every_image_once_and_each_in_its_own_order():
    plain = loader(numbered(50), batch_size=5, augment=PLAIN)
    epochs = []
    for epoch in range(2):
        batches = list(plain.epoch(epoch, lambda step: 8))
        assert all(np.array_equal(images[:, 0, 0, 0], labels) for images, labels in batches)
        epochs.append(np.concatenate([labels for _, labels in batches]).tolist())
    assert [sorted(e) for e in epochs] == [list(range(50))] * 2 and epochs[0] != epochs[1]
    assert len(list(loader(numbered(50), batch_size=8).epoch(0, sizes))) == 6


def test_batches_come_in_the_size_asked_for(digits):
    batches = list(loader(digits[0]).epoch(0, sizes))
    assert len(batches) == loader(digits[0]).steps_per_epoch() == 1438 // 16
    for step, (images, labels) in enumerate(batches):
        assert images.shape == (16, sizes(step), sizes(step), 3) and images.dtype == np.uint8
        assert labels.shape == (16,) and labels.dtype == np.int32


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_change_nothing(digits, workers):
    assert same(loader(digits[0], workers=workers).epoch(1, sizes),
                loader(digits[0], workers=0).epoch(1, sizes))


def test_seed_stage_and_epoch_matter(digits):
    def first(epoch=0, **options):
        return next(loader(digits[0], workers=0, **options).epoch(epoch, sizes))[0].tobytes()

    assert len({first(), first(seed=1), first(stage="depth"), first(stage=7), first(epoch=1)}) == 5
    assert first() == first()


def test_two_ranks_see_what_one_sees(digits):
    whole = loader(digits[0], 16).epoch(0, sizes)
    halves = zip(*(loader(digits[0], 8, rank=r, ranks=2).epoch(0, sizes) for r in range(2)))
    assert same(whole, (tuple(map(np.concatenate, zip(*pair))) for pair in halves))


def test_accumulated_halves_see_what_one_batch_sees(digits):
    whole = loader(digits[0], 16)
    halves = list(loader(digits[0], 8).epoch(0, lambda g: sizes(g // 2), accumulate=2))
    assert len(halves) == 2 * loader(digits[0], 8).steps_per_epoch(accumulate=2)
    pairs = zip(halves[::2], halves[1::2])
    assert same(whole.epoch(0, sizes), (tuple(map(np.concatenate, zip(*pair))) for pair in pairs))


@pytest.mark.parametrize("start", [1, 50])
def test_a_resumed_epoch_is_the_tail_of_the_whole(digits, start):
    whole = list(loader(digits[0]).epoch(2, sizes))
    assert same(loader(digits[0]).epoch(2, sizes, start_step=start), whole[start:])


def test_too_few_images():
    assert loader(numbered(10), batch_size=5, ranks=2).steps_per_epoch() == 1
    for options in (dict(batch_size=11), dict(batch_size=6, ranks=2)):
        with pytest.raises(OfaError, match="batch_size: .* more than the 10 training images"):
            loader(numbered(10), **options)
    with pytest.raises(OfaError, match="3 accumulated"):
        loader(numbered(10), batch_size=4).steps_per_epoch(accumulate=3)
    with pytest.raises(OfaError, match="rank: 2 is not within 0 to 1"):
        loader(numbered(10), batch_size=1, rank=2, ranks=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_worker_error_names_its_file_and_ends_the_threads(tmp_path, workers):
    train, _ = open_dataset(folder(tmp_path, images=20, size=70))
    (tmp_path / "train" / "bee" / "7.png").write_bytes(b"noise")
    before = threading.active_count()
    with pytest.raises(OfaError, match="7.png: cannot be decoded"):
        list(loader(train, 4, workers=workers).epoch(0, sizes))
    assert threading.active_count() == before


def test_closing_early_ends_the_threads(digits):
    before = threading.active_count()
    batches = loader(digits[0], workers=2).epoch(0, sizes)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


@pytest.fixture
def three_threads():
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_opencv_has_one_thread_while_a_loader_runs_and_its_own_afterwards(digits, three_threads, workers):
    training = loader(digits[0], workers=workers).epoch(0, sizes)
    assert cv2.getNumThreads() == 3
    next(training)
    assert cv2.getNumThreads() == 1
    assert len(list(fixed_batches(digits[1], range(9), 8, 4, PLAIN, workers=workers))) == 3
    assert cv2.getNumThreads() == 1  # the first loader runs on
    others = fixed_batches(digits[1], range(9), 8, 4, PLAIN, workers=workers)
    next(others)
    training.close()
    assert cv2.getNumThreads() == 1  # the one that began first may end first
    assert len(list(others)) == 2 and cv2.getNumThreads() == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_opencv_has_its_threads_back_after_an_error(tmp_path, three_threads, workers):
    train, _ = open_dataset(folder(tmp_path, images=4, size=70))
    (tmp_path / "train" / "bee" / "3.png").write_bytes(b"noise")
    with pytest.raises(OfaError, match="3.png"):
        list(loader(train, 4, workers=workers).epoch(0, sizes))
    assert cv2.getNumThreads() == 3


def test_importing_changes_no_setting_of_opencv():
    code = """
import cv2, importlib, pkgutil
cv2.setNumThreads(3), cv2.setLogLevel(4)
import nnabla_ofa.data
for module in pkgutil.iter_modules(nnabla_ofa.data.__path__):
    importlib.import_module("nnabla_ofa.data." + module.name)
assert (cv2.getNumThreads(), cv2.getLogLevel()) == (3, 4)"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_fixed_batches_hold_every_image_once_under_any_number_of_ranks(ranks):
    data, chosen = numbered(50), np.random.default_rng(0).permutation(50)[:43]
    batches = [b for rank in range(ranks)
               for b in fixed_batches(data, chosen, 8, 10, PLAIN, rank, ranks)]
    batches.sort(key=lambda batch: batch[0])
    assert [(number, len(labels)) for number, _, labels in batches] == [
        (0, 10), (1, 10), (2, 10), (3, 10), (4, 3)]
    assert np.concatenate([labels for _, _, labels in batches]).tolist() == chosen.tolist()
    assert all(np.array_equal(images[:, 0, 0, 0], labels) for _, images, labels in batches)


def test_more_ranks_than_batches():
    assert list(fixed_batches(numbered(4), range(4), 8, 4, PLAIN, rank=1, ranks=2)) == []


def test_calibration_indices_differ_and_repeat():
    chosen = calibration_indices(1000, 200, seed=0)
    assert len(set(chosen.tolist())) == 200 and 0 <= chosen.min() and chosen.max() < 1000
    assert np.ptp(chosen[:20]) > 500  # no batch of neighbours, which in a folder are of one class
    assert np.array_equal(chosen, calibration_indices(1000, 200, seed=0))
    assert not np.array_equal(chosen, calibration_indices(1000, 200, seed=1))
    assert sorted(calibration_indices(5, 200, seed=0)) == list(range(5))


@pytest.mark.parametrize("ranks", [1, 2])
def test_fixed_batches_with_a_key_are_augmented_as_training_is(ranks):
    chosen, augment, key = [7, 3, 11, 0, 5], Augment(crop="padded", pad=3), (0, "calibration", 0)
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3)).astype(np.uint8)
    data = Dataset("noise", tuple(map(str, range(12))), np.arange(12, dtype=np.int32), images)

    def seen():
        found = sorted((batch for rank in range(ranks) for batch in fixed_batches(
            data, chosen, 8, 2, augment, rank, ranks, key=key)), key=lambda batch: batch[0])
        return np.concatenate([images for _, images, _ in found])

    rows = draw_rows(augment, key, 0, 5)
    expected = np.stack(list(train_images(data, chosen, 8, augment, rows, opencv.pixels)))
    assert np.array_equal(seen(), expected) and np.array_equal(seen(), seen())
    assert not np.array_equal(expected, images[chosen])


# Real photographs --------------------------------------------------------------------------------


def test_imagenet_photographs(shared, tmp_path):
    archive = shared / "data" / "imagenet_samples_200.tar"
    if not archive.exists():
        pytest.skip(f"no {archive.name} in ../shared/data")
    with tarfile.open(archive) as tar:
        for member in [m for m in tar.getmembers() if m.isfile()][:24]:
            path = tmp_path / member.name.rsplit("/")[-1]
            path.write_bytes(tar.extractfile(member).read())
    paths = tuple(sorted(map(str, tmp_path.iterdir())))
    photos = Dataset("photographs", ("any",), np.zeros(len(paths), np.int32), paths=paths)
    for images, _ in loader(photos, 8).epoch(0, lambda step: 128):
        assert images.shape == (8, 128, 128, 3) and (images.std(axis=(1, 2)) > 1).any(axis=1).all()
    # evaluation's one resize of the centre against resizing all and cutting, from full resolution
    differences = []
    for i in range(len(paths)):
        whole = photos.decode(i)
        scale = 256 / min(whole.shape[:2])
        large = cv2.resize(whole, (round(whole.shape[1] * scale), round(whole.shape[0] * scale)),
                           interpolation=cv2.INTER_AREA)
        y, x = (large.shape[0] - 224) // 2, (large.shape[1] - 224) // 2
        reference = large[y:y + 224, x:x + 224].astype(int)
        differences.append(np.abs(valid_image(photos, i, 224, Augment()) - reference).mean())
    assert np.mean(differences) < 6
