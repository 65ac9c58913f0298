"""Data sets by name and layout, made ready, checked and shown, on small files made here."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from nnabla_ofa.data import datasets, open_dataset, prepare
from nnabla_ofa.data.check import check, equal_images
from nnabla_ofa.data.sheet import contact_sheet
from nnabla_ofa.errors import OfaError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def message(where) -> str:
    with pytest.raises(OfaError) as error:
        open_dataset(str(where))
    return str(error.value)


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((70, 80, 3), value, np.uint8))


# CIFAR -------------------------------------------------------------------------------------------

def cifar_files(name, binary, seed=0):
    """{file name: content} of a tiny CIFAR, and its (pixels (n, 3, 32, 32), labels) by split."""
    rng = np.random.default_rng(seed)
    classes, ten = (10, True) if name == "cifar10" else (100, False)
    parts = {"train": [], "test": []}
    files = {}
    suffix = ".bin" if binary else ""
    batches = [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"]
    for part, file in [("train", f) for f in batches] + [("test", "test_batch" if ten else "test")]:
        pixels = rng.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
        labels = rng.integers(0, classes, 3)
        parts[part].append((pixels, labels))
        if binary:
            columns = [labels] if ten else [labels // 5, labels]  # coarse, fine
            files[file + suffix] = np.column_stack([*columns, pixels.reshape(3, -1)]
                                                   ).astype(np.uint8).tobytes()
        else:
            key = "labels" if ten else "fine_labels"
            files[file] = pickle.dumps({"data": pixels.reshape(3, -1), key: labels.tolist(),
                                        "coarse_labels": [0] * 3}, protocol=2)
    names = [f"class{i}" for i in range(classes)]
    if binary:
        text = "\n".join(names) + "\n\n"
        files["batches.meta.txt" if ten else "fine_label_names.txt"] = text.encode()
    else:
        key = "label_names" if ten else "fine_label_names"
        files["batches.meta" if ten else "meta"] = pickle.dumps({key: names}, protocol=2)
    return files, {part: tuple(map(np.concatenate, zip(*found))) for part, found in parts.items()}


FOLDERS = {("cifar10", True): "cifar-10-batches-bin", ("cifar10", False): "cifar-10-batches-py",
           ("cifar100", True): "cifar-100-binary", ("cifar100", False): "cifar-100-python"}


def write_folder(folder, files):
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_tar(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name, binary", FOLDERS)
def test_cifar_as_archive_and_unpacked(tmp_path, name, binary):
    files, expected = cifar_files(name, binary)
    folder = FOLDERS[name, binary]
    inner = write_folder(tmp_path / "data" / folder, files)
    for where in (inner, inner.parent, write_tar(tmp_path / "a.tar.gz", folder, files)):
        for part, dataset in zip(("train", "test"), open_dataset(where)):
            pixels, labels = expected[part]
            assert dataset.name == name and dataset.classes[7] == "class7"
            assert dataset.labels.tolist() == labels.tolist() and dataset.labels.dtype == np.int32
            assert np.array_equal(dataset.images, pixels.transpose(0, 2, 3, 1))


def test_a_pickle_that_calls_anything_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    files, _ = cifar_files("cifar10", binary=False)
    files["test_batch"] = pickle.dumps({"data": Evil(), "labels": []}, protocol=2)
    folder = write_folder(tmp_path / "cifar-10-batches-py", files)
    assert "test_batch: cannot be read (it asks for posix.mkdir, which no CIFAR" in message(folder)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name, data, expected", [
    ("test_batch.bin", b"\0" * 3072, "test_batch.bin: 3072 bytes are not records of 3073"),
    ("test_batch.bin", b"", "0 bytes are not records"),
    ("test_batch.bin", b"\x0a" + b"\0" * 3072, "labels do not fit the 10 names"),
    ("batches.meta.txt", b"cat\n", "labels do not fit the 1 names"),
    ("data_batch_3.bin", None, "data_batch_3.bin: cannot be read"),
    ("test_batch", b"\x80\x02.", "test_batch: cannot be read"),
    ("test_batch", pickle.dumps([1]), "holds a list, not a dictionary"),
    ("test_batch", pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
     "does not hold data"),
    ("batches.meta", pickle.dumps({}), "labels do not fit the 0 names"),
    ("batches.meta", pickle.dumps({"label_names": 5}), "labels do not fit the 0 names")])
def test_damaged_cifar_is_named(tmp_path, name, data, expected):
    binary = name.endswith((".bin", ".txt"))
    files, _ = cifar_files("cifar10", binary)
    if data is None:
        del files[name]
    else:
        files[name] = data
    assert expected in message(write_folder(tmp_path / "c", files))


RECONSTRUCT = np.zeros(0, np.uint8).__reduce__()[0]  # NumPy's private function that makes an array


class Called:
    """A pickle of it calls a function."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize("data", [
    Called(np.ndarray, (2**40,)), Called(RECONSTRUCT, np.ndarray, (2**40,), b"b"), Called(np.dtype, "u1"),
    [Called(codecs.encode, "é" * 1000, "utf-8")] * 9, np.zeros((1, 3072), np.int16),
    np.zeros((1, 3072), object), np.zeros((3072, 1), np.uint8)])
