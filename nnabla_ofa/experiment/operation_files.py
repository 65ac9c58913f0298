"""Operations and networks as small ONNX files, for deploy/measure.py to time on a device.

    write(net, "operations", Pieces([224], "int8"), about)   # on the computer that has the supernet
    python measure.py operations --threads 4                 # on the device; or here: `measure`
    LatencyTable.load("operations/table.json")               # for the search

A file is what export would write of that piece: BN folded, and for int8 quantised on noise. What the noise
was has no part in how long the file takes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from ..cost import Operations, noise
from ..cost.latency import CHECKED, REFERENCES, VERSION, key, timed
from ..cost.timing import ROUNDS, Setting
from ..errors import OfaError
from ..formats import onnx_file
from ..formats.exchange import OPSETS
from ..layers import Layer
from ..model import AnyNetwork, Network
from ..nets import Arch, Space
from ..quantize import int8
from ..system.files import Location, write_atomically

_INSTALLED = Path(__file__).resolve().parents[1] / "deploy"  # in a wheel
DEPLOY = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[2] / "deploy"
SCRIPT = DEPLOY / "measure.py"

PRECISIONS = ("float32", "int8")
PROVIDER = "CPUExecutionProvider"
MOST_BLOCKS = 500  # different blocks of a space; where there are more, their parts are timed
NOISE = 16         # inputs that int8 files are quantised on
Json = Dict[str, Any]
Row = Dict[str, Any]


@dataclass(frozen=True)
class Pieces:
    """What a folder is to hold.

    Args:
        sizes: Image sizes in pixels.
        precision: One of PRECISIONS.
        batch_size: Images at a time, 1 or more.
        check: With whole networks that the table's error is measured on.
        archs: These whole networks alone. None: what a latency table of the space needs.
    """

    sizes: Tuple[int, ...]
    precision: str = "float32"
    batch_size: int = 1
    check: bool = False
    archs: Tuple[Arch, ...] = ()


@dataclass(frozen=True)
class Alone:
    """The configuration of a network that is one layer. Its fields are those of every configuration."""

    layer: Layer
    bn_eps: float
    bn_decay: float = 0.9
    family: str = "operation"
    classes: int = 1

    def layers(self, space: Space, arch: Arch) -> Tuple[Layer, ...]:
        """It alone."""
        return (self.layer,)


# Files ------------------------------------------------------------------------------------------

def write(net: AnyNetwork, folder: Location, pieces: Pieces, about: Json) -> Path:
    """Write files and the table that is to be filled. What is there already is taken as it is.

    Args:
        net: The network.
        folder: Where they go, with a copy of deploy/measure.py.
        pieces: What is wanted.
        about: How the table came about, as of `LatencyTable`.

    Returns:
        The table.

    Raises:
        OfaError: The folder holds other files, or the packages of ONNX are missing.
    """
    onnx_file.packages()
    folder = Path(folder)
    setting = Setting("", "", 0, pieces.batch_size, "", "onnxruntime", pieces.precision)
    path, network = folder / "table.json", {"config": asdict(net.config), "space": str(net.space)}
    content = {"kind": "latency table", "version": VERSION, "setting": asdict(setting),
               "unit": unit_of(net, pieces), "network": network,
               "pieces": {**asdict(pieces), "archs": [str(arch) for arch in pieces.archs]}, "about": about}
    content = json.loads(json.dumps(content))  # as a file has it
    if path.exists():
        require_same(path, content)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {size: rows_of(net, size, pieces, content["unit"], folder) for size in pieces.sizes}
    shutil.copyfile(str(SCRIPT), str(folder / SCRIPT.name))
    write_atomically(path, (json.dumps({**content, "image_sizes": sizes}, indent=1) + "\n").encode())
    return path


def require_same(path: Path, wanted: Json) -> None:
    """OfaError unless the table at `path` was written for the same pieces."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = all(found[name] == wanted[name] for name in ("kind", "unit", "network", "pieces"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OfaError(f"{path} is no table of operations, or it is damaged ({error!r}): delete it or choose "
                       "another folder") from error
    if not same:
        raise OfaError(f"{path.parent} holds the operations of another network, image size, precision or "
                       "batch size: choose another folder")


def unit_of(net: AnyNetwork, pieces: Pieces) -> str:
    """What an operation is: a "block", or a "part" where the space has too many different blocks."""
    if pieces.archs or not isinstance(net, Network):
        return "block"
    return "block" if len(Operations(net, pieces.sizes[0]).all()) <= MOST_BLOCKS else "part"


