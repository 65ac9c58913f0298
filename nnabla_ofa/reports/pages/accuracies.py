"""What the pages of recipes show: our figures by stage, subnet and image size; published ones."""

from __future__ import annotations

import csv
from typing import Dict, Iterable, List, NamedTuple, Optional

from ...errors import OfaError
from ...nets.elastic.xception import parse_arch

STAGES = {"fullnet": "Full network", "fullnet65": "Full network, Xception65",
          "kernel": "Elastic kernel", "depth1": "Elastic depth 1", "depth2": "Elastic depth 2",
          "expand1": "Elastic expand ratio 1", "expand2": "Elastic expand ratio 2",
          "search": "Search: the front found on held-out images",
          "finetune": "Extracted subnet, before and after fine-tuning"}
KINDS = ("train", "evaluate", "search", "finetune")  # the kinds of records with accuracies of subnets
PUBLISHED_KEYS = ("source", "stage", "space", "subnet", "epochs", "train_hours_4xV100")
_FINETUNING = {"extracted": "before", "finetuned": "after"}  # as the published file calls it


class Key(NamedTuple):
    """What an accuracy belongs to; `when` is "before" or "after" fine-tuning, "scratch" of a
    subnet trained alone from new weights, else None."""

    stage: str
    split: str
    subnet: str  # canonical
    when: Optional[str]
    image_size: int  # pixels


def read_published(path) -> List[dict]:
    """Rows of the published figures: PUBLISHED_KEYS, "when", "top1": {image size: fraction}."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        missing = [key for key in PUBLISHED_KEYS if row.get(key) is None]
        if missing:
            raise OfaError(f"published figures {path}: a row misses {', '.join(missing)}; "
                           "restore the file from git")
        row["top1"] = {int(key[len("top1_"):]): float(value) for key, value in row.items()
                       if key.startswith("top1_") and value}
        row["when"] = _FINETUNING.get(row["stage"])
        row["stage"] = "finetune" if row["when"] else row["stage"]
    return rows


def of_recipe(records: Iterable[dict], recipe: str, *kinds: str) -> List[dict]:
    """One recipe's records of these kinds, by stage (fine-tuning last), kind, name and seed."""
    order = list(STAGES)

    def place(record):
        stage = stage_of(record)
        known = stage in order  # others come after the stages that have a heading here
        return (order.index(stage if known else "search") - (not known), not known, stage,
                KINDS.index(record["kind"]), record.get("name") or "", record["seed"])

    return sorted((record for record in records
                   if record["recipe"] == recipe and record["kind"] in kinds), key=place)


def stage_of(record: dict) -> str:
    """The heading a record's results go under: its stage, or "finetune"."""
    return "finetune" if record["kind"] == "finetune" else str(record["stage"])


def collect(records: Iterable[dict], recipe: str) -> Dict[Key, Dict[int, dict]]:
    """{key: {seed: result row}} of one recipe; an evaluate run's row replaces the train run's."""
    figures: Dict[Key, Dict[int, dict]] = {}
    for record in of_recipe(records, recipe, *KINDS):
        for row in record.get("results", []):
            key = Key(stage_of(record), row["split"], canonical(row["subnet"]), row.get("when"),
                      row["image_size"])
            figures.setdefault(key, {})[record["seed"]] = row
    return figures


def main_split(figures: Iterable[Key]) -> Optional[str]:
    """The split to quote where only one fits: the test set's if it was evaluated."""
    splits = sorted({key.split for key in figures}, key=lambda split: (split != "test", split))
    return splits[0] if splits else None


def canonical(subnet: str) -> str:
    """One text for one network, so that names match; a name that is not Xception's stays itself."""
    try:
        return str(parse_arch(subnet).canonical())
    except OfaError:
        return subnet
