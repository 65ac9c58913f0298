"""The tables of results/step.md, from records of benchmarks/step.py."""

from __future__ import annotations

from typing import Dict, Optional, Tuple

from ..cells import count
from ..protocol import Cells, Record, Row
from ..step_times import CONTENDERS, FULL_WIDTH, SETTINGS, Piece, by_piece, ms, peaks, ratios, zoo_mean
from .markdown import table

# How many times as long as ours a contender is to take; of "limit", its share of our time.
GOALS = {"training": {"PyTorch": 1.5, "limit": 0.5}, "evaluation": {"onnxruntime": 1.0}}
FULL_WIDTH_LIMIT = 0.7  # its share of a training step at full width
ZOO, ZOO_LEAST = 1.0, 0.6  # of the better PyTorch: the geometric mean, and each network
HEADS = {"PyTorch": "better PyTorch", "onnxruntime": "onnxruntime", "limit": "limit"}


def goals(piece: Piece) -> Dict[str, float]:
    """The goals of a piece."""
    if piece.setting == "zoo":
        return {"PyTorch": ZOO_LEAST}
    if piece.subnet == "middle":
        return {}
    full = {"limit": FULL_WIDTH_LIMIT} if piece.task == "training" and piece.setting in FULL_WIDTH else {}
    return {**GOALS[piece.task], **full}


def ratio_cell(ratio: Optional[float], goal: Optional[float], form: str = "{:.2f}") -> str:
    """"1.52", "64%", or "1.38 **missed**" of a goal of 1.5; "-" of None; form: how to write it."""
    if ratio is None:
        return "-"
    return form.format(ratio) + (" **missed**" if goal is not None and ratio < goal else "")


def side_by_side(records: Dict[str, Record], zoo: bool = False) -> str:
    """A row a piece; of each machine our time, and the contenders' as a multiple of it.

    Args:
        records: {where: record}.
        zoo: Whether of the zoo's networks, with their geometric mean, or of the supernets.
    """
    pieces = {where: {piece: rows for piece, rows in by_piece(record).items()
                      if (piece.setting == "zoo") == zoo} for where, record in records.items()}
    every: Dict[Piece, Dict[str, Row]] = {}
    for found in pieces.values():
        every.update({piece: rows for piece, rows in found.items() if piece not in every})
    lines = []
    for piece, rows in every.items():
        line = network_cells(piece, rows) if zoo else piece_cells(piece, rows)
        for where, own in pieces.items():
            line.update(machine_cells(where, piece, own.get(piece, {})))
        lines.append(line)
    if not lines:
        return ""
    if zoo:
        means = {f"{where}: {HEADS['PyTorch']}": ratio_cell(zoo_mean(own), ZOO)
                 for where, own in pieces.items()}
        lines.append({**{head: "-" for head in lines[0]}, "Network": f"**geometric mean** of {len(every)}",
                      **means})
    return table(lines, left=1 if zoo else 2)


def machine_cells(where: str, piece: Piece, rows: Dict[str, Row]) -> Cells:
    """One machine's part of a row of `side_by_side`."""
    found, wanted = ratios(rows), goals(piece)
    cells: Cells = {f"{where}: ours, ms": ms(rows["ours"]["median"]) if "ours" in rows else "-"}
    for name, head in HEADS.items():
        cells[f"{where}: {head}"] = ratio_cell(found.get(name), wanted.get(name),
                                               "{:.0%}" if name == "limit" else "{:.2f}")
    return cells


def piece_cells(piece: Piece, rows: Dict[str, Row]) -> Cells:
    """What a piece is, in cells."""
    first = next(iter(rows.values()))
    return {"Batch": f"{piece.setting}, {piece.task} of {first['batch']}",
            "Subnet": f"{piece.subnet}, `{first['name']}`", "MACs": count(first["macs"])}


def network_cells(piece: Piece, rows: Dict[str, Row]) -> Cells:
    """What a network of the zoo is, in cells."""
    return {"Network": piece.subnet, "MACs": count(next(iter(rows.values()))["macs"])}


def times_table(record: Record) -> str:
    """A row a piece, a column a contender."""
    pieces = by_piece(record)
    names = list(CONTENDERS)
    names += sorted({n for rows in pieces.values() for n in rows} - {*names, "limit"})
    return table([{**piece_cells(piece, rows), **{name: quartiles(rows.get(name)) for name in names},
                   "limit": limits(rows.get("limit"))} for piece, rows in pieces.items()], left=2)


def quartiles(row: Optional[Row]) -> str:
    """"265.7 (259.3 to 294.5)" in milliseconds; "-" of None."""
    if row is None:
        return "-"
    return f"**{ms(row['median'])}** ({ms(row['q1'])} to {ms(row['q3'])})"


def limits(row: Optional[Row]) -> str:
    """"163, 205": products alone, with memory."""
    return "-" if row is None else f"{ms(row['flops'])}, {ms(row['median'])}"


def memory_table(record: Record) -> str:
    """A row a setting or network, a column a contender; the best PyTorch's as a multiple of ours."""
    lines = []
    for piece, rows in peaks(record).items():
        ratio = ratios(rows, "peak").get("PyTorch")
        setting = f"{piece.setting}: {SETTINGS.get(piece.setting, '')}"
        lines.append({"Setting": piece.subnet if piece.setting == "zoo" else setting,
                      **{n: f"{rows[n]['peak'] / 2 ** 20:.0f}" if n in rows else "-" for n in CONTENDERS},
                      "better PyTorch / ours": ratio_cell(ratio, 1.0)})
    return table(lines)


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


def stage_table(record: Record) -> str:
    """A row a recipe, device and number of processes."""
    return table([{"Recipe": f"`{row['recipe']}`", "Space": f"`{row['space']}`", "Device": row["device"],
                   "Processes": row["processes"], "Images a pass": row["batch"],
                   "Images/s": f"{row['images_per_second']:.0f}", "Epochs": row["epochs"],
                   "Loss": f"{row['loss']:.3f}"} for row in record["results"]], left=3)


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