def test_a_pickle_makes_no_array_but_of_the_bytes_it_holds(tmp_path, little_memory, data):
    files, _ = cifar_files("cifar10", False)
    files["test_batch"] = pickle.dumps({"data": data, "labels": [1]}, protocol=2)
    folder = write_folder(tmp_path / "cifar-10-batches-py", files)
    with little_memory():
        assert "test_batch: does not hold data (n, 3072) and n labels" in message(folder)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_either_order_are_what_they_were(tmp_path, order):
    files, expected = cifar_files("cifar10", False)
    pixels, labels = expected["test"]
    files["test_batch"] = pickle.dumps({"data": np.asarray(pixels.reshape(3, -1), order=order),
                                        "labels": labels.tolist()}, protocol=4)
    found = open_dataset(write_folder(tmp_path / "cifar-10-batches-py", files))[1]
    assert np.array_equal(found.images, pixels.transpose(0, 2, 3, 1))


def test_other_archives_are_refused(tmp_path):
    (tmp_path / "text.tar.gz").write_text("no archive")
    said = message(tmp_path / "text.tar.gz")
    assert "text.tar.gz cannot be read as a .tar archive" in said and "\n" not in said
    other = write_tar(tmp_path / "other.tar.gz", "cats", {"a.jpg": b"a"})
    assert "is none of the CIFAR archives; they hold a folder cifar-10-batches-bin" in message(other)
    files, _ = cifar_files("cifar10", True)
    del files["data_batch_5.bin"]
    half = write_tar(tmp_path / "half.tar.gz", "cifar-10-batches-bin", files)
    assert "has no cifar-10-batches-bin/data_batch_5.bin" in message(half)
    half.write_bytes(half.read_bytes()[:-2000])
    assert "half.tar.gz cannot be read as a .tar archive" in message(half)


# Tiny ImageNet, ImageNet -------------------------------------------------------------------------

def tiny_imagenet(root):
    (root).mkdir(parents=True)
    (root / "wnids.txt").write_text("n02\nn01\n")
    for wnid in ("n01", "n02"):
        for i in range(3):
            picture(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
    for i in range(4):
        picture(root / "val" / "images" / f"val_{i}.JPEG", 20 * i)
    (root / "val" / "val_annotations.txt").write_text(
        "".join(f"val_{i}.JPEG\tn0{1 + i % 2}\t0\t0\t62\t62\n" for i in range(4)))
    return root


def test_tiny_imagenet(tmp_path):
    root = tiny_imagenet(tmp_path / "tiny-imagenet-200")
    train, test = open_dataset(root)
    assert train.name == "tiny-imagenet:tiny-imagenet-200" and train.classes == ("n01", "n02")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] and test.labels.tolist() == [0, 1, 0, 1]
    assert train.paths[3].endswith("n02/images/n02_0.JPEG")
    assert test.decode(3).max() == 60
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text("val_0.JPEG\tn03\t0\t0\t1\t1\n")
    assert "val_annotations.txt:1: 'val_0.JPEG\\tn03" in message(root)
    (root / "train" / "n02").rename(root / "train" / "n03")
    assert "n02/images cannot be read (No such file" in message(root)


def imagenet(root, test="val"):
    for wnid in ("n01", "n02"):
        picture(root / "train" / wnid / "a.JPEG")
    for i in range(1, 4):
        picture(root / test / f"ILSVRC2012_val_0000000{i}.JPEG", i)
    return root


