"""results/loader.md: images a second of the loader and of others (benchmarks/loader.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional

from ..cells import made_on
from ..protocol import Record, Records, Rows, Table
from ..selection import by_name
from .markdown import commands_of, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOAL = 2  # times a plain Pillow loader, for the default back end
NOTES = {
    "opencv": "**opencv**, the default: boxes decoded at 1/2, 1/4 or 1/8 where that fills the target.",
    "pillow": "**pillow**: the same boxes; decoded, cut and resized by Pillow.",
    "dali_cpu": "**dali_cpu**: the same boxes; decoded, cut and resized by DALI's CPU operators.",
    "dali_gpu": "**dali_gpu**: the same boxes; decoded, cut and resized by DALI on a GPU.",
    "plain Pillow": "**plain Pillow**: `Image.open`, crop, `resize`, NumPy; no loader of ours.",
    "plain DALI": "**plain DALI**: a pipeline of DALI's file reader, random crop decoder, `resize` and "
                  "`crop_mirror_normalize`."}
COMMANDS = {"loader.md": "python benchmarks/loader.py FOLDER"}


def pages(records: Records) -> Dict[str, str]:
    """{"loader.md": Markdown}, {} where there is no such record."""
    found = by_name(records, "benchmark_loader")
    return {"loader.md": loader_page(found["loader"], found.get("memory"))} if "loader" in found else {}


def figures(records: Records) -> Dict[str, Figure]:
    """No picture belongs to this page."""
    return {}


def loader_page(record: Record, memory: Optional[Record] = None) -> str:
    """The whole page: machine, one table a task and size, what the contenders are."""
    settings, rows = record["settings"], record["results"]
    jobs = dict.fromkeys((row["task"], row["image_size"]) for row in rows)
    parts = [
        "# Loader: images a second on one core",
        f"{made_on(record)}; commit `{record['commit']}`, {record['date']}.\n\n{commands_of([record])}",
        f"{settings['photographs']} photographs (JPEG, {settings['mean_bytes'] / 1000:.0f} kB on average, "
        f"in the page cache) made into normalised float32 batches of {settings['batch']}. Each contender "
        "is a process\nheld to one core; they take turns, and the median (and quartiles) of "
        f"{rows[0]['rounds']} passes counts. Training is a random\nresized crop and a flip; evaluation is "
        "the short side to 256/224 of the size and the centre."]
    for task, size in jobs:
        parts += [f"## {task.capitalize()} at {size} pixels",
                  table(cells([row for row in rows if (row["task"], row["image_size"]) == (task, size)]))]
    parts += ["## Columns", "\n".join(f"- {note}" for name, note in NOTES.items()
                                     if name in {row["contender"] for row in rows}),
              "Difference is the mean over all pixels of |image - image of `opencv`|, in levels of 255: all "
              "back ends look\nat the same box; `opencv` takes bilinear samples, or means from a factor of 2 "
              "on, of an image decoded at\na fraction, the others filter wider."]
    if memory:
        parts += ["## Memory", f"Peak resident size of the process, training at {image_size(memory)} pixels "
                  "with one worker, interpreter and libraries\nincluded; and what each further worker, a "
                  f"decoding thread, adds (mean of {settings['more_workers'] - 1}).",
                  table(memory_cells(memory)), commands_of([memory])]
    if not any(row["contender"] == "dali_gpu" for row in rows):
        parts.append("`dali_gpu` has **not been run**: no machine of ours has a GPU.")
    return "\n\n".join(parts)


def image_size(record: Record) -> int:
    """The image size of a record that has only one."""
    return record["results"][0]["image_size"]


def memory_cells(record: Record) -> Table:
    """A row a contender."""
    more = record["settings"]["more_workers"] - 1
    return [{"Contender": row["contender"], "MiB": f"{row['peak'] / 2 ** 20:.0f}",
             "a further worker": f"{(row['peak_more'] - row['peak']) / more / 2 ** 20:.0f}"
                                 if "peak_more" in row else "-"} for row in record["results"]]


def cells(rows: Rows) -> Table:
    """A row a contender."""
    speed = {row["contender"]: row["images_per_second"] for row in rows}
    found = []
    for row in rows:
        name, ratio = row["contender"], row["images_per_second"] / speed["plain Pillow"]
        goal = f" (goal {GOAL}{', missed' if ratio < GOAL else ''})" if name == "opencv" else ""
        found.append({
            "Contender": name,
            "Images/s": f"**{row['images_per_second']:,.0f}** ({row['q1']:,.0f} to {row['q3']:,.0f})",
            "x plain Pillow": f"{ratio:.2f}{goal}",
            "Difference": f"{row['difference']:.2f}" if "difference" in row else "-"})
    return found
