"""Rows of older records, and published figures, get the names that new rows have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nnabla_ofa as ofa
from nnabla_ofa.commands.tables import PUBLISHED
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.old_records import with_names
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.reports.published import read_published
from nnabla_ofa.system.comm import Single

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = "16-8-16-8-16-8-16-32-16-32-16-32-16-64-32-64-32-64-32-7"


def names(subnet, **net):
    """(canonical, short) of a subnet in a record of these settings."""
    row, = with_names([{"settings": {"net": net}, "results": [{"subnet": subnet}]}])[0]["results"]
    return row["canonical"], row["short"]


def test_names_come_from_the_familys_parser():
    assert names("XP0.6 3x3 1, XP0.6 3x3 2", family="xception", middle_blocks=2) == (
        "XP1 3x3 1, XP0.6 3x3 2", "XP0.6 3x3 1, XP0.6 3x3 2")
    assert names("['XP0.6 3x3 1', 'XP0.6 3x3 1']", family="xception", middle_blocks=2) == (
        "XP1 3x3 1, XP1 3x3 1", "2 x XP0.6 3x3 1")
    assert names("XP1 3x3 3", middle_blocks=3) == (", ".join(["XP1 3x3 3"] * 3), "3 x XP1 3x3 3")  # no family
    assert names(WIDTHS, family="resnet20")[0] == WIDTHS[:-1] + "64"  # the last width is not used
    assert names("resnet18_cifar", family="resnet18_cifar") == ("resnet18_cifar",) * 2


@pytest.mark.parametrize("net", [{"family": "xception"}, {"family": "resnet20"}, {"family": "gone"},
                                 {"family": "xception", "gone": 1}, {}])
def test_a_name_that_cannot_be_parsed_stays_itself(net):
    assert names("largest", **net) == ("largest", "largest")


@pytest.mark.parametrize("record", [{}, {"settings": None}, {"settings": {"net": "xception"}}])
def test_so_does_one_of_a_record_that_describes_no_network(record):
    row, = with_names([{**record, "results": [{"subnet": "XP0.6 3x3 1"}]}])[0]["results"]
    assert (row["canonical"], row["short"]) == ("XP0.6 3x3 1",) * 2


def test_nothing_else_changes():
    named = {"subnet": "a", "canonical": "b", "short": "c"}
    records = [{"kind": "train"}, {"results": []}, {"results": [{"what": "no subnet"}, named]}]
    before = json.dumps(records)
    assert with_names(records) == records and json.dumps(records) == before


def test_new_rows_have_the_same_names(tmp_path):
    recipe = load_recipe(ROOT / "tests/tiny.yaml", ["net.classes=10"])
    run = Run(Lab.open(recipe, 0, Single()), tmp_path, "test")
    net = ofa.Network.create(recipe.net, "K3_E0.6+1_D12")
    texts = ["XP0.6 3x3 1, XP0.6 3x3 2", "XP0.6 3x3 1"]
    rows = run.lab.rows(net, [net.arch(text) for text in texts], say=lambda text: None)
    run.finetune(net, texts[0])
    rows += json.loads((tmp_path / "records/tiny/finetune-finetune.json").read_text())["results"]
    assert len(rows) == 4 and rows[0]["canonical"] != rows[0]["subnet"] and rows[1]["short"][:4] == "2 x "
    old = [{key: value for key, value in row.items() if key not in ("canonical", "short")} for row in rows]
    assert with_names([{"settings": recipe.settings(), "results": old}])[0]["results"] == rows


def test_every_published_subnet_and_every_committed_one_is_parsed():
    files = [json.loads(path.read_text()) for path in (ROOT / "results/records").rglob("*.json")]
    found = with_names([*files, *read_published(PUBLISHED)])
    rows = [row for record in found if "net" in record["settings"] for row in record["results"]]
    assert len(rows) > 500
    for row in rows:
        assert row["canonical"].count(",") == row["subnet"].count(",")
        assert "XP0" not in row["canonical"] or not any(
            block.startswith("XP0") and block.endswith("1") for block in row["canonical"].split(", "))
    published = [row for record in found if record.get("kind") == "published" for row in record["results"]]
    assert {row["short"] for row in published if row["stage"] == "fullnet65"} == {"16 x XP1 3x3 3"}
