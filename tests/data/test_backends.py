"""Back ends: the same images, whichever of them decodes."""

from __future__ import annotations

import builtins

import cv2
import numpy as np
import pytest
from PIL import Image

from nnabla_ofa.data import BACKENDS, Augment, Dataset, TrainLoader, fixed_batches
from nnabla_ofa.data.backends import TOLERANCE, open_backend
from nnabla_ofa.data.transforms import N_UNIFORM
from nnabla_ofa.data.views import View, train_images, valid_images
from nnabla_ofa.errors import OfaError
from nnabla_ofa.experiment.parse import load_recipe


@pytest.fixture(params=[b for b in BACKENDS if b != "opencv"])
def backend(request):
    try:
        return open_backend(request.param)
    except OfaError as error:
        pytest.skip(str(error))


def picture(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def dataset(folder, images):
    paths = []
    for name, image in images.items():
        paths.append(str(folder / name))
        assert cv2.imwrite(paths[-1], image)
    return Dataset("pictures", ("any",), np.zeros(len(paths), np.int32), paths=tuple(paths))


@pytest.fixture
def pictures(tmp_path):
    """Colour and grey JPEGs, one small, one large enough to be decoded at a fraction, and a PNG."""
    return dataset(tmp_path, {"a.jpg": picture(200, 300), "b.jpg": picture(901, 1203, seed=1),
                              "c.jpg": picture(90, 70, seed=2), "grey.jpg": picture(150, 150)[..., 0],
                              "d.png": picture(120, 180, seed=3)})


def difference(images, others):
    images, others = list(images), list(others)
    assert len(images) == len(others) > 0
    assert all(a.shape == b.shape and a.dtype == b.dtype == np.uint8 for a, b in zip(images, others))
    return max(np.abs(a.astype(int) - b).mean() for a, b in zip(images, others))


@pytest.mark.parametrize("size", [96, 128, 224])
def test_same_images_to_within_the_tolerance(pictures, backend, size):
    opencv, everything = open_backend("opencv"), range(len(pictures))
    augment = Augment(brightness=0.3, saturation=0.3)
    for rows in np.random.default_rng(0).random((4, len(pictures), N_UNIFORM)):
        assert difference(*(train_images(pictures, everything, size, augment, rows, b)
                            for b in (opencv, backend))) < TOLERANCE
    assert difference(*(valid_images(pictures, everything, size, augment, b)
                        for b in (opencv, backend))) < TOLERANCE


def test_without_resizing_jpegs_are_equal_to_the_bit(tmp_path, backend):
    """So decoder, box, flip and colours are the same; only the resizing filter may differ."""
    photo = dataset(tmp_path, {"a.jpg": np.random.default_rng(0).integers(0, 256, (64, 64, 3))})
    augment = Augment(crop="padded", pad=0, brightness=0.5, valid_resize=1)
    for rows in np.random.default_rng(0).random((4, 1, N_UNIFORM)):
        images = [next(iter(train_images(photo, [0], 64, augment, rows, b)))
                  for b in (open_backend("opencv"), backend)]
        most = 0 if backend is open_backend("pillow") else 2  # DALI rounds on its way
        assert np.abs(images[0].astype(int) - images[1]).max() <= most


def test_boxes_beyond_the_border_are_black_there(tmp_path, backend):
    photo = dataset(tmp_path, {"a.jpg": np.full((40, 40, 3), 255, np.uint8)})
    view = View(photo.paths[0], lambda h, w: (-4, -4, w, h), reducible=False)
    image, = backend([view], 40)
    assert not image[:4].any() and not image[:, :4].any() and (image[4:, 4:] > 250).all()


def test_four_inks_come_as_opencv_reads_them(tmp_path, backend):
    path = str(tmp_path / "inks.jpg")
    Image.fromarray(np.dstack([picture(60, 60)] + [picture(60, 60)[..., :1]]), "CMYK").save(path)
    view = View(path, lambda h, w: (0, 0, w, h))
    assert np.array_equal(next(iter(backend([view], 32))),
                          next(iter(open_backend("opencv")([view], 32))))


def test_a_broken_file_among_others_is_named(pictures, tmp_path, backend):
    path = tmp_path / "b.jpg"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(OfaError, match="b.jpg: cannot be decoded"):
        list(valid_images(pictures, range(5), 96, Augment(), backend))
    path.unlink()
    with pytest.raises(OfaError, match="b.jpg: cannot be read"):
        list(valid_images(pictures, range(5), 96, Augment(), backend))
    assert len(list(valid_images(pictures, [0, 2], 96, Augment(), backend))) == 2  # it goes on


def test_loaders_go_through_the_back_end(pictures, backend):
    name = next(b for b in BACKENDS if open_backend(b) is backend)
    for workers in (0, 2):
        batches = list(TrainLoader(pictures, Augment(), 0, "kernel", 2, workers=workers,
                                   backend=name).epoch(0, lambda step: (64, 48)[step]))
        assert [images.shape for images, _ in batches] == [(2, 64, 64, 3), (2, 48, 48, 3)]
    one, other = (list(fixed_batches(pictures, range(5), 64, 4, Augment(), workers=w, backend=name))
                  for w in (0, 2))
    assert [len(labels) for _, _, labels in one] == [4, 1]
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, other))


