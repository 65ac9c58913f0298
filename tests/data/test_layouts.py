"""Which files of a folder are images, which class each belongs to, and what is said of the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from nnabla_ofa.data import Data, open_dataset, prepare, split
from nnabla_ofa.data.folders import TEST
from nnabla_ofa.data.walk import EXTENSIONS
from nnabla_ofa.errors import OfaError

ROOT = Path(__file__).resolve().parents[2]


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


# What is an image --------------------------------------------------------------------------------

def test_the_order_of_images_and_labels_of_plain_layouts(tmp_path):
    """Held-out images, calibration and fingerprints of old runs depend on it."""
    names = ["10.jpg", "2.JPEG", "B.png", "a.bmp", "a.jpeg", "z.webp", "é.png"]
    for part in ("train", "val"):
        for label in ("Zebra", "ant", "bee"):
            for name in reversed(names):
                picture(tmp_path / part / label / name)
    for part, dataset in zip(("train", "val"), open_dataset(tmp_path, in_memory=False)):
        assert paths(tmp_path, dataset) == [f"{part}/{label}/{name}" for label in ("Zebra", "ant", "bee")
                                            for name in names]
        assert dataset.classes == ("Zebra", "ant", "bee") and dataset.labels.dtype == np.int32
        assert dataset.labels.tolist() == 7 * [0] + 7 * [1] + 7 * [2]
    assert split(open_dataset(tmp_path)[0], 0.2, seed=3)[1].labels.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("suffix", [s for extension in EXTENSIONS for s in (extension, extension.upper())])
def test_every_suffix_that_is_taken_is_read(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    kind = suffix.lower()
    kind = {".jpe": ".jpg", ".jfif": ".jpg", ".dib": ".bmp", ".gif": ".png"}.get(kind, kind)
    image = image[..., :1] if kind in (".pgm", ".pbm") else image
    data = cv2.imencode(kind, image)[1].tobytes()
    for part in ("train", "val"):
        picture(tmp_path / part / "cat" / "0.png", 9)
        (tmp_path / part / "cat" / f"a{suffix}").write_bytes(data)
    for dataset in open_dataset(tmp_path, in_memory=False):
        assert [os.path.basename(path) for path in dataset.paths] == ["0.png", f"a{suffix}"]
        assert dataset.decode(1).shape == (64, 72, 3)
        assert "left out" not in dataset.summary


def test_sub_folders_of_a_class_are_read_after_its_own_images(tmp_path):
    class_folders(tmp_path, count=1)
    for name in ("b/1.png", "a/2.png", "a/x/3.png", "z.png", ".hidden/4.png"):
        picture(tmp_path / "train" / "cat" / name)
    train, test = open_dataset(tmp_path, in_memory=False)
    assert paths(tmp_path / "train", train) == [
        "cat/0.png", "cat/z.png", "cat/a/2.png", "cat/a/x/3.png", "cat/b/1.png", "dog/0.png"]
    assert train.labels.tolist() == [0] * 5 + [1] and len(test) == 2
    assert train.summary.endswith("2 classes; left out: 1 hidden folders (train/cat/.hidden)")


def test_one_line_says_what_is_left_out(tmp_path):
    root = class_folders(tmp_path / "pets", count=2)
    cat = root / "train" / "cat"
    for name in ("a.txt", "b.TXT", "nosuffix", "._0.png", ".DS_Store"):
        (cat / name).write_text("no image")
    os.symlink(cat / "nowhere", cat / "more")
    for i in range(3):
        picture(root / "val" / f"stray{i}.png")
    picture(root / "test" / "cat" / "0.png")
    picture(root / "valid" / "cat" / "0.png")
    for dataset in open_dataset(root):
        assert dataset.summary == dataset.subset([0]).summary == (
            "imagefolder:pets: 4 training images (train/), 4 test images (val/), 2 classes; test/ is not "
            "used, as val/ is there; valid/ is not used, as val/ is there; left out: 1 hidden files "
            "(train/cat/._0.png), 2 .txt files (train/cat/a.txt), 1 links to nothing (train/cat/more), 1 "
            "files without a suffix (train/cat/nosuffix), 3 images beside class folders (val/stray0.png)")


def test_the_line_stays_short_and_in_one_line(tmp_path):
    class_folders(tmp_path, count=1)
    for i in range(20):
        (tmp_path / "train" / "cat" / f"a.{i:02}").write_text("")
    (tmp_path / "train" / "cat" / "new\nline\udce9.txt").write_text("")
    assert open_dataset(tmp_path)[0].summary.endswith("1 .05 files (train/cat/a.05), 15 others")
    for i in range(20):
        (tmp_path / "train" / "cat" / f"a.{i:02}").unlink()
    assert open_dataset(tmp_path)[0].summary.endswith(r"1 .txt files (train/cat/new\nline\udce9.txt)")


def test_links_to_images_and_folders_are_followed_but_not_in_circles(tmp_path):
    root = class_folders(tmp_path / "data", count=1)
    picture(tmp_path / "elsewhere" / "more" / "1.png")
    cat = root / "train" / "cat"
    os.symlink(tmp_path / "elsewhere", cat / "there")
    os.symlink(tmp_path / "elsewhere" / "more" / "1.png", cat / "2.png")
    os.symlink(root / "train", tmp_path / "elsewhere" / "circle")
    os.symlink("round", cat / "round")
    os.symlink(tmp_path / "elsewhere", root / "train" / "owl")
    picture(root / "val" / "owl" / "0.png")
    train, _ = open_dataset(root, in_memory=False)
    assert paths(root / "train", train) == ["cat/0.png", "cat/2.png", "cat/there/more/1.png", "dog/0.png",
                                            "owl/more/1.png"]
    assert "left out: 1 links to nothing (train/cat/round), 2 links to a folder that they lie in " \
        "(train/cat/there/circle)" in train.summary


@pytest.mark.parametrize("parts", [("train",), ("val",), ("train", "val")])
def test_a_class_that_is_a_link_to_nothing_is_named(tmp_path, parts):
    class_folders(tmp_path)
    for part in parts:
        os.symlink(tmp_path / "nowhere", tmp_path / part / "cow")
    assert message(tmp_path).endswith(f"{parts[0]}/cow is a link to nothing: mend it, or remove it")


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    class_folders(tmp_path, count=1)
    picture(tmp_path / "train" / "cat" / "roll.jpg" / "1.png")
    assert paths(tmp_path / "train", open_dataset(tmp_path, in_memory=False)[0]) == [
        "cat/0.png", "cat/roll.jpg/1.png", "dog/0.png"]


def test_paths_in_lists_may_begin_with_a_number_sign(tmp_path):
    for name in ("#cat/0.png", "#1.png", "im/2.png"):
        picture(tmp_path / name)
    (tmp_path / "train_label").write_text(
        "# path label\n#\n#path label\n#cat/0.png 0\n#1.png 1\n#im/2.png 1\n# im/2.png 1\nim/2.png 1\n")
    (tmp_path / "val_label").write_text("#cat/0.png 0\n")
    train, test = open_dataset(tmp_path, in_memory=False)
    assert paths(tmp_path, train) == ["#cat/0.png", "#1.png", "im/2.png"] and len(test) == 1
    assert train.labels.tolist() == [0, 1, 1]
    assert "left out: 2 lines that begin with # (#path)" in train.summary


def test_flat_images_may_begin_with_a_number_sign(tmp_path):
    root = labelled(tmp_path, ["cat", "dog"], ["v0.png cat", "#v1.png dog"])
    (root / "val" / "v1.png").rename(root / "val" / "#v1.png")
    assert open_dataset(root)[1].labels.tolist() == [0, 1]


# Layouts -----------------------------------------------------------------------------------------

def test_class_folders_win_over_stray_images_and_lists(tmp_path):
    class_folders(tmp_path, count=2)
    picture(tmp_path / "val" / "preview.png")
    (tmp_path / "wnids.txt").write_text("cat\n")
    (tmp_path / "val_label").write_text("preview.png cat\n")
    train, test = open_dataset(tmp_path, in_memory=False)
    assert len(train) == 4 and test.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("inside", ["", "images"])
@pytest.mark.parametrize("emptied", [True, False])
def test_tiny_imagenet_with_validation_images_in_class_folders(tmp_path, inside, emptied):
    for label in ("n01", "n02"):
        for i in range(2):
            picture(tmp_path / "train" / label / "images" / f"{label}_{i}.JPEG")
            picture(tmp_path / "val" / label / inside / f"val_{label}_{i}.JPEG")
        (tmp_path / "train" / label / f"{label}_boxes.txt").write_text("")
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")
    if emptied:
        (tmp_path / "val" / "images").mkdir()
        (tmp_path / "val" / "val_annotations.txt").write_text("val_n01_0.JPEG\tn01\t0\t0\t1\t1\n")
    train, test = open_dataset(tmp_path, in_memory=False)
    assert train.classes == ("n01", "n02") and train.labels.tolist() == test.labels.tolist() == [0, 0, 1, 1]
    assert paths(tmp_path, train)[2:] == [f"train/n02/images/n02_{i}.JPEG" for i in range(2)]
    assert paths(tmp_path, test)[0] == os.path.join("val/n01", inside, "val_n01_0.JPEG")
    assert "left out: 2 .txt files" in train.summary


@pytest.mark.parametrize("part", TEST)
def test_names_of_the_folder_of_test_images(tmp_path, part):
    train, test = open_dataset(class_folders(tmp_path, ("train", part), count=1))
    assert len(train) == len(test) == 2 and f"2 test images ({part}/)" in test.summary


def test_a_test_folder_goes_before_one_called_valid(tmp_path):
    """As it always has: a data set that has both was read so before `valid` was known."""
    class_folders(tmp_path, ("train", "valid"), count=1)
    class_folders(tmp_path, ("test",), count=2)
    assert len(open_dataset(tmp_path)[1]) == 4


def test_classes_without_test_images_are_said_and_test_images_of_other_classes_refused(tmp_path):
    root = class_folders(tmp_path / "a", classes=("ant", "bee", "cow", "dog"), count=2)
    shutil.rmtree(root / "val" / "ant")
    for path in (root / "val" / "cow").iterdir():
        path.unlink()
    train, test = open_dataset(root, in_memory=False)
    assert len(train) == 8 and train.classes == test.classes and test.labels.tolist() == [1, 1, 3, 3]
    assert "2 of 4 classes have no test images (ant, cow)" in train.summary
    picture(root / "val" / "owl" / "0.png")
    assert "must hold the same class folders; only one of them has ant, owl" in message(root)
    shutil.rmtree(root / "val")
    (root / "val" / "bee").mkdir(parents=True)
    assert "val/bee has no images, and no other in" in message(root)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_class_folders_of_either_unicode_form(tmp_path, forms):
    for part, form in zip(("train", "val"), forms):
        for value, name in enumerate(("cafe", "café", "thé")):
            picture(tmp_path / part / unicodedata.normalize(form, name) / "0.png", value)
    train, test = open_dataset(tmp_path)
    assert train.classes == tuple(sorted(os.listdir(tmp_path / "train")))
    for dataset in (train, test):
        assert [unicodedata.normalize("NFC", dataset.classes[label]) for label in dataset.labels] == [
            ("cafe", "café", "thé")[image[0, 0, 0]] for image in dataset.images]
    picture(tmp_path / "train" / unicodedata.normalize("NFC", "thé") / "0.png")
    picture(tmp_path / "train" / unicodedata.normalize("NFD", "thé") / "0.png")
    assert "twice, in two spellings of Unicode" in message(tmp_path)


def test_class_folders_without_a_split(tmp_path):
    for label in ("cat", "dog"):
        for i in range(10):
            picture(tmp_path / label / f"{i}.png", i)
    (tmp_path / "docs").mkdir()
    assert "--set data.test_fraction=0.2" in message(tmp_path)
    train, test = open_dataset(tmp_path, test_fraction=0.2)
    assert train.classes == ("cat", "dog") and np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2]
    seen = [(label, image[0, 0, 0]) for part in (train, test)
            for label, image in zip(part.labels, part.images)]
    assert sorted(seen) == [(label, i) for label in range(2) for i in range(10)]
    again = Data(source=str(tmp_path), test_fraction=0.2).open()
    assert np.array_equal(again[1].images, test.images)
    assert f"16 training images ({tmp_path.name}/), 4 test images (0.2 of {tmp_path.name}/), 2 classes; " \
        "left out: 1 folders without images (docs)" in train.summary
    with pytest.raises(OfaError, match="data.test_fraction=1.5 is not between 0 and 1"):
        Data(test_fraction=1.5)


def test_a_training_set_alone(tmp_path):
    root = class_folders(tmp_path / "a", ("train",), count=10)
    assert "--set data.test_fraction=0.2" in message(root)
    train, test = open_dataset(root, test_fraction=0.5)
    assert len(train) == len(test) == 10
    for i in range(3):
        picture(root / "test" / f"{i}.png")  # as competitions have them, without labels
    assert "have no labels" in message(root)
    train, test = open_dataset(root, test_fraction=0.5)
    assert len(train) == len(test) == 10 and "test/ is not used, as its images have no labels" in test.summary
    (tmp_path / "train_label").write_text("".join(f"a/train/cat/{i}.png {i % 2}\n" for i in range(10)))
    assert "val_label is missing" in message(tmp_path)
    assert [len(part) for part in open_dataset(tmp_path, test_fraction=0.2)] == [8, 2]


def test_a_test_fraction_is_refused_where_there_are_test_images(tmp_path):
    class_folders(tmp_path)
    for where in (tmp_path, "digits"):
        assert "data.test_fraction: 0.2 is for training images without test images" in message(
            where, test_fraction=0.2)
    shutil.rmtree(tmp_path / "train")
    assert "has 0 and 6" in message(tmp_path, test_fraction=0.2)


def test_a_folder_of_data_sets_is_none(tmp_path):
    class_folders(tmp_path / "pets", count=1)
    assert "holds data sets, as pets: give the folder of one" in message(tmp_path, test_fraction=0.2)


@pytest.mark.parametrize("part", ["val", "test", ""])
def test_a_test_set_alone(tmp_path, part):
    """It is opened where it serves: by `partial`. Class folders in the folder itself are training images."""
    root = class_folders(tmp_path / "alone", (part,), count=2)
    assert "needs class folders" in message(root)
    train, test = open_dataset(root, partial=True)
    assert (len(train), len(test)) == ((0, 4) if part else (4, 0)) and train.classes == test.classes
    assert train.classes == ("cat", "dog") and "no t" in train.summary
    shutil.rmtree(root)
    picture(tmp_path / "alone" / "a.png")
    picture(tmp_path / "alone" / "b.png")
    (root / "val_label").write_text("a.png 0\nb.png 1\n")
    train, test = open_dataset(root, partial=True)
    assert (len(train), len(test)) == (0, 2) and test.classes == ("0", "1")
    assert "needs class folders" in message(root)


# The command -------------------------------------------------------------------------------------

def check(*arguments, command="check"):
    return subprocess.run([sys.executable, "runners/data.py", command, *map(str, arguments)], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})


def test_check_says_in_one_line_what_was_read(tmp_path):
    root = class_folders(tmp_path / "pets", ("train", "val", "test"), count=2)
    (root / "train" / "cat" / "notes.txt").write_text("")
    done = check("--data", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        f"{root}: imagefolder:pets: 4 training images (train/), 4 test images (val/), 2 classes; test/ is "
        "not used, as val/ is there; left out: 1 .txt files (train/cat/notes.txt)")


def test_check_of_one_set_alone_and_of_names_that_no_terminal_shows(tmp_path):
    root = class_folders(tmp_path / "pets", ("",), ("new\nline", "bad\udce9"), count=1)
    (root / "bad\udce9" / "1\udce9.png").write_text("no image")
    done = check("--data", root)
    assert done.returncode == 2 and "pets has unreadable images, named above" in done.stderr
    assert "no test images, 2 classes" in done.stdout and "\ntest: " not in done.stdout
    for line in (r"  1 of new\nline", r"  2 of bad\udce9"):
        assert line in done.stdout.splitlines()
    assert "1 unreadable:" in done.stdout and r"1\udce9.png: cannot be decoded" in done.stdout


def test_show_of_names_that_no_terminal_shows_and_of_no_size(tmp_path):
    root = class_folders(tmp_path / "pets", classes=("new\nline", "bad\udce9"), count=1)
    sheet = tmp_path / "sheet.png"
    arguments = ["--recipe", "xception_digits", "--data", root, "--save", sheet, "--count", 2]
    done = check(*arguments, command="show")
    assert done.returncode == 0 and sheet.exists(), done.stderr
    for size in (0, -3):
        done = check(*arguments, "--image-size", size, command="show")
        assert done.returncode == 2 and f"{size} is not an integer of 1 or more" in done.stderr
