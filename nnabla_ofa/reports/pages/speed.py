"""results/step.md and results/population.md: how fast training and evaluation are.

Records of benchmarks/step.py have a row a contender, of each setting, task and subnet (step_times.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional, Tuple

from ..cells import count
from ..protocol import Cells, Record, Records, Row
from ..selection import by_name
from ..step_times import CONTENDERS, SETTINGS, TORCH, Piece, by_piece, ms, settings_of
from .markdown import benchmark_facts, table
from .population import population_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"step.md": "python benchmarks/step.py", "population.md": "python benchmarks/population.py"}
# How many times as long as ours a contender is to take, by task; of "limit": its share of our time.
GOALS = {"training": {"nnabla-nas": 20, "PyTorch": 1.5, "limit": 0.6},
         "evaluation": {"PyTorch": 1.5, "onnxruntime": 1 / 1.3}}
OVERHEAD = 0.05  # of a step, at most

CONTENDER_NOTES = """\
- **ours**: the fused CPU functions (`--kernels fast`). A training step is the loop's own: dropout drawn,
  graph built, forward, loss with smoothed labels, backward, momentum update; an evaluation, a batch's
  logits of the extracted subnet.
- **NNabla**: the same network on NNabla's own CPU functions (`--kernels nnabla`).
- **nnabla-nas**: the network put together from sony/nnabla-nas's modules as its Xception is (the 0.15.0
  wheel lacks that file): every elastic layer slices its weights, the graph is rebuilt for each batch.
- **PyTorch**: a minimal dynamic Xception41, eager, in NCHW and in channels_last memory format.
- **onnxruntime**: the subnet's weights sliced out, batch normalisation folded, exported to ONNX.
- **limit**: all multiply-adds at the best single-precision matrix product measured beside them, plus, in
  the second figure, the bytes of weights and convolution outputs at the measured copy rate
  (`benchmarks/limit.py` says what is counted). A yardstick: data in cache costs less, depthwise
  convolutions never reach that rate."""


def pages(records: Records) -> Dict[str, str]:
    """{file name: Markdown} of the benchmarks in `records`, {} where there is none."""
    made = {"step.md": step_page(by_name(records, "benchmark_step")),
            "population.md": population_page(by_name(records, "benchmark_population").get("population"))}
    return {name: text for name, text in made.items() if text}


def figures(records: Records) -> Dict[str, Figure]:
    """The pictures that step.md shows."""
    from ..plots.contenders import bars_figure, curves_figure  # here: see pages/__init__.py
    found = by_name(records, "benchmark_step")
    makers = {"step": ("step-bars.png", bars_figure), "curve": ("step-curves.png", curves_figure)}
    return {file: make(found[name]) for name, (file, make) in makers.items() if name in found}


def step_page(found: Dict[str, Record]) -> Optional[str]:
    """The page of benchmarks/step.py from its records by name; None without the table's."""
    if "step" not in found:
        return None
    record = found["step"]
    parts = ["# Training step and evaluation of Xception41", benchmark_facts(record),
             "Median milliseconds of a batch, with the quartiles; contenders took turns. "
             + "; ".join(f"`{name}`: {SETTINGS[name]}" for name in settings_of(record)) + ".",
             times_table(record), CONTENDER_NOTES, "## Ratios",
             "How many times as long as ours a contender takes (limit: the limit's share of our time), "
             "and the goal.", ratio_table(record), "![Milliseconds of a batch by contender](step-bars.png)"]
    if "memory" in found:
        parts += ["## Memory", "Peak resident memory of a process that makes training steps of the largest "
                  "subnet, MiB, all of it counted: interpreter, libraries, weights, momentum.",
                  memory_table(found["memory"])]
    if "curve" in found:
        parts += ["## As work grows", "One training step, from the largest subnet at 128 px, batch 8, full "
                  "width, one thing varied at a time.",
                  "![Milliseconds of a training step as work grows](step-curves.png)",
                  curve_table(found["curve"])]
    if "overhead" in found:
        parts += ["## Overhead", "The training loop on random subnets, one a step: what its parts take "
                  f"beside computing. The goal is\nunder {OVERHEAD:.0%} at full width. Meanwhile a thread "
                  "prepares images, in a core's time ([loader](loader.md)).",
                  overhead_table(found["overhead"])]
    if "ranks" in found:
        parts += ["## Processes or threads", "The same update, of the same images: one process of two "
                  "threads makes two passes, two processes (`mpirun -n 2`) of one thread one each.",
                  ranks_table(found["ranks"])]
    cuda = found.get("step-cudnn")
    parts += ["## GPU", times_table(cuda) if cuda else
              "`python benchmarks/step.py --device cudnn` makes the same table with NNabla's CUDA extension "
              "and PyTorch's mixed precision. It has **not been run**: no machine of ours has a GPU."]
    return "\n\n".join(parts)


# -- tables ----------------------------------------------------------------------------------------

def times_table(record: Record) -> str:
    """A row a piece, a column a contender."""
    pieces = by_piece(record)
    names = list(CONTENDERS)
    names += sorted({n for rows in pieces.values() for n in rows} - {*names, "limit"})
    return table([{**piece_cells(piece, rows), **{name: quartiles(rows.get(name)) for name in names},
                   "limit": limits(rows.get("limit"))} for piece, rows in pieces.items()], left=2)


