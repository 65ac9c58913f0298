"""One self-contained HTML page a search: what was asked, pictures, the front, what to do with it.

The page is a function of the search's record and of pictures as PNG. Style and pictures are inside it, there
are no scripts, and its content security policy lets no browser fetch anything else: it can be mailed,
archived and opened offline. Its template is templates/search.html. Jinja2 escapes all that is filled in.
"""

from __future__ import annotations

import base64
import shlex
from typing import Dict, List, Mapping, NamedTuple, Protocol, Sequence
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..nets import Arch, Space
from ..system.record_rules import UNITS
from .cells import count, duration, file_size, made_on
from .protocol import Record, Row

# What the table of the front shows of a row: {key: (title, how to write it)}.
COLUMNS = {"macs": ("MACs", count), "parameters": ("Parameters", count),
           "latency_ms": ("Latency, ms", "{:.3g}".format), "float32_bytes": ("File", file_size),
           "valid_top1": ("Top-1, held-out", "{:.2%}".format), "top1": ("Top-1, test", "{:.2%}".format)}
# Of an int8 network, beside the same of float32.
INT8 = {"float32_bytes": "int8_bytes", "valid_top1": "int8_valid_top1", "top1": "int8_top1"}


class Shown(NamedTuple):
    """A subnet of the front as the page shows it: its name, its figures, its command lines."""

    name: str
    cells: List[str]
    commands: str


class File(NamedTuple):
    """A file of the chosen subnet as the page links to it: what it is, where, the link, how large."""

    what: str
    path: str
    link: str
    size: str


def page(record: Record, pictures: Mapping[str, bytes]) -> str:
    """The HTML page.

    Args:
        record: A search's, as commands/search.py makes it.
        pictures: {caption: PNG}.
    """
    asked, rows = record["search"], record["results"]
    columns = [key for key in COLUMNS if key in rows[0]]
    limits = limits_text(asked)
    environment = Environment(loader=PackageLoader("nnabla_ofa.reports"), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    return environment.get_template("search.html").render(
        title=f"Search of {record['recipe']}, {limits}", record=record, asked=asked, limits=limits,
        objective=UNITS[asked["objective"]], titles=[title(key, rows[0]) for key in columns],
        subnets=[Shown(row["subnet"], [cell(key, row) for key in columns], commands(number, row, asked))
                 for number, row in enumerate(rows, 1)],
        files=[File(what, file["path"], quote(file["path"]), file_size(file["bytes"]))
               for what, file in record.get("files", {}).items()], latency=latency_text(asked),
        pictures={caption: base64.b64encode(data).decode() for caption, data in pictures.items()},
        time=duration(record["seconds"]), made_on=made_on(record))


def title(key: str, row: Row) -> str:
    """The title of the column of a key of COLUMNS; it says where two figures stand in it."""
    return COLUMNS[key][0] + ", float32 / int8" * (INT8.get(key) in row)


def cell(key: str, row: Row) -> str:
    """A figure of a row, and that of the int8 network where it was measured."""
    text = COLUMNS[key][1]
    return " / ".join(text(row[own]) for own in (key, INT8.get(key)) if own in row)


class Tried(Protocol):
    """A subnet that a search tried, as `search.problem.Found`."""

    @property
    def arch(self) -> Arch:
        """The subnet."""

    @property
    def costs(self) -> Mapping[str, float]:
        """Its costs, by their name in a record's rows."""

    @property
    def top1(self) -> float:
        """Its accuracy, measured or predicted, in 0..1."""

    @property
    def generation(self) -> int:
        """0 where it was drawn at random, else how many times the search had bred before it."""


def pictures(asked: Row, space: Space, found: Sequence[Tried], front: Sequence[Tried],
             by_hand: Sequence[Tried]) -> Dict[str, bytes]:
    """The pictures of a search.

    Args:
        asked: The record's "search".
        space: What was searched.
        found: All that it tried.
        front: Those that no other one beats.
        by_hand: Subnets to show beside them.

    Returns:
        {caption: PNG}.
    """
    from .plots.fronts import choices_figure, front_figure  # here: matplotlib takes a second to import
    from .plots.style import png
    cost = asked["objective"]
    tried = {"random": [one for one in found if one.generation == 0],
             "bred": [one for one in found if one.generation > 0], "validated by hand": by_hand}
    points = {label: [(one.costs[cost], one.top1) for one in some]
              for label, some in {**tried, "front": front}.items() if some}
    lines = {"front": [points.pop("front")]}
    chosen = [list(map(str, one.arch.blocks)) for one in front]
    choices = [list(map(str, block.distinct())) for block in space.blocks]
    source = "predicted" if asked["predictor"] else "held-out images" + ", int8" * ("int8" in asked)
    return {
        "Top-1 against cost: the front, all that was tried on the way, and the recipe's hand-made subnets":
            png(front_figure(lines, points, cost, source)),
        "How many subnets of the front make each choice, block by block":
            png(choices_figure(chosen, choices))}


def limits_text(asked: Row) -> str:
    """The limits in words: "at most 30M MACs and 5 ms of latency", or "no limits"."""
    parts = [f"{count(limit) if name != 'latency_ms' else format(limit, 'g')} {UNITS[name]}"
             for name, limit in asked["limits"].items()]
    return f"at most {' and '.join(parts)}" if parts else "no limits"


def latency_text(asked: Row) -> str:
    """Whose latency it is: "onnxruntime 1.19.2, int8, 1 thread of AMD EPYC"; "" where none is said."""
    setting = asked.get("latency_setting")
    if not setting:
        return ""
    threads = f"{setting['threads']} thread{'s' * (setting['threads'] > 1)}"
    runtime = setting["kernels"] if setting["runtime"] == "onnxruntime" else "NNabla"
    return f"{runtime}, {setting['precision']}, {threads} of {setting['processor']}"


def int8_arguments(asked: Row) -> str:
    """What makes an export the int8 file that the search judged; "" where it judged none."""
    if "int8" not in asked:
        return ""
    return f" --int8 --calibrate {asked['int8']['calibrate']} --calibration-images {asked['int8']['images']}"


def commands(number: int, row: Row, asked: Row) -> str:
    """Command lines that evaluate, fine-tune and export one subnet of the front.

    Args:
        number: Its place in the front, from 1.
        row: Its row in the record.
        asked: The record's "search".
    """
    chosen = f"--weights {shlex.quote(asked['weights'])} --subnet {shlex.quote(row['subnet'])}"
    return "\n".join([
        f"python runners/evaluate.py {chosen} --image-size {asked['image_size']}",
        f"python runners/finetune.py {chosen} --save subnet-{number}.h5",
        f"python runners/export.py {chosen} --image-size {asked['image_size']} "
        f"--format onnx --output subnet-{number}.onnx"
        + int8_arguments(asked)])
