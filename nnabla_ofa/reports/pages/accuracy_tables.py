"""Tables of accuracies: subnets x image sizes, a table a split, published top-1 beside ours."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence

from ..accuracies import Figures, Key, main_split
from ..cells import accuracy, count
from ..protocol import Cells, Row, Rows
from .markdown import table

FINETUNING = {None: "-", "before": "before", "after": "after", "scratch": "none, from scratch"}  # of `when`
BySize = Dict[int, List[Row]]  # {pixels: one row a seed}


class Line(NamedTuple):
    """What one line of a table is of; see `Key`."""

    subnet: str
    when: Optional[str]


class Column(NamedTuple):
    """Where published figures come from, at one image size in pixels."""

    source: str
    image_size: int


def by_split(found: Figures, published: Rows, title: str = "Subnet") -> List[str]:
    """Paragraphs: of each split how many images it has, and a table.

    Args:
        found: Our accuracies.
        published: Those to show beside ours, in the first table.
        title: Of the first column.
    """
    if not found:
        return [accuracy_table({}, published, title)]
    first, parts = main_split(found), []
    for split in sorted({key.split for key in found}, key=lambda split: (split != first, split)):
        own = {key: list(by_seed.values()) for key, by_seed in found.items() if key.split == split}
        images = sorted({row["images"] for rows in own.values() for row in rows})
        parts += [f"Split `{split}`, {' or '.join(f'{n:,}' for n in images)} images:",
                  accuracy_table(own, published if split == first else (), title)]
    return parts


def accuracy_table(found: Dict[Key, List[Row]], published: Rows, title: str) -> str:
    """One table and, below it, where published figures come from.

    Args:
        found: Our rows of one split, one a seed.
        published: As `read_published` gives them.
        title: Of the first column.
    """
    sources = list(dict.fromkeys(row["source"] for row in published))
    sizes = sorted({*(key.image_size for key in found), *(size for row in published for size in row["top1"])})
    rows = []
    for line, name in lines(found, published).items():
        ours = {size: [row for key, own in found.items() for row in own
                       if (key.subnet, key.when, key.image_size) == (*line, size)] for size in sizes}
        theirs = {Column(row["source"], size): top1 for row in published for size, top1 in row["top1"].items()
                  if (row["canonical"], row["when"]) == line}
        rows.append({title: f"`{name}`", "Fine-tuning": FINETUNING[line.when],
                     **cells(ours, theirs, sources)})
    text = table(rows, left=1 if rows[0]["Fine-tuning"] == "-" else 2)
    notes = "; ".join(f"[{i}] {source}" for i, source in enumerate(sources, 1))
    return f"{text}\n\nPublished figures: {notes}." if notes else text


def lines(found: Dict[Key, List[Row]], published: Rows) -> Dict[Line, str]:
    """{line: name to show}: published subnets first, the lines of one subnet in the order of FINETUNING."""
    names = {Line(row["canonical"], row["when"]): row["short"] for row in published}
    for key, rows in found.items():
        names.setdefault(Line(key.subnet, key.when), rows[0]["short"])
    subnets = [line.subnet for line in names]
    order = sorted(names, key=lambda line: (subnets.index(line.subnet), [*FINETUNING].index(line.when)))
    return {line: names[line] for line in order}


def cells(ours: BySize, theirs: Dict[Column, float], sources: Sequence[str]) -> Cells:
    """The figures of one line: costs, top-1 at each image size, published ones beside it, top-5.

    Args:
        ours: Our rows, by image size.
        theirs: Published top-1.
        sources: Where published figures of any line come from, in the order of their numbers.
    """
    known = next((rows[0] for rows in ours.values() if rows), {})
    found = {"Parameters": count(known.get("parameters"))}
    found.update({f"MACs, {size} px": count(rows[0]["macs"] if rows else None)
                  for size, rows in ours.items()})
    for size, rows in ours.items():
        found[f"Top-1, {size} px"] = accuracy([row["top1"] for row in rows])
        for i, source in enumerate(sources, 1):
            top1 = theirs.get(Column(source, size))
            found[f"published [{i}], {size} px"] = accuracy([] if top1 is None else [top1])
    found.update({f"Top-5, {size} px": accuracy([row["top5"] for row in rows])
                  for size, rows in ours.items()})
    return found