def test_images_in_memory_are_the_same_under_every_back_end(backend):
    data = Dataset("memory", ("any",), np.zeros(3, np.int32), np.stack([picture(20, 20)] * 3))
    rows = np.random.default_rng(0).random((3, N_UNIFORM))
    assert difference(*(train_images(data, range(3), 16, Augment(), rows, b)
                        for b in (open_backend("opencv"), backend))) == 0


@pytest.mark.parametrize("name", ["dali_cpu", "dali_gpu"])
def test_an_absent_extra_names_its_package(monkeypatch, pictures, name):
    real = builtins.__import__

    def without(module, *args, **kwargs):
        if module.startswith("nvidia.dali"):
            raise ImportError(module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    open_backend.cache_clear()
    with pytest.raises(OfaError, match=f"{name} needs the package nvidia-dali-cuda120.*opencv"):
        TrainLoader(pictures, Augment(), 0, "kernel", 2, backend=name)
    open_backend.cache_clear()


def test_recipes_choose_the_back_end():
    assert load_recipe("xception_digits").data.backend == "opencv"
    assert load_recipe("xception_digits", ["data.backend=pillow"]).data.backend == "pillow"
    with pytest.raises(OfaError, match="data.backend=torch is not one of opencv, pillow, dali_cpu"):
        load_recipe("xception_digits", ["data.backend=torch"])
    with pytest.raises(OfaError, match="'torch' is not one of opencv"):
        open_backend("torch")


def test_evaluation_of_the_mindspore_recipe(tmp_path):
    """Short side to 320, then the centre 299 x 299."""
    photo = dataset(tmp_path, {"a.png": picture(320, 400)})
    augment = load_recipe("xception_digits", ["data.augment.valid_resize=320/299"]).data.augment
    image, = valid_images(photo, [0], 299, augment, open_backend("opencv"))
    assert np.array_equal(image, photo.decode(0)[10:309, 50:349])
    with pytest.raises(OfaError, match="valid_resize='1/0' is not a finite number"):
        load_recipe("xception_digits", ["data.augment.valid_resize=1/0"])


def test_pillow_decodes_at_a_fraction_as_opencv_does(tmp_path):
    """At the size that remains nothing is resized, so the pixels are equal."""
    photo = dataset(tmp_path, {"a.jpg": picture(256, 256)})
    view = View(photo.paths[0], lambda h, w: (0, 0, w, h))
    for size in (128, 64, 32):
        assert np.array_equal(*(next(iter(open_backend(b)([view], size)))
                                for b in ("opencv", "pillow")))
        with Image.open(photo.paths[0]) as image:
            image.draft("RGB", (size, size))
            assert np.array_equal(image, next(iter(open_backend("pillow")([view], size))))


@pytest.mark.parametrize("limit", [700 * 800 - 1, 100])  # Pillow warns above it, and refuses the double
def test_images_of_any_size_are_read(tmp_path, backend, limit, monkeypatch):
    photo = dataset(tmp_path, {"a.jpg": picture(700, 800)})
    views = [View(photo.paths[0], box, reducible) for reducible in (True, False)
             for box in (lambda h, w: (0, 0, w, h), lambda h, w: (-9, 9, w, h))]
    expected = list(backend(views, 96))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert np.array_equal(list(backend(views, 96)), expected)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert np.array_equal(list(backend(views, 96)), expected)
    assert np.abs(np.array(list(open_backend("opencv")(views, 96)), int) - expected).mean() < TOLERANCE
