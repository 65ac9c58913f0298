"""Damaged files: every kind that a run reads, cut short, with a bit flipped, with a block lost.

Each trial damages a copy at a random place and reads it as a run would. It came out as
    caught      one OfaError in one line that names the file, or an image that the list lists
    harmless    what was read is what was written
    unnoticed   something else was read: text says what it says, and pixels have no checksum
    crash       anything else
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Callable, List, NamedTuple

import cv2
import numpy as np

import nnabla_ofa as ofa
from nnabla_ofa.data.datasets import open_dataset
from nnabla_ofa.data.decode import read_image
from nnabla_ofa.errors import OfaError
from nnabla_ofa.experiment.parse import ARGS, load_recipe
from nnabla_ofa.formats import nnabla_nas
from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system import records
from nnabla_ofa.system.machine import ROOT
from nnabla_ofa.training.checkpoints import newest_checkpoint, save_checkpoint

CONFIG = ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2, stem_stride=1)
WAYS = ("cut short", "one bit flipped", "512 bytes zero")


class Kind(NamedTuple):
    """A kind of file: its name, who writes a good one into a folder, how it is read."""

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    checksum: bool  # whether its format has one: then nothing may go unnoticed


def trials(folder: Path, times: int, seed: int) -> List[dict]:
    """A row for each kind of file and way of damage, `times` trials each."""
    return [trial(kind, way, folder, times, np.random.default_rng([seed, k, w]))
            for k, kind in enumerate(KINDS) for w, way in enumerate(WAYS)]


def trial(kind: Kind, way: str, folder: Path, times: int, rng: np.random.Generator) -> dict:
    path = kind.write(folder / kind.name.replace(" ", "-"))
    whole, expected = path.read_bytes(), fingerprint(kind.read(path))
    came_out: Counter = Counter()
    for _ in range(times):
        damaged = damage(whole, way, rng)
        path.write_bytes(damaged)
        try:
            same = fingerprint(kind.read(path)) == expected
            came_out["harmless" if same else "unnoticed"] += 1
        except OfaError as error:
            named = str(path.parent) in str(error) and "\n" not in str(error)
            came_out["caught" if named else "crash"] += 1
            if not named:
                print(f"not named: {error!r}")
        except Exception as error:  # what a user would see as a traceback
            came_out["crash"] += 1
            print(f"{kind.name}, {way}: {error!r}")
    path.write_bytes(whole)
    lost = came_out["crash"] + (came_out["unnoticed"] if kind.checksum else 0)
    return {"what": f"{kind.name}: {way}", "times": times, "came_out": dict(came_out), "lost": lost}


def damage(whole: bytes, way: str, rng: np.random.Generator) -> bytes:
    """`whole`, damaged at a random place; never equal to it."""
    place, content = int(rng.integers(len(whole))), bytearray(whole)
    if way == "cut short":
        return whole[:place]
    if way == "one bit flipped":
        content[place] ^= 1 << int(rng.integers(8))
    else:
        content[place:place + 512] = bytes(len(content[place:place + 512]))
    return bytes(content) if content != whole else damage(whole, way, rng)


def fingerprint(value) -> object:
    """A value that compares by content."""
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: fingerprint(item) for key, item in value.items()}
    return [fingerprint(item) for item in value] if isinstance(value, (list, tuple)) else value


# Kinds -------------------------------------------------------------------------------------------

def network() -> ofa.Network:
    return ofa.Network.create(CONFIG, "K357_E0.6+0.8+1_D123")


def write_checkpoint(folder: Path) -> Path:
    arrays = {f"net/{name}": array for name, array in network().arrays().items()}
    for epoch in (1, 2):
        meta = {**network().describe(), "history": [], "fingerprint": {}}
        save_checkpoint(folder, epoch, arrays, meta)
    return folder / "checkpoint-0002.h5"


def read_checkpoint(path: Path):
    """As resuming does: a damaged newest checkpoint is named, the one before it serves."""
    said: List[str] = []
    _, meta = newest_checkpoint(path.parent, said.append)
    if said and meta["epoch"] == 1:
        raise OfaError(said[0])
    return checkpoint.load(path)


def write_network(folder: Path) -> Path:
    network().extract("XP0.6 3x3 2").save(folder / "subnet.h5")
    return folder / "subnet.h5"


def read_network(path: Path):
    net = ofa.load(path)
    return net.arrays(), str(net.space), net.info


def write_nnabla_nas(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    nnabla_nas.save_nnabla_nas(network(), folder / "nas.h5")
    return folder / "nas.h5"


def read_nnabla_nas(path: Path):
    return ofa.load(path, widths=CONFIG.widths, classes=CONFIG.classes, stem_stride=1).arrays()


def write_record(folder: Path) -> Path:
    """A committed record, as a run wrote it."""
    source = sorted((ROOT / "results/records").rglob("train-*.json"))[0]
    return records.write(folder, json.loads(source.read_text(encoding="utf-8")))


def write_list(folder: Path) -> Path:
    image = write_image(".png")(folder / "images")
    lines = []
    for i in range(100):
        (image.parent / f"{i:03d}.png").write_bytes(image.read_bytes())
        lines.append(f"images/{i:03d}.png {i % 10}\n")
    for name in ("train_label", "val_label"):
        (folder / name).write_text("".join(lines))
    return folder / "train_label"


def read_list(path: Path):
    """As a run does: a path that was changed is found when its image is read."""
    train, test = open_dataset(str(path.parent))
    for image in train.paths:
        if not Path(image).is_file():
            read_image(image)
    return train.paths, train.labels, test.paths, test.labels


def write_recipe(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    path.write_bytes((ARGS / "xception_digits.yaml").read_bytes())
    return path


def write_image(extension: str):
    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        photo = cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC)
        path = folder / f"photo{extension}"
        cv2.imwrite(str(path), photo)
        return path
    return write


def read_photo(path: Path) -> np.ndarray:
    return read_image(str(path))


KINDS = (
    Kind("checkpoint", write_checkpoint, read_checkpoint, True),
    Kind("network (weights.h5, exported subnet)", write_network, read_network, True),
    Kind("nnabla-nas checkpoint", write_nnabla_nas, read_nnabla_nas, False),
    Kind("record (JSON)", write_record, lambda path: records.read(path.parents[1]), False),
    Kind("list file", write_list, read_list, False),
    Kind("recipe (YAML)", write_recipe, lambda path: load_recipe(path).settings(), False),
    Kind("JPEG", write_image(".jpg"), read_photo, False),
    Kind("PNG", write_image(".png"), read_photo, False),
    Kind("WebP", write_image(".webp"), read_photo, False),
    Kind("BMP", write_image(".bmp"), read_photo, False),
)
