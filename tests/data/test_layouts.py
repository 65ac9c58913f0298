"""Which files of a folder are images, which class each belongs to, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnabla_ofa.data import open_dataset, prepare
from nnabla_ofa.errors import OfaError


def picture(path, value=0):
    """A small image whose every pixel is `value`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 7, 3), value, np.uint8)).save(path)


def class_folders(root, parts=("train", "val"), classes=("cat", "dog"), count=3):
    for part in parts:
        for label in classes:
            for i in range(count):
                picture(root / part / label / f"{i}.png", i)
    return root


def message(where, **options):
    with pytest.raises(OfaError) as error:
        open_dataset(where, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def paths(where, dataset):
    return [os.path.relpath(path, where) for path in dataset.paths]


# Byte order marks --------------------------------------------------------------------------------

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lists_in_the_encodings_of_windows(tmp_path, encoding):
    for name in ("é.png", "b.png"):
        picture(tmp_path / "im" / name)
    text = "im/é.png 0\r\nim/b.png 1\r\n"
    for name in ("train_label", "val_label"):
        (tmp_path / name).write_bytes(text.encode(encoding))
    for dataset in open_dataset(tmp_path, in_memory=False):
        assert paths(tmp_path, dataset) == ["im/é.png", "im/b.png"]
        assert dataset.labels.tolist() == [0, 1] and dataset.decode(0).shape == (6, 7, 3)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_labels_of_flat_validation_images_in_the_encodings_of_windows(tmp_path, encoding):
    class_folders(tmp_path, ("train",))
    for i in range(3):
        picture(tmp_path / "val" / f"{i}.png")
    for labels in ("0.png cat\n1.png dog\n2.png dog\n", "0.png 0\n1.png 1\n2.png 1\n"):
        (tmp_path / "val_label").write_bytes(labels.encode(encoding))
        assert open_dataset(tmp_path)[1].labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tiny_imagenets_lists_in_the_encodings_of_windows(tmp_path, encoding):
    for label in ("n01", "n02"):
        picture(tmp_path / "train" / label / "images" / "a.JPEG")
    picture(tmp_path / "val" / "images" / "a.JPEG")
    (tmp_path / "wnids.txt").write_bytes("n01\r\nn02\r\n".encode(encoding))
    (tmp_path / "val" / "val_annotations.txt").write_bytes("a.JPEG\tn02\t0\t0\t9\t9\r\n".encode(encoding))
    train, test = open_dataset(tmp_path)
    assert train.classes == ("n01", "n02") and test.labels.tolist() == [1]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("heading", ["ImageId,PredictionString\r\n", ""])
def test_kaggles_csv_in_the_encodings_of_windows(tmp_path, encoding, heading):
    class_folders(tmp_path, ("train",))
    picture(tmp_path / "val" / "a.JPEG")
    file = tmp_path / "LOC_val_solution.csv"
    file.write_bytes(f"{heading}a,dog 1 2 3 4 \r\n".encode(encoding))
    prepare.prepare_imagenet(tmp_path, file)
    assert open_dataset(tmp_path)[1].labels.tolist() == [1]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_cifars_class_names_with_a_byte_order_mark(tmp_path, mark):
    record = bytes(1 + 3072)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (tmp_path / name).write_bytes(record)
    (tmp_path / "batches.meta.txt").write_bytes(mark + b"airplane\nbird\n")
    assert open_dataset(tmp_path)[0].classes == ("airplane", "bird")


def test_names_that_are_not_utf_8_pass_through_prepare(tmp_path):
    class_folders(tmp_path, ("train",))
    (tmp_path / "val").mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    picture(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", tmp_path / "val" / name)
    (tmp_path / "labels").write_bytes(b"caf\xe9.png dog\n")
    prepare.prepare_imagenet(tmp_path, tmp_path / "labels")
    _, test = open_dataset(tmp_path, in_memory=False)
    assert paths(tmp_path, test) == [f"val/{name}"] and test.decode(0).shape == (6, 7, 3)
