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
from ..published import RECIPE as PUBLISHED_RECIPE
from ..published import published_rows
from .markdown import table

RECIPE = "xception_cifar10"
MARKERS = ("<!-- results: made by runners/tables.py -->", "<!-- /results -->")
SOURCE, PUBLISHED_SIZE = "nnabla-nas README", 224  # of the published figures
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
    """The table: what the recipe's networks reach on the test images of its largest size.

    None without records of the recipe.
    """
    figures = {key: rows for key, rows in collect(records, RECIPE).items() if key.split == "test"}
    if not figures:
        return None
    size = max(key.image_size for key in figures)
    theirs = {(row["stage"], row["canonical"], row["when"]): row["top1"].get(PUBLISHED_SIZE)
              for row in published_rows(records, PUBLISHED_RECIPE) if row["source"] == SOURCE}
    lines = []
    for name, key in chosen([key for key in figures if key.image_size == size], figures):
        rows = list(figures[key].values())
        published = theirs.get((key.stage, key.subnet, key.when))
        lines.append({"Network": name, "Parameters": count(rows[0]["parameters"]),
                      "MACs": count(rows[0]["macs"]),
                      f"Top-1, CIFAR-10 at {size} px": accuracy([row["top1"] for row in rows]),
                      "published, ImageNet": accuracy([published] if published else [])})
    trained = of_recipe(records, RECIPE, "train")
    hours = sum(record["seconds"] for record in trained) / 3600
    cores = distinct(record["machine"]["cores"] for record in trained)
    return "\n\n".join([
        table(lines), f"Trained here in {hours:.1f} hours on {cores} CPU cores. The last column is the "
        "[published run](results/xception_imagenet.md) of the same\nspace on ImageNet at full width "
        f"({PUBLISHED_SIZE} pixels, {SOURCE}), which we have not repeated.",
        f"[![Top-1 against MACs](results/{RECIPE}-accuracy-macs.png)](results/{RECIPE}.md)"])


def chosen(keys: Sequence[Key], figures: Figures) -> List[Tuple[str, Key]]:
    """The six networks to show: the full one, the supernet's ends, the middle of the front, one trained on.

    Args:
        keys: To choose from.
        figures: Whose keys they are.

    Returns:
        (what to call it, key) each. A network that has several names is there once, under the first.
    """
    macs = {key: next(iter(figures[key].values()))["macs"] for key in keys}

    def of(stage: str) -> List[Key]:  # by MACs
        return sorted((key for key in keys if key.stage == stage), key=lambda key: macs[key])

    last = max((key.stage for key in keys if key.stage in SHRINKING), key=SHRINKING.index, default="")
    found = [("Full network, trained alone", key) for key in of(SHRINKING[0])[-1:]]
    if last != SHRINKING[0]:
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
        once.setdefault((key.subnet, key.stage == SHRINKING[0], key.when or "before"), (name, key))
    return list(once.values())
