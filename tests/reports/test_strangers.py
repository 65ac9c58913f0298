"""Records and other JSON that somebody else wrote: plain text in a page, or one error."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import nnabla_ofa as ofa
from nnabla_ofa.commands.tables import MODULES
from nnabla_ofa.cost.latency import LatencyTable
from nnabla_ofa.data.prepare import prepare_imagenet
from nnabla_ofa.errors import OfaError
from nnabla_ofa.evaluation import cache
from nnabla_ofa.experiment.old_records import with_names
from nnabla_ofa.formats.subnets import read_subnets
from nnabla_ofa.reports.cells import count
from nnabla_ofa.reports.pages import index
from nnabla_ofa.reports.pages.markdown import harmless
from nnabla_ofa.system import records

ROOT = Path(__file__).resolve().parents[2]
RECORDS = records.read(ROOT / "results/records")
EVIL = "</script><script>alert(1)</script>`[a](javascript:alert(1))\n```\n<img src=x onerror=alert(1)>|"
NAMES = ("kind", "recipe", "name", "stage", "split", "when")  # which decide what is shown where


def everywhere(value, text):
    """A record with a text in place of each of its texts, but for NAMES."""
    if isinstance(value, dict):
        return {key: item if key in NAMES else everywhere(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [everywhere(item, text) for item in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("kind", ["train", "evaluate", "finetune", "search", "agreement"])
def test_texts_of_a_record_stay_text_in_pages(kind):
    own = next(record for record in RECORDS if record["kind"] == kind)
    pages = index.whole(harmless(with_names([everywhere(own, EVIL)])), MODULES)
    text = "\n".join(pages.values())
    assert "alert(1)" in text  # it is shown
    assert not any(mark in text for mark in ("<script", "<img", "](javascript", "</script"))
    assert not any(line.startswith("```") and line != "```" for line in text.splitlines())


def test_our_own_records_are_shown_as_they_are():
    assert harmless(RECORDS) == RECORDS


def replaced(record, rng):
    """A record, one place of which holds something else, or nothing."""
    record = json.loads(json.dumps(record))
    node = record
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], (dict, list)) or not node[key] or rng.random() < 0.3:
            break
        node = node[key]
    if rng.random() < 0.3:
        del node[key]
    else:
        node[key] = rng.choice([None, True, 3, -1, 1.5, "x", "", [], [1], {}, {"a": 1}, 1e18, -1e18])
    return record


def test_a_record_with_something_else_in_it_is_shown_or_one_error():
    rng, shown = random.Random(0), 0
    for _ in range(200):
        record = replaced(rng.choice(RECORDS), rng)
        try:
            records.check(record)
            index.whole(harmless(with_names([record])), MODULES)
            shown += 1
        except OfaError as error:
            assert "\n" not in str(error)
    assert 20 < shown < 180


def test_numbers_without_end_are_refused_and_large_ones_shown(tmp_path):
    own = next(record for record in RECORDS if record["kind"] == "evaluate")
    path = tmp_path / records.relative_path(own)
    path.parent.mkdir(parents=True)
    for number in ("1e999", "-1e999", "9" * 400, "NaN"):
        changed = json.loads(json.dumps(own))
        changed["results"][0]["macs"] = "here"
        path.write_text(json.dumps(changed).replace('"here"', number))
        with pytest.raises(OfaError, match="Restore the file"):
            records.read(tmp_path)
    assert count(1e18) == "1000000000 G" and count(12.34e9) == "12.34 G"


DEEP = "[" * 100000


@pytest.mark.parametrize("read, text", [
    (cache.read, DEEP), (cache.read, "\n\n"),
    (LatencyTable.load, DEEP), (LatencyTable.load, '{"kind": "latency table", "image_sizes": {"1": 7}}'),
    (lambda path: read_subnets(path, ofa.ResNet20()), DEEP),
    (lambda path: read_subnets(path, ofa.ResNet20()), '{"a": {"arch": "16", "acc": NaN}}')])
def test_json_that_lies_is_one_error(tmp_path, read, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(OfaError) as caught:
        read(tmp_path / "a.json")
    assert "a.json" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("size, top1", [("1e999", "0.5"), ("32", "NaN"), ("9" * 400, "0.5"),
                                        ("-1", "0.5")])
def test_samples_that_cannot_be_are_left_out(tmp_path, size, top1):
    lines = ["{}", *(f'{{"subnet": "x", "image_size": {side}, "top1": {share}}}'
                     for side, share in ((size, top1), (32, 0.5)))]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, DEEP]) + "\n")
    assert cache.read(tmp_path / "a.jsonl")[:3] == ({}, {("x", 32): 0.5}, [2, 4])


@pytest.mark.parametrize("overhead", [float("nan"), float("inf"), "0.5", [1]])
def test_a_latency_table_holds_finite_milliseconds(tmp_path, overhead):
    table = json.loads((ROOT / "tests/fixtures/commit-4d1da9f/latency.json").read_text())
    next(iter(table["image_sizes"].values()))["overhead_ms"] = overhead
    (tmp_path / "a.json").write_text(json.dumps(table))
    with pytest.raises(OfaError, match="overhead_ms is no finite number"):
        LatencyTable.load(tmp_path / "a.json")


def test_kaggle_s_list_may_hold_anything(tmp_path):
    (tmp_path / "train/n01").mkdir(parents=True)
    (tmp_path / "val").mkdir()
    for row in ("x,n01 " + "1" * 200000, "x," + "y" * 5000, '"', "x,n01\0"):
        (tmp_path / "list.csv").write_text(f"ImageId,PredictionString\n{row}\n")
        with pytest.raises(OfaError) as caught:
            prepare_imagenet(tmp_path, tmp_path / "list.csv")
        assert len(str(caught.value)) < 1000


def test_labels_are_not_written_through_a_link(tmp_path):
    (tmp_path / "data/train/n01").mkdir(parents=True)
    (tmp_path / "data/val").mkdir()
    (tmp_path / "own").write_text("mine")
    (tmp_path / "data/val_label").symlink_to(tmp_path / "own")
    (tmp_path / "list.csv").write_text("ImageId,PredictionString\nx,n01 1 2 3 4\n")
    prepare_imagenet(tmp_path / "data", tmp_path / "list.csv")
    assert (tmp_path / "own").read_text() == "mine"
    assert (tmp_path / "data/val_label").read_text() == "x.JPEG n01\n"
