"""Make the data sets that have a name ready for use: fetch, check and unpack them, write their labels."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Optional, Tuple

from tqdm import tqdm

from ..errors import OfaError
from ..system.files import write_atomically
from .archives import DAMAGED, members
from .class_names import numbers, same_name
from .folders import TEST, TRAIN, class_names
from .lists import open_text, read_labels


class Archive(NamedTuple):
    """A data set's archive as it is published.

    Attributes:
        url: the address of the archive.
        md5: the MD5 sum that is published with it.
        folder: the one folder at its top.
    """

    url: str
    md5: str
    folder: str


ARCHIVES = {
    "cifar10": Archive("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                       "c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-batches-bin"),
    "cifar100": Archive("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                        "03b5dce01913d631647c71ecec9e9cb8", "cifar-100-binary"),
    "tiny_imagenet": Archive("http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                             "90528d7ca1a48142e341f4ef8d21d0de", "tiny-imagenet-200")}
_BLOCK = 2**20      # bytes that are copied at once
MOST_BYTES = 2**31  # that an archive is unpacked to; Tiny ImageNet has 2**28


def prepare_archive(name: str, target: Path, source: str) -> None:
    """Unpack a data set's archive. The folder `target` appears whole or not at all.

    Args:
        name: the data set, a key of ARCHIVES.
        target: the folder to make.
        source: the archive: a file, or a URL, whose content must have the published MD5 sum.

    Raises:
        OfaError: `target` exists, or the archive cannot be fetched or unpacked or is another one.
    """
    archive = ARCHIVES[name]
    if target.exists():
        raise OfaError(f"{target} is there already: remove it to prepare {name} anew")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as temporary:
        file = Path(source)
        if "://" in source:
            file = Path(temporary, os.path.basename(archive.url))
            fetch(source, file, archive.md5)
        unpacked = Path(temporary, "unpacked")
        unpack(file, unpacked)
        inside = [path for path in unpacked.iterdir() if path.is_dir()]
        if len(inside) != 1:
            raise OfaError(f"{file} holds {len(inside)} folders at its top; that of {name} holds one, "
                           f"{archive.folder}")
        inside[0].chmod(0o755)
        os.replace(str(inside[0]), str(target))


def fetch(url: str, file: Path, md5: str) -> None:
    """Download a file, with a progress bar.

    Args:
        url: the address of the file.
        file: the path to write it to.
        md5: the MD5 sum that it must have, in hexadecimal digits.

    Raises:
        OfaError: the download fails, or the MD5 sum differs.
    """
    digest = hashlib.md5()
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, open(file, "wb") as out:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc=file.name, mininterval=1) as bar:
                for block in iter(lambda: answer.read(_BLOCK), b""):
                    out.write(block)
                    digest.update(block)
                    bar.update(len(block))
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise OfaError(f"{url} cannot be fetched ({error}); fetch it by other means and give the file "
                       "with --archive") from error
    if digest.hexdigest() != md5:
        raise OfaError(f"{url}: what came has MD5 {digest.hexdigest()}, published is {md5}; try again")


def unpack(file: Path, folder: Path) -> None:
    """Unpack the regular files of a .tar or .zip archive into `folder`. Links are left out.

    Raises:
        OfaError: the archive is damaged or holds more than MOST_BYTES, or a path in it leads out of `folder`.
    """
    try:
        for name, content in members(file, MOST_BYTES):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise OfaError(f"{file} holds {name}, which leads out of its folder: not unpacked")
            to = folder.joinpath(*path.parts)
            to.parent.mkdir(parents=True, exist_ok=True)
            with content, open(to, "wb") as out:
                shutil.copyfileobj(content, out, _BLOCK)
    except OfaError:
        raise
    except DAMAGED as error:
        raise OfaError(f"{file} cannot be unpacked ({error}); give a .tar.gz or .zip archive, whole"
                       ) from error


def prepare_imagenet(folder: Path, labels: Optional[Path]) -> Path:
    """Write the labels of ImageNet's validation images, which lie in one folder, to `folder`/val_label.

    Args:
        folder: the data set's folder.
        labels: a list of lines "name label", where a label is a class folder (n01440764) or its number
            in alphabetical order, as in Caffe's val.txt; or Kaggle's LOC_val_solution.csv.

    Returns:
        The path of val_label.

    Raises:
        OfaError: a folder or `labels` is missing, or a line is wrong.
    """
    train = next((folder / name for name in TRAIN if (folder / name).is_dir()), None)
    if train is None or not any((folder / name).is_dir() for name in TEST):
        raise OfaError(f"{folder} needs train/<class>/ and a folder of validation images, one of "
                       f"{', '.join(TEST)}")
    if labels is None or not labels.is_file():
        raise OfaError(f"--labels {labels} is no file: give a list of lines 'name label', for example "
                       "ILSVRC2012_val_00000001.JPEG n01751748, or LOC_val_solution.csv")
    classes = class_names(str(train))
    names, found = _kaggle(labels, classes) if labels.suffix == ".csv" else \
        read_labels(str(labels), classes)
    out = folder / "val_label"
    lines = "".join(f"{name} {classes[number]}\n" for name, number in zip(names, found))
    write_atomically(out, lines.encode("utf-8", "surrogateescape"))  # as the names were read
    return out


def _kaggle(path: Path, classes: Tuple[str, ...]) -> Tuple[Tuple[str, ...], Tuple[int, ...]]:
    """(names, labels) of Kaggle's list, whose lines are "ILSVRC2012_val_00048981,n03995372 85 1 499 272".

    After the name come a class and a box, and maybe more of them. The first class counts.
    """
    known = numbers(classes)
    names, labels = [], []
    try:
        with open_text(str(path), newline="") as file:
            rows = list(csv.reader(file))
    except csv.Error as error:
        raise OfaError(f"{path} is not Kaggle's list: {error}") from error
    for line, row in enumerate(rows, start=1):
        if row and row[0] == "ImageId":
            continue
        label = same_name(row[1].split()[0]) if len(row) == 2 and row[1].split() else ""
        if label not in known:
            raise OfaError(f"{path}:{line}: {','.join(row)[:200]!r} is not 'image,class x y x y' with one "
                           f"of the {len(classes)} class folders")
        names.append(f"{row[0]}.JPEG")
        labels.append(known[label])
    return tuple(names), tuple(labels)