@pytest.mark.parametrize("test", ["val", "ILSVRC2012_img_val"])
def test_imagenet_with_flat_validation_images(tmp_path, test):
    root = imagenet(tmp_path, test)
    assert "have no labels; write" in message(root)
    labels = root / "val_label"
    lines = ["ILSVRC2012_val_00000001.JPEG n02", "ILSVRC2012_val_00000003.JPEG n01"]
    labels.write_text("\n".join(lines))
    assert "1 images" in message(root) and "ILSVRC2012_val_00000002.JPEG" in message(root)
    labels.write_text("\n".join(lines + ["ILSVRC2012_val_00000002.JPEG n01"]))
    train, val = open_dataset(root)
    assert train.labels.tolist() == [0, 1] and val.labels.tolist() == [1, 0, 0]
    assert val.paths[1] == str(root / test / "ILSVRC2012_val_00000003.JPEG")
    labels.write_text("\n".join(lines + ["ILSVRC2012_val_00000002.JPEG n03"]))
    assert "val_label:3:" in message(root) and "or a class's name" in message(root)


@pytest.mark.parametrize("file, text", [
    ("val.txt", "ILSVRC2012_val_00000001.JPEG 1\nILSVRC2012_val_00000002.JPEG 0\n"
                "ILSVRC2012_val_00000003.JPEG 0\n"),
    ("LOC_val_solution.csv", "ImageId,PredictionString\nILSVRC2012_val_00000001,n02 1 2 3 4 n02 5 6 7 8 \n"
                             "ILSVRC2012_val_00000002,n01 1 2 3 4\nILSVRC2012_val_00000003,n01 1 2 3 4\n")])
def test_imagenet_labels_are_prepared(tmp_path, file, text):
    root = imagenet(tmp_path / "imagenet")
    (tmp_path / file).write_text(text)
    prepare.prepare_imagenet(root, tmp_path / file)
    assert open_dataset(root)[1].labels.tolist() == [1, 0, 0]
    wrong = text.replace("_00000003,n01", "_00000003,n09").replace("3.JPEG 0", "3.JPEG 9")
    (tmp_path / file).write_text(wrong)
    with pytest.raises(OfaError, match=f"{file}:[34]: "):
        prepare.prepare_imagenet(root, tmp_path / file)
    with pytest.raises(OfaError, match="--labels None is no file"):
        prepare.prepare_imagenet(root, None)
    with pytest.raises(OfaError, match="needs train/<class>/"):
        prepare.prepare_imagenet(tmp_path, tmp_path / file)


# Names, downloads --------------------------------------------------------------------------------

