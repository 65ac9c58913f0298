"""The picture in docs/architecture.md: packages in rows, and what each really imports.

    python scripts/architecture.py docs/architecture.svg
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Dict, Set, Tuple

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PACKAGE = Path(__file__).resolve().parents[1] / "nnabla_ofa"
# From the top; a package imports only from rows below its own. pyproject.toml has the same for CI.
ROWS = (("commands",), ("experiment",), ("training",), ("search",), ("cost", "formats", "reports"),
        ("evaluation",), ("model",), ("nets",), ("layers",), ("data",), ("kernels",), ("system",))
WHAT = {"commands": "train, evaluate, search, ...", "experiment": "recipe, lab, run",
        "training": "losses, updates, the loop",
        "search": "NSGA-II, predictor", "cost": "MACs, latency", "formats": "NNP, ONNX, ...",
        "reports": "pages, pictures", "evaluation": "calibrate, judge", "model": "networks with weights",
        "nets": "families, zoo", "layers": "one class a layer", "data": "images in",
        "kernels": "compiled CPU functions", "system": "files, records, ranks"}


def imports() -> Set[Tuple[str, str]]:
    """(package, package that it imports from), of every import statement in the tree."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        own, *_ = path.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = path.parents[node.level - 1].relative_to(PACKAGE).parts
                names = (*base, *(node.module or "").split(".")) if node.module else base
                targets = [names[0]] if names else [alias.name for alias in node.names]
                found |= {(own, target) for target in targets if target != own}
    return {(own, target) for own, target in found if own in WHAT and target in WHAT}


def reduced(edges: Set[Tuple[str, str]]) -> Set[Tuple[str, str]]:
    """The edges that do not follow from others."""
    def reaches(own: str, target: str) -> bool:
        return any(to == target or reaches(to, target) for start, to in edges if start == own)

    return {(own, target) for own, target in edges
            if not any(start == own and to != target and reaches(to, target) for start, to in edges)}


def picture() -> Figure:
    """Boxes in rows; an arrow an import, but for those that follow from the arrows there are."""
    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasSVG(figure)
    axis = figure.subplots()
    places: Dict[str, Tuple[float, float]] = {}
    for y, row in enumerate(reversed(ROWS)):
        for x, name in enumerate(row):
            places[name] = (3.0 * (x - (len(row) - 1) / 2), float(y))
    for own, target in sorted(reduced(imports())):
        start, end = places[own], places[target]
        bend = 0.0 if start[1] - end[1] == 1 else -0.5 if start[0] >= end[0] else 0.25
        axis.annotate("", end, start, arrowprops={
            "arrowstyle": "-|>", "color": "#0072B2", "lw": 1.2, "shrinkA": 18, "shrinkB": 18,
            "connectionstyle": f"arc3,rad={bend}"})
    for name, place in places.items():
        axis.annotate(f"{name}\n{WHAT[name]}", place, ha="center", va="center", fontsize=9,
                      bbox={"boxstyle": "round,pad=0.4", "fc": "white", "ec": "#555555"})
    axis.set(xlim=(-5, 5), ylim=(-0.6, len(ROWS) - 0.4))
    axis.axis("off")
    return figure


def main(path: str) -> None:
    """Write the picture; an import that climbs is an error."""
    heights = {name: y for y, row in enumerate(reversed(ROWS)) for name in row}
    climbing = sorted(edge for edge in imports() if heights[edge[1]] >= heights[edge[0]])
    if climbing:
        sys.exit(f"error: imports that climb: {climbing}")
    picture().savefig(path, format="svg", metadata={"Date": None})
    print(f"wrote {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
