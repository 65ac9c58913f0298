"""results/step.md and results/population.md: how fast training and evaluation are.

Records of benchmarks/step.py have a row a contender, of each setting, task and subnet (step_times.py).
Machines stand side by side; what only one was measured for has a section of its own.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Callable, Dict, List, Optional

from ..protocol import Record, Records
from ..selection import by_name
from ..step_times import SETTINGS, by_machine, settings_of, slug
from .markdown import benchmark_facts
from .population import population_page
from .step_tables import (
    FULL_WIDTH_LIMIT,
    GOALS,
    ZOO,
    ZOO_LEAST,
    curve_table,
    memory_table,
    overhead_table,
    ranks_table,
    side_by_side,
    stage_table,
    times_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"step.md": "python benchmarks/step.py", "population.md": "python benchmarks/population.py"}
OVERHEAD, SMALL_OVERHEAD = 0.05, 0.08  # of a step, at most: at full width, of images as small as CIFAR's

CONTENDER_NOTES = """\
- **ours**: the fused CPU functions (`--kernels fast`). A training step is the loop's own: dropout drawn,
  graph built, forward, loss with smoothed labels, backward, momentum update; an evaluation, a batch's
  logits of the extracted subnet.
- **PyTorch**: the very same network, eager: a zoo's definition run over PyTorch's functions, a supernet's
  layers with sliced weights as elastic networks on PyTorch have them; evaluations are of the subnet alone.
  In NCHW; in channels_last memory format; and where the CPU multiplies bfloat16 numbers, in channels_last
  under autocast, which computes less exactly than we do. "Better" is the fastest of these. Records of
  before December 2026 have a dynamic Xception41 written by hand, which slices in evaluations, too.
- **onnxruntime**: the subnet alone, batch normalisation folded, exported to ONNX.
- **limit**: all multiply-adds at the best single-precision matrix product measured beside them, plus, in
  the second figure, the bytes of weights and convolution outputs at the measured copy rate
  (`benchmarks/limit.py` says what is counted). A yardstick: data in cache costs less, depthwise
  convolutions never reach that rate, and Winograd's 3x3 convolutions need fewer multiply-adds.
- **NNabla**: the same network on NNabla's own CPU functions (`--kernels nnabla`); Xception alone.
- **nnabla-nas**: the network put together from sony/nnabla-nas's modules as its Xception is (the 0.15.0
  wheel lacks that file): every elastic layer slices its weights, the graph is rebuilt for each batch."""
GOAL_NOTES = (
    "How many times as long as ours a contender takes, and the limit's share of our time. Goals, of the "
    f"largest and the smallest subnets: a training step takes PyTorch {GOALS['training']['PyTorch']:g} times "
    f"as long, its limit is {FULL_WIDTH_LIMIT:.0%} of our time at full width and "
    f"{GOALS['training']['limit']:.0%} at CIFAR's size; an evaluation takes onnxruntime as long.")
ZOO_NOTES = (
    "Training steps of 64 images of 32 px. Goals: the geometric mean of the better PyTorch's times over ours "
    f"{ZOO:.1f} or more, no network below {ZOO_LEAST:g}.")
MEMORY_NOTES = (
    "Peak resident memory of a process that makes training steps, of a supernet's largest subnet, MiB, all "
    "of it counted: interpreter, libraries, weights, momentum. The goal: no more than PyTorch's.")
CURVE_NOTES = (
    "One training step, from Xception's largest subnet at 128 px, batch 8, full width, one thing varied at a "
    "time.")
OVERHEAD_NOTES = (
    "The training loop on random subnets, one a step: what its parts take beside computing. The goal is\n"
    f"under {OVERHEAD:.0%} at full width, {SMALL_OVERHEAD:.0%} at CIFAR's size. Meanwhile a thread prepares "
    "images, in a core's time ([loader](loader.md)).")
RANKS_NOTES = (
    "The same update, of the same images: one process of two threads makes two passes, two processes "
    "(`mpirun -n 2`) of one thread one each.")
STAGE_NOTES = (
    "The full network's stage of a recipe (`benchmarks/stage.py`), images read and augmented as it trains; "
    "images a second of its last epoch.")
NO_GPU = (
    "`make gpu` makes the same table with NNabla's CUDA extension and PyTorch's mixed precision. It has "
    "**not been run**: no machine of ours has a GPU.")


def pages(records: Records) -> Dict[str, str]:
    """{file name: Markdown} of the benchmarks in `records`, {} where there is none."""
    made = {"step.md": step_page(records),
            "population.md": population_page(by_name(records, "benchmark_population").get("population"))}
    return {name: text for name, text in made.items() if text}


def figures(records: Records) -> Dict[str, Figure]:
    """The pictures that step.md shows."""
    from ..plots.contenders import bars_figure, curves_figure  # here: see pages/__init__.py
    makers = {"step": ("step-bars", bars_figure), "curve": ("step-curves", curves_figure)}
    return {f"{name}-{slug(where)}.png": make(record) for kind, (name, make) in makers.items()
            for where, record in by_machine(records, kind).items()}


def step_page(records: Records) -> Optional[str]:
    """The page of benchmarks/step.py; None without the table's records."""
    steps = by_machine(records, "step")
    if not steps:
        return None
    parts = ["# Training step and evaluation", *supernets(steps), *zoo(steps),
             "## What is compared", CONTENDER_NOTES, *all_times(steps),
             *section("Memory", MEMORY_NOTES, by_machine(records, "memory"), memory_table),
             *section("As work grows", CURVE_NOTES, by_machine(records, "curve"), curve_table, "step-curves"),
             *section("Overhead", OVERHEAD_NOTES, by_machine(records, "overhead"), overhead_table),
             *section("Processes or threads", RANKS_NOTES, by_machine(records, "ranks"), ranks_table)]
    parts += section("A stage of training", STAGE_NOTES, by_machine(records, "stage"), stage_table)
    cuda = by_machine(records, "step-cudnn")
    tables = [f"{benchmark_facts(record)}\n\n{times_table(record)}" for record in cuda.values()]
    return "\n\n".join([*parts, "## GPU", *(tables or [NO_GPU])])


