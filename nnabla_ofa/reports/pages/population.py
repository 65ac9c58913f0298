"""results/population.md: subnets evaluated together, and one by one (benchmarks/population.py)."""

from __future__ import annotations

from typing import Optional

from ..protocol import Record
from ..step_times import SETTINGS
from .markdown import benchmark_facts, table


def population_page(record: Optional[Record]) -> Optional[str]:
    """The whole page; None without a record."""
    if record is None:
        return None
    cells = []
    for row in record["results"]:
        cells.append({"Setting": f"{row['setting']}: {SETTINGS.get(row['setting'], '')}",
                      "Archs": row["archs"], "Subnets": row["subnets"],
                      "Images": f"{row['calibration']} + {row['test']}",
                      "One by one, s": f"{row['alone']:.1f}", "Together, s": f"{row['together']:.1f}",
                      "Times faster": f"{row['alone'] / row['together']:.2f}",
                      "Layers": f"{row['layers']} of {row['layers_alone']}"})
    return "\n\n".join([
        "# Many subnets evaluated together", benchmark_facts(record),
        "Calibration and evaluation of subnets one by one, and as one population: the entry flow, and "
        "leading middle\nblocks that are equal, run once a batch (`nnabla_ofa/model/population.py`). Figures "
        "are equal either way. Archs are\nrandom, or mutations of one (each block drawn anew with "
        "probability 1/4), as a search makes them; images are\ncalibration + test.", table(cells, left=2)])
