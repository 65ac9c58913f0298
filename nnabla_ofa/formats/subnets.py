"""Files that name subnets, with their accuracies where these are known.

The format is that of the CVPR 2021 lightweight NAS challenge, track 1: a JSON object from a name to
{"arch": "16-4-...", "acc": 0.539}; "acc" may be missing. "arch" is a subnet's text in any family.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence

from ..errors import OfaError
from ..nets import Arch, Config
from ..system.files import Location, write_atomically


class Subnet(NamedTuple):
    """One entry of a file: the subnet as written there, and its accuracy (a fraction) if known."""

    arch: Arch
    text: str
    accuracy: Optional[float]


def read_subnets(path: Location, config: Config) -> Dict[str, Subnet]:
    """The entries of a file by name, in its order. config: whose family reads the texts. Raises OfaError."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise OfaError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise OfaError(f'{path} is not an object {{"name": {{"arch": "16-4-...", "acc": 0.5}}}}')
    return {name: _subnet(entry, config, f"{path}: {name}") for name, entry in entries.items()}


def _subnet(entry: Any, config: Config, where: str) -> Subnet:
    """An entry of a JSON file, which may be anything. where: named in errors."""
    if not isinstance(entry, dict) or not isinstance(entry.get("arch"), str):
        raise OfaError(f'{where} has no "arch"')
    accuracy = entry.get("acc")
    if accuracy is not None and (isinstance(accuracy, bool) or not isinstance(accuracy, (int, float))
                                 or not 0 <= accuracy <= 1):
        raise OfaError(f'{where}: "acc": {accuracy!r} is not a fraction from 0 to 1')
    try:
        return Subnet(config.arch(entry["arch"]), entry["arch"], accuracy)
    except OfaError as error:
        raise OfaError(f"{where}: {error}") from error


def write_subnets(path: Location, subnets: Mapping[str, Subnet], accuracies: Sequence[float]) -> None:
    """Write the same entries with other accuracies, in the same format.

    Args:
        path: The file.
        subnets: The entries by name.
        accuracies: A fraction an entry, in their order.
    """
    entries = {name: {"acc": round(float(accuracy), 6), "arch": subnet.text}
               for (name, subnet), accuracy in zip(subnets.items(), accuracies)}
    write_atomically(Path(path), (json.dumps(entries, indent=1) + "\n").encode())