def supernets(steps: Dict[str, Record]) -> List[str]:
    """The machines side by side, of the elastic families."""
    text = side_by_side(steps)
    shown = dict.fromkeys(name for record in steps.values() for name in settings_of(record) if name != "zoo")
    named = "; ".join(f"`{name}`: {SETTINGS[name]}" for name in shown)
    return [f"Medians; contenders took turns. {named}.", machines(steps), GOAL_NOTES, text] if text else []


def machines(steps: Dict[str, Record]) -> str:
    """A line a machine: CPU, cores, and the rates of the limit, medians over the pieces."""
    lines = []
    for where, record in steps.items():
        limits = [row for row in record["results"] if row["contender"] == "limit" and "gflops" in row]
        rates = (f", {median(row['gflops'] for row in limits):.0f} GFLOP/s of matrix products, "
                 f"{median(row['gbytes'] for row in limits):.0f} GB/s of copies") if limits else ""
        lines.append(f"- **{where}**: {record['machine']['cpu']}, {record['machine']['cores']} cores{rates}")
    return "\n".join(lines)


def zoo(steps: Dict[str, Record]) -> List[str]:
    """The machines side by side, of the zoo's networks."""
    text = side_by_side(steps, zoo=True)
    return ["## The zoo", ZOO_NOTES, text] if text else []


def all_times(steps: Dict[str, Record]) -> List[str]:
    """Every contender's times, a section a machine."""
    parts = []
    for where, record in steps.items():
        parts += [f"## Times, {where}", benchmark_facts(record),
                  "Median milliseconds of a batch, with the quartiles.", times_table(record),
                  f"![Milliseconds of a batch by contender, {where}](step-bars-{slug(where)}.png)"]
    return parts


def section(title: str, notes: str, found: Dict[str, Record], made: Callable[[Record], str],
            picture: str = "") -> List[str]:
    """A section with a table a machine; [] where none was measured.

    Args:
        title, notes: What stands above them.
        found: {where: record}.
        made: The table of one record.
        picture: What the name of each machine's picture begins with; "": there is none.
    """
    parts = [f"## {title}", notes] if found else []
    for where, record in found.items():
        parts.append(f"**{where}**, {record['machine']['cpu']}, {record['date']}:")
        if picture:
            parts.append(f"![{title}, {where}]({picture}-{slug(where)}.png)")
        parts.append(made(record))
    return parts
