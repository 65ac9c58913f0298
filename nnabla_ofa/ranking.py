"""Files of subnets with accuracies, and how well other figures order them.

The format is that of the CVPR 2021 lightweight NAS challenge, track 1: a JSON object from a name to
{"arch": "16-4-...", "acc": 0.539}; "acc" may be missing. Any family's subnets are written so.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from scipy.stats import kendalltau, pearsonr

from .arch import Arch
from .checkpoint import write_atomically
from .cost import CostModel
from .errors import OfaError


class Subnet(NamedTuple):
    """One entry of a file: the subnet as written there, and its accuracy (a fraction) if known."""

    arch: Arch
    text: str
    accuracy: Optional[float]


def read_subnets(path, config) -> Dict[str, Subnet]:
    """The entries of a file by name, in its order; config: of the family that parses them. OfaError."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OfaError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise OfaError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise OfaError(f'{path} is not an object {{"name": {{"arch": "16-4-...", "acc": 0.5}}}}')
    return {name: _subnet(entry, config, f"{path}: {name}") for name, entry in entries.items()}


def _subnet(entry, config, where: str) -> Subnet:
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


def write_subnets(path, subnets: Mapping[str, Subnet], accuracies: Sequence[float]) -> None:
    """The same entries with other accuracies, in the same format."""
    entries = {name: {"acc": round(float(accuracy), 6), "arch": subnet.text}
               for (name, subnet), accuracy in zip(subnets.items(), accuracies)}
    write_atomically(Path(path), (json.dumps(entries, indent=1) + "\n").encode())


def correlations(predicted: Sequence[float], actual: Sequence[float]) -> Dict[str, float]:
    """Pearson's and Kendall's (tau-b) coefficient of two figures of subnets; NaN if one is constant."""
    if len(set(predicted)) < 2 or len(set(actual)) < 2:
        return {"pearson": float("nan"), "kendall": float("nan")}
    return {"pearson": float(pearsonr(predicted, actual)[0]),
            "kendall": float(kendalltau(predicted, actual)[0])}


ORDERS = {"predicted": "supernet", "parameters": "parameters", "macs": "MACs",
          "numbers": "sum of its numbers"}


def rows(net, subnets: Mapping[str, Subnet], predicted: Sequence[float], image_size: int) -> List[dict]:
    """A row a subnet: name, text, actual accuracy (None: unknown), and what may order them, by ORDERS.

    numbers: the sum of the numbers in its text; for widths of all channels, the last one included.
    """
    found, costs = [], CostModel(net, image_size)([subnet.arch for subnet in subnets.values()])
    for i, ((name, subnet), value) in enumerate(zip(subnets.items(), predicted)):
        numbers = sum(map(float, re.findall(r"\d+(?:\.\d+)?", subnet.text)))
        found.append({"name": name, "subnet": subnet.text, "actual": subnet.accuracy, "predicted": value,
                      "parameters": int(costs.parameters[i]), "macs": int(costs.macs[i]),
                      "numbers": numbers})
    return found


def summary(rows: Sequence[dict]) -> List[dict]:
    """A line for each of ORDERS: its correlations with the accuracies that are known."""
    known = [row for row in rows if row["actual"] is not None]
    lines = []
    for key, label in ORDERS.items():
        found = correlations([row[key] for row in known], [row["actual"] for row in known])
        lines.append({"Order by": label, "Subnets": len(known),
                      **{name.capitalize(): f"{value:.3f}" for name, value in found.items()}})
    return lines
