"""What `python -m nnabla_ofa NAME` and runners/NAME.py run: a file a command."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Dict

if TYPE_CHECKING:
    from ..experiment.command import Command

# Name and help; a command's module is imported when it is asked for.
COMMANDS: Dict[str, str] = {
    "train": "train a network, stage after stage",
    "evaluate": "top-1 of subnets on every test image once",
    "predict": "the classes of images, with their probabilities",
    "search": "the most accurate subnets within limits on their cost",
    "finetune": "take one subnet out and train it on, alone",
    "export": "one network as NNP, ONNX or a checkpoint of nnabla-nas",
    "profile": "parameters, MACs and latency of subnets on this device",
    "zoo": "the fixed networks: names, costs, published accuracies",
    "predictor": "learn to predict top-1 from a sample of subnets",
    "rank": "order the subnets of a file",
    "data": "prepare, check and show data sets",
    "tables": "result tables and pictures from records",
}


def command(name: str) -> Command:
    """The command of a name in COMMANDS."""
    return importlib.import_module(f"{__name__}.{name}").COMMAND
