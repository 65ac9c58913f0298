"""Accuracies of subnets in records, by stage, split, subnet and image size.

A row of results names its network twice: "canonical" is the one name of the network, "short" the name
to show. Records made before rows had them are completed by experiment/old_records.py.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from .protocol import Record, Records, Row

# Titles of stages, in the order of a page. They are those of the published recipes, and all that is said of
# single families here. A stage of another name is shown last, under that name.
STAGES = {"fullnet": "Full network", "fullnet65": "Full network, Xception65",
          "kernel": "Elastic kernel", "depth1": "Elastic depth 1", "depth2": "Elastic depth 2",
          "depth": "Elastic depth", "expand1": "Elastic expand ratio 1",
          "expand2": "Elastic expand ratio 2", "width1": "Elastic width 1", "width2": "Elastic width 2",
          "search": "Search: the front found on held-out images",
          "finetune": "Extracted subnet, before and after fine-tuning"}
KINDS = ("train", "evaluate", "search", "finetune")  # the kinds of records with accuracies of subnets


class Key(NamedTuple):
    """What an accuracy belongs to.

    Args:
        stage: Of the recipe; "finetune" for a subnet that was trained alone.
        split: Which images: "test", or "valid" for those held out of training.
        subnet: The network's canonical name.
        when: "before" or "after" fine-tuning, "scratch" for a subnet trained alone from new weights,
            else None.
        image_size: Pixels a side.
    """

    stage: str
    split: str
    subnet: str
    when: Optional[str]
    image_size: int

    @property
    def fixed(self) -> bool:
        """Whether this is a fixed network: the stage that trains one has the network's name."""
        return self.stage == self.subnet


Figures = Dict[Key, Dict[int, Row]]  # {key: {seed: result row}}


def of_recipe(records: Iterable[Record], recipe: str, *kinds: str) -> List[Record]:
    """One recipe's records of these kinds, by stage (fine-tuning last), kind, name and seed."""
    order = list(STAGES)

    def place(record: Record) -> Tuple[int, bool, str, int, str, int]:
        stage = stage_of(record)
        known = stage in order  # others come after the stages that have a title here
        return (order.index(stage if known else "search") - (not known), not known, stage,
                KINDS.index(record["kind"]), record.get("name") or "", record["seed"])

    return sorted((record for record in records
                   if record["recipe"] == recipe and record["kind"] in kinds), key=place)


def stage_of(record: Record) -> str:
    """The stage that a record's results are shown under: its own, or "finetune"."""
    return "finetune" if record["kind"] == "finetune" else str(record["stage"])


def is_fixed(record: Record) -> bool:
    """Whether a record is of a fixed network: its stage, its space and its only subnet have one name."""
    names = {record["space"], *(row["canonical"] for row in record.get("results", []))}
    return record["kind"] != "finetune" and names == {record["stage"]}


def collect(records: Records, recipe: str) -> Figures:
    """The accuracies of one recipe. An evaluation's row replaces that of the training run."""
    figures: Figures = {}
    for record in of_recipe(records, recipe, *KINDS):
        for row in record.get("results", []):
            key = Key(stage_of(record), row["split"], row["canonical"], row.get("when"), row["image_size"])
            figures.setdefault(key, {})[record["seed"]] = row
    return figures


def main_split(figures: Iterable[Key]) -> Optional[str]:
    """The split to quote where only one fits: the test set's if it was evaluated."""
    splits = sorted({key.split for key in figures}, key=lambda split: (split != "test", split))
    return splits[0] if splits else None