@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OFA_DATASETS", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """cifar10's archive "published" as a file of ours."""
    path = write_tar(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin",
                     cifar_files("cifar10", True)[0])
    archive = prepare.ARCHIVES["cifar10"]._replace(
        url=path.as_uri(), md5=hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(prepare.ARCHIVES, "cifar10", archive)
    return archive.url


def test_a_name_is_a_folder_in_the_home_of_data_sets(home):
    assert f"cifar10 is not there: {home}/cifar10 is no folder; run `python runners/data.py" in \
        message("cifar10")
    write_folder(home / "cifar10", cifar_files("cifar10", True)[0])
    assert open_dataset("cifar10")[0].name == "cifar10"
    write_folder(home.parent / "cifar10", cifar_files("cifar100", True)[0])  # a path goes first
    assert open_dataset("cifar10")[0].name == "cifar100"


def test_download_checks_the_sum_and_leaves_nothing_half_done(home, published, monkeypatch):
    prepare.prepare_archive("cifar10", home / "cifar10", published)
    assert len(open_dataset("cifar10")[0]) == 15 and os.listdir(home) == ["cifar10"]
    with pytest.raises(OfaError, match="is there already: remove it"):
        prepare.prepare_archive("cifar10", home / "cifar10", published)
    other = prepare.ARCHIVES["cifar10"]._replace(md5="0" * 32)
    monkeypatch.setitem(prepare.ARCHIVES, "cifar10", other)
    for url, why in ((published, f"published is {'0' * 32}; try again"),
                     ((home / "absent.tar.gz").as_uri(), "cannot be fetched")):
        with pytest.raises(OfaError, match=why):
            prepare.prepare_archive("cifar10", home / "again", url)
    assert os.listdir(home) == ["cifar10"]


def test_archives_that_lead_out_of_their_folder_are_refused(tmp_path):
    bad = write_tar(tmp_path / "bad.tar", "..", {"evil": b""})
    with pytest.raises(OfaError, match=r"bad.tar holds ../evil, which leads out"):
        prepare.prepare_archive("cifar10", tmp_path / "home" / "x", str(bad))
    assert not (tmp_path / "evil").exists() and not (tmp_path / "home" / "evil").exists()
    (tmp_path / "text").write_text("no archive")
    for source in ("text", "absent"):
        with pytest.raises(OfaError, match=f"{source} cannot be unpacked"):
            prepare.prepare_archive("cifar10", tmp_path / "home" / "x", str(tmp_path / source))


def test_tiny_imagenet_is_prepared_from_its_zip(home, tmp_path):
    tiny = tiny_imagenet(tmp_path / "source" / "tiny-imagenet-200")
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
        for path in sorted(tiny.rglob("*")):
            archive.write(path, path.relative_to(tiny.parent))
    prepare.prepare_archive("tiny_imagenet", home / "tiny_imagenet", str(tmp_path / "tiny.zip"))
    assert len(open_dataset("tiny_imagenet")[0]) == 6


def test_every_name_can_be_prepared():
    assert set(prepare.ARCHIVES) | {"imagenet"} == set(datasets.NAMES)


# Check and show ----------------------------------------------------------------------------------

def run(*arguments, **environment):
    return subprocess.run([sys.executable, "runners/data.py", *map(str, arguments)], cwd=ROOT,
                          env={**os.environ, **environment}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def test_check_counts_and_finds_what_is_wrong(tmp_path):
    for part, numbers in (("train", range(1, 6)), ("val", range(5, 8))):
        for i in numbers:
            picture(tmp_path / part / ("ant" if i % 2 else "bee") / f"{i}.png", i)
    (tmp_path / "train" / "bee" / "2.png").write_bytes(b"noise")
    train, test = (check(d) for d in open_dataset(tmp_path, in_memory=False))
    assert train.counts.tolist() == [3, 2] and test.counts.tolist() == [2, 1]
    assert len(train.unreadable) == 1 and "bee/2.png: cannot be decoded" in train.unreadable[0]
    assert train.sizes == ((70, 80), (70, 80)) and equal_images(train, test) == [(2, 0)]  # 5.png
    done = run("check", "--data", tmp_path)
    assert done.returncode == 2 and "has unreadable images" in done.stderr
    for line in ("train: 5 images, 2 classes of 2 to 3; 80x70 to 80x70 pixels", "2 of bee",
                 "1 unreadable:", "1 test images are training images, too:"):
        assert line in done.stdout


def test_prepare_check_and_show_as_commands(home, published, tmp_path):
    archive = published[len("file://"):]
    done = run("prepare", "cifar10", "--archive", archive, OFA_DATASETS=str(home))
    assert done.returncode == 0 and "15 training and 3 test images of 10 classes" in done.stdout
    done = run("check", "--data", "cifar10", OFA_DATASETS=str(home))
    assert done.returncode == 0 and "0 unreadable" in done.stdout
    sheets = {split: tmp_path / f"{split}.png" for split in ("train", "test")}
    for split, sheet in sheets.items():
        done = run("show", "--data", "cifar10", "--recipe", "xception_cifar10", "--count", 6,
                   "--columns", 3, "--save", sheet, "--split", split, "--set", "data.image_sizes=[32]",
                   "--set", "data.valid_sizes=[32]", OFA_DATASETS=str(home))
        assert done.returncode == 0, done.stderr
    for split, rows in (("train", 2), ("test", 1)):  # six of 15 images, all three
        with Image.open(sheets[split]) as image:
            assert image.size == (3 * (96 + 4) + 4, rows * (96 + 18) + 4)
    done = run("prepare", "cifar10", OFA_DATASETS=str(home))
    assert done.returncode == 2 and "needs --download (from https://" in done.stderr


def test_a_contact_sheet_holds_its_images_under_their_captions():
    images = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
    sheet = np.asarray(contact_sheet(images, ["a", "a caption too long for its image", 40 * "w", ""], 2))
    assert np.array_equal(sheet[18:114, 4:100], images[0])
    assert np.array_equal(sheet[18:114, 104:200], images[1])
    assert np.array_equal(sheet[132:228, 4:100], images[2])
    assert np.array_equal(sheet[132:228, 104:200], images[3])
    assert sheet[4:18, 4:100].min() < 128 and sheet[4:18, 104:200].min() < 128
    assert sheet[:, 200:].min() == 255  # cut at the sheet's edge
    assert sheet[118:132, 104:200].min() < 128  # over the next, which has none
