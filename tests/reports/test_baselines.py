"""Published tables of fixed networks beside what the same networks cost and reach here."""

from __future__ import annotations

from pathlib import Path

import test_fixed_networks as fixed

from nnabla_ofa.nets.zoo import ZOO
from nnabla_ofa.reports.pages import baselines, recipes
from nnabla_ofa.reports.published import BASELINES, read_baselines

ROW = {"network": "lenet", "classes": 10, "image_size": 32, "parameters": 62006, "macs": 651720,
       "activations": 8086, "batch": 64, "ms_64": 1234.5, "images_per_second": 800.0, "training_hours": 5.2,
       "commit": "0123456789", "date": "2026-11-25"}


def measured(table, *rows):
    return {**fixed.record("lenet", 0.7), "kind": "benchmark", "recipe": "benchmark_zoo", "stage": table,
            "name": table, "command": "python benchmarks/zoo.py", "results": list(rows)}


def published(table, *rows):
    return baselines.as_records([(table, list(rows))])


THEIRS = {"network": "lenet", "label": "LeNet-5", "top1": "0.7100", "note": "printed as 61 k",
          "parameters M": "0.061"}
OTHER = {"network": "dla_cifar", "label": "dla", "top1": "0.9557", "note": "", "parameters M": "63"}


def test_a_line_has_costs_and_times_here_and_what_was_printed():
    records = [fixed.record("lenet", 0.6875), measured("zoo_cifar10", ROW),
               *published("zoo_cifar10", THEIRS, OTHER)]
    first, second = fixed.cells_of(recipes.pages(records)["zoo_cifar10.md"],
                                   "The published table, and the same networks here")
    assert first == {
        "Published as": "LeNet-5", "Network": "`lenet`", "Parameters": "62.01 k", "MACs": "651.7 k",
        "Activations": "8.086 k", "64 images, ms": "1,234", "Training, hours (extrapolated)": "5",
        "Top-1 here": "0.6875", "Top-1 published": "0.7100", "parameters M": "0.061",
        "Note": "printed as 61 k"}
    assert second["MACs"] == second["Top-1 here"] == "-" and second["Top-1 published"] == "0.9557"


def test_a_table_that_nothing_was_measured_of_has_no_page():
    assert "zoo_cifar100.md" not in recipes.pages(published("zoo_cifar100", THEIRS))
    assert "zoo_cifar100.md" in recipes.pages([measured("zoo_cifar100", ROW),
                                               *published("zoo_cifar100", THEIRS)])


def test_the_published_tables_are_whole():
    tables = dict(read_baselines(BASELINES))
    assert {name: len(rows) for name, rows in tables.items()} == {
        "imagenet_baselines": 6, "zoo_cifar10": 25, "zoo_cifar100": 39}
    assert all(0 < float(row["top1"]) < 1 for rows in tables.values() for row in rows)
    assert Path(BASELINES).is_dir()


def test_every_published_network_is_in_the_zoo():
    names = {row["network"] for _, rows in read_baselines(BASELINES) for row in rows}
    assert not names - set(ZOO)
