"""The page of everything trained on CIFAR-10: which networks it shows, what sharing costs and saves."""

from __future__ import annotations

import pytest
from test_tables import SMALL, record, result, rows_of

from nnabla_ofa.reports.everything import ALONE, TUNED, WITHIN, front, places
from nnabla_ofa.reports.pages import side_by_side

MIDDLE = "XP1 3x3 2"
STAGES = [{"name": name, "lr": 0.1} for name in ("fullnet", "kernel", "expand2")]


def runs(recipe="r_cifar10", data=None, **more):
    """A supernet of three stages, a search on it, one subnet trained on and alone; a network of the zoo."""
    settings = {"train": {"batch_size": 32}, "stages": STAGES, "data": data or {"train_images": None}}
    zoo = {**result(top1=0.9, macs=5e6), "canonical": "resnet20_cifar", "short": "resnet20_cifar"}
    made = [
        record(stage="fullnet", seconds=600.0, results=[result(top1=0.8), result(top1=0.95, size=24)]),
        record(stage="kernel", seconds=60.0, results=[result(top1=0.99)]),
        record(stage="expand2", seconds=60.0, results=[result(top1=0.79), result(SMALL, 0.6, macs=2e6)]),
        record("search", "search", results=[result(MIDDLE, 0.65, macs=3e6)]),
        record("finetune", "finetune", results=[result(MIDDLE, 0.65, macs=3e6, when="before"),
                                                result(MIDDLE, 0.69, macs=3e6, when="after")]),
        record("finetune", "scratch", name="alone", seconds=480.0,
               results=[result(MIDDLE, 0.68, macs=3e6, when="scratch")]),
        record(stage="resnet20_cifar", space="resnet20_cifar", results=[zoo])]
    return [{**run, "recipe": recipe, "settings": settings, **more} for run in made]


def test_every_network_has_its_place_and_stages_between_have_none():
    found = {(place.how, place.rows[0]["short"]): place.rows[0]["top1"]
             for place in places(runs(), "cifar10")}
    assert found == {
        (ALONE, "8 x XP1 7x7 3"): 0.8, (WITHIN, "8 x XP1 7x7 3"): 0.79, (WITHIN, "8 x XP0.6 3x3 1"): 0.6,
        (WITHIN, "8 x XP1 3x3 2"): 0.65, (TUNED, "8 x XP1 3x3 2"): 0.69, (ALONE, "8 x XP1 3x3 2"): 0.68,
        (ALONE, "resnet20_cifar"): 0.9}


@pytest.mark.parametrize("others", [runs("r_cifar100"), runs("xception_digits"),
                                    runs(data={"train_images": 10000}), []])
def test_other_data_and_parts_of_it_are_left_out(others):
    assert places(others, "cifar10") == []
    assert side_by_side.pages(others) == side_by_side.figures(others) == {}
    assert side_by_side.pages([*others, *runs("s_cifar10")]) == side_by_side.pages(runs("s_cifar10"))


def test_the_front_keeps_what_nothing_beats():
    assert front([(2, 0.5), (1, 0.4), (2, 0.6), (3, 0.55), (4, 0.6)]) == [(1, 0.4), (2, 0.6)]
    page = side_by_side.pages(runs())["cifar10.md"]
    best = [(cells[1], cells[2], cells[-1]) for cells in rows_of(page, "The best for their operations")[1:]]
    assert best == [("8 x XP0.6 3x3 1", WITHIN, "0.6000"), ("8 x XP1 3x3 2", TUNED, "0.6900"),
                    ("8 x XP1 7x7 3", ALONE, "0.8000"), ("resnet20_cifar", ALONE, "0.9000")]


def test_what_sharing_costs_and_saves():
    page = side_by_side.pages(runs())["cifar10.md"]
    lines = rows_of(page, "`r_cifar10`: alone and in the supernet")
    assert lines == [["8 x XP1 3x3 2", "3.000 M", "0.6500", "0.6900", "0.6800", "3.00", "2", "8.0 min"],
                     ["8 x XP1 7x7 3", "4.000 M", "0.7900", "-", "0.8000", "1.00", "2", "10.0 min"]]
    assert "stages took 12.0 min for all of its subnets" in page
    assert "These 2 networks alone took\n18.0 min, 9.0 min each" in page


def test_means_over_seeds_and_the_picture():
    both = [*runs(), *runs(seed=1)]
    for run in both[7:]:
        run["results"] = [{**row, "top1": row["top1"] - 0.02} for row in run["results"]]
    page = side_by_side.pages(both)["cifar10.md"]
    assert "0.6400 ± 0.0141 (n=2)" in page and "| 3.00 |" in page
    axis, = side_by_side.figures(both)["cifar10-accuracy-macs.png"].axes
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert set(labels) == {"networks of the zoo, alone",
                           *(f"r_cifar10, {how}" for how in (ALONE, WITHIN, TUNED))}
    assert [text.get_text() for text in axis.texts] == ["resnet20_cifar"]
