"""results/reliability.md: kills, damaged files, a full disk; what was tried, how often, what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

from ..cells import duration
from ..protocol import Record, Records
from .markdown import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"reliability.md": "python scripts/reliability"}


def pages(records: Records) -> Dict[str, str]:
    """{"reliability.md": Markdown of the records of scripts/reliability}, {} where there is none."""
    own = [r for r in records if (r["kind"], r["recipe"]) == ("reliability", "reliability")]
    if not own:
        return {}
    rows = [{"What was tried": row["what"], "Times": row["times"],
             "What came of it": "; ".join(f"{n} {label}" for label, n in row["came_out"].items()),
             "Lost": row["lost"]} for record in own for row in record["results"]]
    parts = ["# Reliability", _NOTE, table(rows), *[kills(r) for r in own if "kills" in r], made_by(own)]
    return {"reliability.md": "\n\n".join(parts)}


def figures(records: Records) -> Dict[str, Figure]:
    """No picture belongs to this page."""
    return {}


_NOTE = """*Lost* counts what must not be: training state that differs or is gone, a crash in place of
an error message, damage that goes unnoticed in a file with a checksum, a failed test. *Caught* is one
error in one line that names the file. *Unnoticed* is damage that still reads as something: text
(recipes, lists, records) says what it says, and WebP and BMP pixels, most single bits of a JPEG, and
the files of nnabla-nas carry no checksum. A recipe that changed between two commands is refused all
the same, and records are in git."""


def kills(record: Record) -> str:
    """A row a kill, and what was compared afterwards."""
    compared = record["compared"]
    rows = [{"Killed": kill["killed"], "Last thing it did (stage, epoch, step)": kill["after"],
             "Left behind": "half a checkpoint" if kill["half_written"] else "-",
             "Stage ends with the same bits": "yes" if kill["equal"] else "NO"}
            for kill in record["kills"]]
    ranks = f"{record['ranks']} rank" + ("s" if record["ranks"] > 1 else "")
    return (f"## Kills, {ranks}\n\n{table(rows, left=4)}\n\nCompared with a run left alone: "
            f"{compared['files']} files ({compared['arrays']:,} arrays: parameters, BN statistics,\n"
            f"optimiser state) bit for bit, and of {compared['updates']:,} updates and "
            f"{compared['passes']:,} passes the subnets, image size,\nlearning rate, images, labels, "
            "dropout and loss, each time they were computed.")


def made_by(own: Records) -> str:
    """A row a record: command, commit, machine."""
    rows = [{"Command": f"`{record['command']}`", "Time": duration(record["seconds"]),
             "Date": record["date"], "Commit": f"`{record['commit']}`" if record["commit"] else "none",
             "Versions": ", ".join(f"{k} {v}" for k, v in sorted(record["versions"].items())),
             "Machine": f"{record['machine']['cpu']}, {record['machine']['cores']} cores"} for record in own]
    return "## Commands\n\n" + table(rows, left=6)
