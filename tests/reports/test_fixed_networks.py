"""The page of a recipe that trains fixed networks, each in a stage of its own name."""

from __future__ import annotations

from statistics import mean

import pytest

from nnabla_ofa.reports import accuracies
from nnabla_ofa.reports.pages import fixed_networks, index, recipes
from nnabla_ofa.reports.plots import networks as plots

MACS = {"resnet18_cifar": 556e6, "lenet": 0.65e6, "vgg11": 153e6}


def row(name, top1, size=32, split="test"):
    return {"subnet": name, "canonical": name, "short": name, "image_size": size, "split": split,
            "images": 10000, "loss": 0.4, "top1": top1, "top5": 0.99, "parameters": 11173962,
            "macs": int(MACS.get(name, 4e6) * (size / 32) ** 2)}


def record(network, top1, seed=0, epochs=3, kind="train", **more):
    history = [{"epoch": n + 1, "lr": 0.1, "loss": 2 / (n + 1), "top1": 0.1 * n, "seconds": 30.0,
                "valid_top1": top1 - 0.3 / (n + 1) if n % 2 == 0 else None, "images_per_second": 1500.0}
               for n in range(epochs)]
    return {"kind": kind, "recipe": "zoo_cifar10", "stage": network, "space": network, "seed": seed,
            "command": f"python runners/train.py --recipe zoo_cifar10 --search-space {network}",
            "commit": "0123456789", "ranks": 1, "versions": {"python": "3.10.13", "nnabla": "1.39.0"},
            "date": "2026-11-25", "machine": {"cpu": "a CPU", "cores": 2, "gpu": None}, "seconds": 90.0,
            "settings": {"net": {"family": network}, "stages": [{"name": network, "lr": 0.1}]},
            "history": history, "results": [row(network, top1)], **more}


RECORDS = [record("vgg11", 0.92), record("resnet18_cifar", 0.95), record("resnet18_cifar", 0.94, seed=1),
           record("lenet", 0.7)]


def cells_of(page, heading):
    """The lines of the table under a heading, {title: cell} each."""
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in section.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line)) for line in lines[2:]]


def test_each_network_has_one_line_by_its_macs():
    page = recipes.pages(RECORDS)["zoo_cifar10.md"]
    summary, networks = cells_of(page, "Summary"), cells_of(page, "Networks")
    names = [f"`{name}`" for name in sorted(MACS, key=MACS.get)]
    assert [line["Network"] for line in summary] == [line["Network"] for line in networks] == names
    assert [line["Top-1"] for line in summary] == [line["Top-1, 32 px"] for line in networks] == [
        "0.7000", "0.9200", "0.9450 ± 0.0071 (n=2)"]
    assert [line["MACs, 32 px"] for line in networks] == ["650.0 k", "153.0 M", "556.0 M"]
    assert summary[2] == {"Network": "`resnet18_cifar`", "Seeds": "0, 1", "Epochs": "3",
                          "Learning rate": "0.1", "Time": "90 s", "Images/s": "1,500",
                          "Top-1": "0.9450 ± 0.0071 (n=2)"}


def test_nothing_is_said_of_subnets_and_spaces():
    page = recipes.pages(RECORDS)["zoo_cifar10.md"]
    titles = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    assert titles == ["Runs", "Summary", "Networks"]
    columns = {title for heading in titles for line in cells_of(page, heading) for title in line}
    assert not columns & {"Space", "Stage", "Subnet", "Top-1, full network", "Top-1, smallest subnet"}
    assert "subnet" not in page.lower()


def test_an_evaluation_replaces_the_training_runs_figure_and_splits_stay_apart():
    more = [record("lenet", 0.71, kind="evaluate", history=[]),
            record("lenet", 0.69, kind="evaluate", history=[], name="held_out",
                   results=[row("lenet", 0.69, split="valid")])]
    page = recipes.pages([*RECORDS, *more])["zoo_cifar10.md"]
    assert cells_of(page, "Summary")[0]["Top-1"] == "0.7100"
    own = [line["Top-1, 32 px"] for line in cells_of(page, "Networks") if line["Network"] == "`lenet`"]
    assert own == ["0.7100", "0.6900"]


def test_the_index_names_the_most_accurate_one():
    pages = index.whole(RECORDS, [recipes])
    line, = (line for line in pages["README.md"].splitlines() if line.startswith("| [zoo_cifar10]"))
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "[zoo_cifar10](zoo_cifar10.md)", "`resnet18_cifar`", "4", "6.0 min", "0.9450 ± 0.0071 (n=2)"]


def test_stages_and_networks_of_one_recipe_stay_apart():
    elastic = record("fullnet", 0.8, space="K7_E1_D3", results=[
        dict(row("vgg11", 0.8), subnet="XP1 7x7 3", canonical="XP1 7x7 3", short="XP1 7x7 3")])
    assert [accuracies.is_fixed(run) for run in (elastic, RECORDS[0])] == [False, True]
    page = recipes.pages([elastic, *RECORDS])["zoo_cifar10.md"]
    assert [line["Subnet"] for line in cells_of(page, "Full network")] == ["`XP1 7x7 3`"]
    assert len(cells_of(page, "Networks")) == 3 and page.count("## Summary") == 2
    assert len(recipes.figures([elastic, *RECORDS])) == 4


def test_pictures_are_those_of_the_page():
    made, page = recipes.figures(RECORDS), recipes.pages(RECORDS)["zoo_cifar10.md"]
    assert len(made) == 2 and all(f"({name})" in page for name in made)
    assert [*made] == [*fixed_networks.pictures(RECORDS, "zoo_cifar10")]


def test_curves_are_those_of_each_networks_lowest_seed():
    loss, top1 = plots.networks_epochs_figure(RECORDS, "zoo_cifar10").axes
    lines = {line.get_label(): line for line in loss.lines}
    assert sorted(lines) == sorted(MACS)
    assert all(list(line.get_xdata()) == [1, 2, 3] for line in lines.values())
    valid = [(list(line.get_xdata()), line.get_ydata()[-1]) for line in top1.lines]
    assert valid == [([1, 3], pytest.approx(top - 0.1)) for top in (0.7, 0.95, 0.92)]  # lenet, resnet, vgg


def test_points_are_means_over_seeds():
    larger = record("lenet", 0.75, kind="evaluate", history=[], results=[row("lenet", 0.75, size=64)])
    axis, = plots.networks_macs_figure([*RECORDS, larger], "zoo_cifar10").axes
    points = {line.get_label(): [*zip(line.get_xdata(), line.get_ydata())] for line in axis.lines}
    assert points == {name: [(pytest.approx(macs / 1e6), pytest.approx(top1)) for macs, top1 in own]
                      for name, own in {"lenet": [(0.65e6, 0.7), (2.6e6, 0.75)], "vgg11": [(153e6, 0.92)],
                                        "resnet18_cifar": [(556e6, mean((0.95, 0.94)))]}.items()}
    assert axis.get_xscale() == "log" and axis.get_xlabel() == "MACs (millions)"


def test_styles_differ_from_each_other():
    styles = [tuple(plots.style_of(number).values()) for number in range(42)]
    assert len(set(styles)) == 42
