"""results/deploy.md: networks where they are deployed, in float32 and int8 (benchmarks/deploy.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Tuple

from ..cells import count, file_size
from ..protocol import Cells, Record, Records, Row
from ..selection import by_name
from .markdown import benchmark_facts, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"deploy.md": "python benchmarks/deploy.py"}
RECIPE, PICTURE = "benchmark_deploy", "deploy-fronts.png"
# Of each front: which of a row's figures it is of.
FRONTS = {"float32": ("valid_top1", "top1"), "int8": ("int8_valid_top1", "int8_top1"),
          "float32, quantised": ("int8_valid_top1", "int8_top1")}


def pages(records: Records) -> Dict[str, str]:
    """{"deploy.md": Markdown}, {} where there is no record."""
    found = by_name(records, RECIPE)
    makers = {"networks": networks, "tables": tables, "fronts": fronts}
    parts = [maker(found[name]) for name, maker in makers.items() if name in found]
    return {"deploy.md": "\n\n".join(["# Where networks are deployed", *parts])} if parts else {}


def networks(record: Record) -> str:
    """A row a network: accuracy, bytes, and times."""
    rows = [{"Network": f"`{row['network']}`", "Pixels": row["image_size"], "MACs": count(row["macs"]),
             "Top-1, float32": percent(row, "top1"), "Top-1, int8": percent(row, "int8_top1"),
             "File, float32": file_size(row["float32_bytes"]), "File, int8": file_size(row["int8_bytes"]),
             **times(row, 1), **times(row, 2)} for row in record["results"]]
    return "\n\n".join([
        "## Networks", benchmark_facts(record),
        "The largest subnet of each space, or a fixed network; milliseconds of one image, the median of "
        f"{record['settings']['rounds']} calls. Ours\nare the fused CPU functions, ORT is onnxruntime; 1 and "
        "2 are threads. Networks with a top-1 were trained here for\nminutes and judged on all test images, "
        "both files by onnxruntime; the others have new weights, so that only their\nbytes and times say "
        "something.",
        table(rows)])


def times(row: Row, threads: int) -> Cells:
    """Milliseconds of each runtime and precision."""
    return {f"{title}, ms, {threads}": f"{row[f'{key}_ms_{threads}']:.3g}"
            for key, title in (("ours", "Ours"), ("float32", "ORT float32"), ("int8", "ORT int8"))}


def percent(row: Row, key: str) -> str:
    """A top-1; "-" where it was not measured."""
    return f"{row[key]:.2%}" if key in row else "-"


def tables(record: Record) -> str:
    """A row a latency table: how well its sums predict."""
    rows = [{"Space": f"`{row['space']}`", "Precision": row["precision"], "Pixels": row["image_size"],
             "Threads": row["threads"],
             f"Operations (each a {row['unit']})": row["operations"], "Other networks": row["count"],
             "Their ms": f"{row['fastest_ms']:.3g} to {row['slowest_ms']:.3g}",
             "Mean relative error": f"{row['mean_relative_error']:.1%}",
             "Kendall tau": f"{row['kendall_tau']:.3f}", "Noise": f"{row['slowdown']:.0%}"}
            for row in record["results"]]
    return "\n\n".join([
        "## Latency tables of onnxruntime", benchmark_facts(record),
        "The sum of a subnet's operations in a table against the whole exported network; none of these "
        "networks built the\ntable. Noise is how far a reference operation's median was above its fastest "
        "call (quiet: up to 10%).", table(rows)])


def fronts(record: Record) -> str:
    """A row a subnet of a front, and the picture."""
    rows = [{"Front of": row["front"], "Subnet": f"`{row['subnet']}`", "ms": f"{row['latency_ms']:.3g}",
             "Held-out top-1": f"{row[FRONTS[row['front']][0]]:.2%}",
             "Test top-1": f"{row[FRONTS[row['front']][1]]:.2%}", "File": front_file(row)}
            for row in record["results"]]
    asked = record["settings"]
    return "\n\n".join([
        "## Searched for float32 and for int8", benchmark_facts(record),
        f"Two searches of one supernet (recipe `{asked['recipe']}`, `{asked['space']}`, "
        f"{asked['image_size']} pixels), {asked['count']} subnets each, for\nmost top-1 at least ms "
        "in onnxruntime on one thread. The first judges float32 networks by a latency table of\nfloat32; the "
        "second judges each as the int8 file that it becomes, by one of int8. "
        f"\"float32, quantised\" are\nthe first one's subnets as int8 files. Chosen on "
        f"{asked['held_out_images']:,} held-out images; ranges by {asked['int8']['calibrate']} from "
        f"{asked['int8']['images']} calibration images.", table(rows, left=2),
        f"![Fronts in float32 and int8]({PICTURE})"])


def front_file(row: Row) -> str:
    """The size of a subnet's file; "-" where none was written."""
    key = "float32_bytes" if row["front"] == "float32" else "int8_bytes"
    return file_size(row[key]) if key in row else "-"


def points(record: Record) -> Dict[str, List[Tuple[float, float]]]:
    """(milliseconds, test top-1) of each front's subnets, fastest first."""
    return {name: sorted((row["latency_ms"], row[key]) for row in record["results"] if row["front"] == name)
            for name, (_, key) in FRONTS.items() if any(row["front"] == name for row in record["results"])}


def figures(records: Records) -> Dict[str, Figure]:
    """The fronts, on the test images."""
    record = by_name(records, RECIPE).get("fronts")
    if record is None:
        return {}
    from ..plots.fronts import front_figure  # here: see pages/__init__.py
    found = points(record)
    dots = {name: found.pop(name) for name in ("float32, quantised",) if name in found}
    return {PICTURE: front_figure({name: [line] for name, line in found.items()}, dots, "latency_ms",
                                  "test images")}
