"""Which files of a folder are images, which class each belongs to, and what is said of the others."""

from __future__ import annotations

import os
import unicodedata
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


# Labels ------------------------------------------------------------------------------------------

def labelled(root, classes, lines):
    """A folder of these classes, whose flat validation images v0.png, v1.png ... val_label lists."""
    for label in classes:
        picture(root / "train" / label / "0.png")
    for i in range(len(lines)):
        picture(root / "val" / f"v{i}.png")
    (root / "val_label").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return root


@pytest.mark.parametrize("classes, labels, expected", [
    (["1", "2", "3"], ["0", "1", "2"], [0, 1, 2]),  # 0 is no folder: all are numbers
    (["1", "2", "3"], ["0", "1", "1"], [0, 1, 1]),
    (["1", "2", "3"], ["1", "2", "3"], [0, 1, 2]),  # all are folders
    (["1", "2", "3"], ["2", "2", "1"], [1, 1, 0]),
    (["0", "1", "2"], ["2", "0", "1"], [2, 0, 1]),  # the same either way
    (["0", "10", "2"], ["2", "10", "0"], [2, 1, 0]),
    (["0", "10", "2"], ["1", "0", "2"], [1, 0, 2]),
    (["cat", "dog"], ["dog", "cat"], [1, 0]),
    (["cat", "dog"], ["1", "0"], [1, 0]),
    (["cat", "7"], ["cat", "7"], [1, 0])])
def test_a_list_is_read_as_names_or_as_numbers_not_as_both(tmp_path, classes, labels, expected):
    root = labelled(tmp_path, classes, [f"v{i}.png {label}" for i, label in enumerate(labels)])
    train, test = open_dataset(root)
    assert train.classes == tuple(sorted(classes)) and test.labels.tolist() == expected


@pytest.mark.parametrize("classes, labels, expected", [
    ("123", ["1", "3", "0"], "val_label:3: label 0 is a number, and 1 in another line is a class's name"),
    (["cat", "dog"], ["cat", "1"], "val_label:2: label 1 is a number, and cat in another line is a class's"),
    ("123", ["0", "1", "5"], "val_label:3: label 5 is out of range; the training set has labels 0 to 2"),
    (["cat", "dog"], ["cat", "2"], "val_label:2: label 2 is out of range"),
    (["cat", "dog"], ["cat", "1234567"], "val_label:2: label 1234567 is out of range"),
    (["cat", "dog"], ["cat", "cow"],
     "val_label:2: 'v1.png cow' is not 'path label' with an integer label from 0 or a class's name")])
def test_a_list_that_is_read_in_two_ways_is_an_error(tmp_path, classes, labels, expected):
    root = labelled(tmp_path, classes, [f"v{i}.png {label}" for i, label in enumerate(labels)])
    assert expected in message(root)


def test_names_with_blanks_in_lists(tmp_path):
    classes = ["dog", "hot dog", "old hot dog", "owl"]
    names = ["v0.png hot dog", "a b.png  dog", "v2.png\told hot dog", "v3.png owl", "my dog.png hot dog"]
    root = labelled(tmp_path, classes, names)
    for name in ("a b.png", "my dog.png"):
        picture(root / "val" / name)
    for name in ("v1.png", "v4.png"):
        (root / "val" / name).unlink()
    _, test = open_dataset(root, in_memory=False)
    assert paths(root / "val", test) == ["v0.png", "a b.png", "v2.png", "v3.png", "my dog.png"]
    assert test.labels.tolist() == [1, 0, 2, 3, 1]
    (root / "val_label").write_text("v0.png hot dog\nv2.png 0\n")
    assert "val_label:2: label 0 is a number" in message(root)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_labels_of_either_unicode_form(tmp_path, form):
    folders = [unicodedata.normalize("NFD", name) for name in ("café au lait", "thé")]
    root = labelled(tmp_path, folders, [unicodedata.normalize(form, line)
                                        for line in ("v0.png thé", "v1.png café au lait")])
    assert open_dataset(root)[1].labels.tolist() == [1, 0]


def test_prepared_labels_are_read_in_one_way_too(tmp_path):
    root = labelled(tmp_path, ["1", "2", "3"], [])
    for i in range(3):
        picture(root / "val" / f"v{i}.png")
    (tmp_path / "labels").write_text("v0.png 0\nv1.png 1\nv2.png 2\n")
    prepare.prepare_imagenet(root, tmp_path / "labels")
    assert open_dataset(root)[1].labels.tolist() == [0, 1, 2]