def piece_cells(piece: Piece, rows: Dict[str, Row]) -> Cells:
    """What a piece is, in cells."""
    first = next(iter(rows.values()))
    return {"Batch": f"{piece.setting}, {piece.task} of {first['batch']}",
            "Subnet": f"{piece.subnet}, `{first['name']}`", "MACs": count(first["macs"])}


def quartiles(row: Optional[Row]) -> str:
    """"265.7 (259.3 to 294.5)" in milliseconds; "-" of None."""
    if row is None:
        return "-"
    return f"**{ms(row['median'])}** ({ms(row['q1'])} to {ms(row['q3'])})"


def limits(row: Optional[Row]) -> str:
    """"163, 205": products alone, with memory."""
    return "-" if row is None else f"{ms(row['flops'])}, {ms(row['median'])}"


def ratios(rows: Dict[str, Row]) -> Dict[str, float]:
    """Contenders' medians over ours; "PyTorch" is the better one of TORCH."""
    ours = rows["ours"]["median"]
    found = {name: row["median"] / ours for name, row in rows.items() if name not in ("ours", *TORCH)}
    torch = [rows[name]["median"] for name in TORCH if name in rows]
    return {**found, **({"PyTorch": min(torch) / ours} if torch else {})}


def ratio_table(record: Record) -> str:
    """A row a piece: ratios, those that miss their goal marked."""
    cells = []
    for piece, rows in by_piece(record).items():
        if "ours" not in rows:
            continue
        found, goals = ratios(rows), GOALS[piece.task] if piece.subnet != "middle" else {}
        goals = {n: goal for n, goal in goals.items() if n != "limit" or piece.setting == "big"}
        row = piece_cells(piece, rows)
        for name, head in (("NNabla", "NNabla"), ("nnabla-nas", "nnabla-nas"),
                           ("PyTorch", "better PyTorch"), ("onnxruntime", "onnxruntime")):
            row[head] = ratio_cell(found.get(name), goals.get(name), "{:.1f}" if head[0] == "n" else "{:.2f}")
        row["limit"] = ratio_cell(found.get("limit"), goals.get("limit"), "{:.0%}")
        cells.append(row)
    return table(cells, left=2)


def ratio_cell(ratio: Optional[float], goal: Optional[float], form: str) -> str:
    """"23.7 (goal 20)", or "18.2 (goal 20, missed)".

    Args:
        ratio: As `ratios` gives it; None where it was not measured.
        goal: The least that is to be reached; None where there is none.
        form: How to write both, for `str.format`.
    """
    if ratio is None:
        return "-"
    if goal is None:
        return form.format(ratio)
    return f"{form.format(ratio)} (goal {form.format(goal)}{', missed' if ratio < goal else ''})"


def memory_table(record: Record) -> str:
    """A row a setting, a column a contender."""
    rows = []
    for setting in settings_of(record):
        peaks = {row["contender"]: row["peak"] for row in record["results"] if row["setting"] == setting}
        rows.append({"Setting": f"{setting}: {SETTINGS[setting]}",
                     **{n: f"{peaks[n] / 2 ** 20:.0f}" if n in peaks else "-" for n in CONTENDERS}})
    return table(rows)


def curve_table(record: Record) -> str:
    """A row a point of the curves: milliseconds of a step."""
    points: Dict[Tuple[str, str], Dict[str, Row]] = {}
    for row in record["results"]:
        points.setdefault((row["axis"], row["value"]), {})[row["contender"]] = row
    rows = []
    for (axis, value), found in points.items():
        first = next(iter(found.values()))
        cells = {n: ms(found[n]["median"]) if n in found else "-"
                 for n in ("ours", "PyTorch channels_last", "limit")}
        ours = found.get("ours")
        rows.append({"Varied": axis, "Value": f"`{value}`", "MACs of a batch":
                     count(first["macs"] * first["batch"]), **cells, "ours, GMAC/s":
                     f"{first['macs'] * first['batch'] / ours['median'] / 1e9:.1f}" if ours else "-"})
    return table(rows, left=2)


def ranks_table(record: Record) -> str:
    """A row a setting and number of processes."""
    return table([{"Setting": f"{row['setting']}: {SETTINGS.get(row['setting'], '')}",
                   "Processes x threads": f"{row['processes']} x {row['threads']}",
                   "Images/s": f"{row['images_per_second']:.1f}",
                   "Update, ms": ms(row["median"]),
                   "of it all-reduce, ms": ms(row["all_reduce"]) if row["processes"] > 1 else "-"}
                  for row in record["results"]])


def overhead_table(record: Record) -> str:
    """A row a part of the training loop, milliseconds and share of a step by setting."""
    lines: Dict[str, Cells] = {}
    for setting in dict.fromkeys(row["setting"] for row in record["results"]):
        parts = {row["part"]: row["median"] for row in record["results"] if row["setting"] == setting}
        step = parts.pop("step")
        cells = {part: f"{ms(seconds)} ({seconds / step:.2%})" for part, seconds in
                 {**parts, "all of these": sum(parts.values())}.items()}
        for part, text in {**cells, "a step": ms(step)}.items():
            lines.setdefault(part, {"Part": part})[f"{setting}: {SETTINGS.get(setting, '')}"] = text
    return table([*lines.values()])