def rows_of(net: AnyNetwork, size: int, pieces: Pieces, unit: str, folder: Path) -> Json:
    """Write the files of one image size.

    Args:
        net: The network.
        size: Pixels a side.
        pieces: What is wanted.
        unit: What an operation is.
        folder: Where the files go.

    Returns:
        The rows of the table.
    """
    made: Json = {"overhead_ms": None, "check": None, "reference": [], "operations": [], "networks": [],
                  "checked": []}
    if pieces.archs or not isinstance(net, Network):
        made["networks"] = files([(str(arch), whole(net, arch, size, pieces)) for arch in pieces.archs],
                                 folder, f"networks-{size}")
        return made
    layers = {key(*part): part for layer in Operations(net, size).all() for part in timed(*layer, unit)}
    made["operations"] = files([(name, alone(net, *part, pieces)) for name, part in layers.items()],
                               folder, f"operations-{size}")
    made["reference"] = files([(key(*noise.REFERENCE), alone(net, *noise.REFERENCE, pieces))], folder,
                              f"reference-{size}")
    for kind, count, seed in (("networks", REFERENCES, 0), ("checked", CHECKED * pieces.check, 1)):
        archs = net.space.sample_distinct(count, np.random.default_rng(seed)) if count else []
        made[kind] = files([(str(arch), whole(net, arch, size, pieces)) for arch in archs], folder,
                           f"{kind}-{size}")
        for row, arch in zip(made[kind], archs):
            row["operations"] = [[*layers].index(key(*part)) for layer in sided(net, arch, size)
                                 for part in timed(*layer, unit)]
    return made


def files(wanted: Sequence[Tuple[str, Callable[[Path], None]]], folder: Path, begin: str) -> List[Row]:
    """Write a file each, as `<begin>-<number>.onnx`; the table's rows, not measured yet."""
    found = []
    for number, (name, save) in enumerate(tqdm(wanted, desc=begin, unit="file", disable=not wanted)):
        path = folder / f"{begin}-{number:04d}.onnx"
        save(path)
        found.append({"name": name, "file": path.name, "bytes": path.stat().st_size, "samples_ms": []})
    return found


def sided(net: Network, arch: Arch, size: int) -> List[Tuple[Layer, int]]:
    """The layers of the stand-alone subnet, each with the side of its input in pixels."""
    arch, found = arch.canonical(), []
    for layer in net.config.layers(Space.of(arch), arch):
        found.append((layer, size))
        size = layer.cost(size)[1]
    return found


def whole(net: AnyNetwork, arch: Arch, size: int, pieces: Pieces) -> Callable[[Path], None]:
    """What writes a subnet's file."""
    return lambda path: save(net.extract(arch), path, str(arch), size, pieces)


def alone(net: AnyNetwork, layer: Layer, side: int, pieces: Pieces) -> Callable[[Path], None]:
    """What writes the file of one layer with new weights."""
    def written(path: Path) -> None:
        single = Network(Alone(layer, net.config.bn_eps), Space((), "operation"))  # type: ignore[arg-type]
        single.initialise(0)
        width = layer.parts_on(side)[0][0].w_in
        save(single, path, key(layer, side), side, pieces, width)
    return written


def save(net: AnyNetwork, path: Path, name: str, size: int, pieces: Pieces, channels: int = 3) -> None:
    """Write one file.

    Args:
        net: A network of one arch.
        path: The file.
        name: What the file says that it is.
        size: Pixels a side.
        pieces: Precision and batch size.
        channels: Of the input.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "float.onnx"
        about: Any = {"operation": name, "pixels": False, "opset": OPSETS[0]}
        onnx_file.save(net, made, about, size, True, pieces.batch_size, channels)
        if pieces.precision == "int8":
            inputs = np.random.default_rng(0).standard_normal((NOISE, channels, size, size))
            int8(made, path, inputs.astype(np.float32))
        else:
            write_atomically(path, made.read_bytes())


# Measured here ----------------------------------------------------------------------------------

def measure(folder: Location, threads: int, provider: str = PROVIDER, rounds: int = ROUNDS,
            again: bool = False) -> None:
    """Run deploy/measure.py on a folder, in a process of its own, as a device does.

    Args:
        folder: Of `write`.
        threads: Of onnxruntime, 1 or more.
        provider: Of onnxruntime.
        rounds: How many samples each file is to have, 1 or more.
        again: Forget what was measured before, for example on other threads.

    Raises:
        OfaError: The script's own error.
    """
    command = [sys.executable, str(SCRIPT), str(folder), "--threads", str(threads), "--provider", provider,
               "--rounds", str(rounds), *["--again"] * again]
    said = ""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():  # a carriage return ends a line, too
            said = line.strip() or said
            if not said.startswith("error: "):
                print(f"\r{said}", end="", file=sys.stderr, flush=True)
    if process.returncode:
        raise OfaError(f"measuring {folder} failed: {said.replace('error: ', '', 1)}")
    print(file=sys.stderr)


def milliseconds(folder: Location, size: int) -> List[Row]:
    """The measured rows of the whole networks in a folder, at one image size."""
    content = json.loads((Path(folder) / "table.json").read_text(encoding="utf-8"))
    return content["image_sizes"][str(size)]["networks"]
