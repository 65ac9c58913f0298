"""The page of the loader benchmark says what its record says."""

from __future__ import annotations

import pytest

from nnabla_ofa.reports.pages.loader import cells, memory_cells, pages
from nnabla_ofa.reports.pages.markdown import table


def record(opencv):
    def row(name, speed, **more):
        return {"contender": name, "task": "training", "image_size": 224, "rounds": 3,
                "images_per_second": speed, "q1": speed - 1, "q3": speed + 1, **more}

    rows = [row("opencv", opencv, difference=0.0), row("plain Pillow", 400)]
    return {"recipe": "benchmark_loader", "name": "loader", "command": "python x", "commit": "abc",
            "date": "2026-11-21",
            "versions": {"Pillow": "10.4.0"}, "machine": {"cpu": "a CPU", "cores": 2, "gpu": None},
            "settings": {"photographs": 200, "mean_bytes": 101000, "batch": 50, "more_workers": 4},
            "results": rows}


@pytest.mark.parametrize("speed, ratio", [(1000, "2.50 (goal 2)"), (600, "1.50 (goal 2, missed)")])
def test_ratios_are_to_plain_pillow_and_a_missed_goal_is_said(speed, ratio):
    page = pages([{"recipe": "another"}, record(speed)])["loader.md"]
    lines = cells(record(speed)["results"])
    assert lines == [
        {"Contender": "opencv", "Images/s": f"**{speed:,}** ({speed - 1:,} to {speed + 1:,})",
         "x plain Pillow": ratio, "Difference": "0.00"},
        {"Contender": "plain Pillow", "Images/s": "**400** (399 to 401)", "x plain Pillow": "1.00",
         "Difference": "-"}]
    assert table(lines) in page
    assert "## Training at 224 pixels" in page and "`dali_gpu` has **not been run**" in page


def test_memory_stands_beside_the_speed():
    rows = [{"contender": "opencv", "image_size": 224, "peak": 100 * 2**20, "peak_more": 130 * 2**20},
            {"contender": "plain Pillow", "image_size": 224, "peak": 90 * 2**20}]
    memory = {**record(1000), "name": "memory", "results": rows}
    lines = memory_cells(memory)
    assert lines == [{"Contender": "opencv", "MiB": "100", "a further worker": "10"},
                     {"Contender": "plain Pillow", "MiB": "90", "a further worker": "-"}]
    assert table(lines) in pages([record(1000), memory])["loader.md"]


def test_no_record_no_page():
    assert pages([{"recipe": "another"}]) == {}
