"""The table on README's first screen: accuracy against MACs of one trained supernet's networks.

README.md holds it between two comment lines, MARKERS. So it is regenerated, and checked, like the pages of
results/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

from ..accuracies import STAGES, Figures, Key, collect, of_recipe
from ..cells import accuracy, count, distinct
from ..protocol import Records
from . import side_by_side
from .markdown import table

RECIPES = ("wide_resnet20_cifar10", "xception_cifar10")  # the first one whose supernet was trained
MARKERS = ("<!-- results: made by runners/tables.py -->", "<!-- /results -->")
SHRINKING = tuple(stage for stage in STAGES if stage not in ("fullnet65", "search", "finetune"))
ALONE = {"after": "fine-tuned", "scratch": "trained from scratch in as many epochs"}  # of "when"


def readme(path: Union[str, Path], records: Records) -> Dict[str, str]:
    """{"../README.md": the text of the file at `path` with the table anew}; {} where it has none."""
    text = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""
    new = block(records)
    if new is None or not all(marker in text for marker in MARKERS):
        return {}
    before, rest = text.split(MARKERS[0], 1)
    after = rest.split(MARKERS[1], 1)[1]
    return {"../README.md": "\n".join([before + MARKERS[0], new, MARKERS[1] + after])}


def block(records: Records) -> Optional[str]:
    """The table of what a recipe's networks reach on test images of its largest size, and the picture of all.

    None without records of one of the recipes.
    """
    recipe = next((name for name in RECIPES if len(of_recipe(records, name, "train")) > 1), RECIPES[-1])
    figures = {key: rows for key, rows in collect(records, recipe).items() if key.split == "test"}
    if not figures:
        return None
    size, stages = max(key.image_size for key in figures), order(records, recipe)
    lines = []
    for name, key in chosen([key for key in figures if key.image_size == size], figures, stages):
        rows = list(figures[key].values())
        lines.append({"Network": name, "Parameters": count(rows[0]["parameters"]),
                      "MACs": count(rows[0]["macs"]),
                      "Top-1, test images of CIFAR-10": accuracy([row["top1"] for row in rows])})
    trained = of_recipe(records, recipe, "train")
    hours = sum(record["seconds"] for record in trained) / 3600
    cores = distinct(record["machine"]["cores"] for record in trained)
    return "\n\n".join([
        table(lines), f"All of [`{recipe}`](results/{recipe}.md), trained on CIFAR-10 in {hours:.1f} hours "
        f"on {cores} CPU cores.\nThe picture has every network that was trained on it here.",
        f"[![Top-1 against MACs]({side_by_side.PICTURE_IN_RESULTS})](results/{side_by_side.DATA}.md)"])


def order(records: Records, recipe: str) -> Tuple[str, ...]:
    """The stages of a recipe that were trained, the full network's first, the whole supernet's last."""
    trained = [record["stage"] for record in of_recipe(records, recipe, "train")]
    named = [stage["name"] for record in of_recipe(records, recipe, "train")
             for stage in record["settings"].get("stages", ())]
    return tuple(dict.fromkeys(stage for stage in named if stage in trained)) or SHRINKING


def chosen(keys: Sequence[Key], figures: Figures, stages: Sequence[str]) -> List[Tuple[str, Key]]:
    """The six networks to show: the full one, the supernet's ends, the middle of the front, one trained on.

    Args:
        keys: To choose from.
        figures: Whose keys they are.
        stages: In their order, the full network's first.

    Returns:
        (what to call it, key) each. A network that has several names is there once, under the first.
    """
    macs = {key: next(iter(figures[key].values()))["macs"] for key in keys}

    def of(stage: str) -> List[Key]:  # by MACs
        return sorted((key for key in keys if key.stage == stage), key=lambda key: macs[key])

    last = max((key.stage for key in keys if key.stage in stages), key=stages.index, default="")
    found = [("Full network, trained alone", key) for key in of(stages[0])[-1:]]
    if last != stages[0]:
        found += [("The same inside the supernet", key) for key in of(last)[-1:]]
        found += [("Smallest inside the supernet", key) for key in of(last)[:1]]
    front = of("search")
    found += [("Found by search", key) for key in front[len(front) // 2:][:1]]
    smallest = [key for key in of("finetune") if macs[key] == macs[of("finetune")[0]]]
    found += [(f"Extracted, {text}", key) for when, text in ALONE.items() for key in smallest
              if key.when == when]
    # A subnet in the supernet, in the front and as extracted is one network.
    once: Dict[Tuple[str, bool, str], Tuple[str, Key]] = {}
    for name, key in found:
        once.setdefault((key.subnet, key.stage == stages[0], key.when or "before"), (name, key))
    return list(once.values())
