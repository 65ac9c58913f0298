"""Records round-trip and are checked; pages and pictures are functions of the records alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from nnabla_ofa.commands import tables
from nnabla_ofa.errors import OfaError
from nnabla_ofa.experiment.old_records import with_names
from nnabla_ofa.nets import Xception
from nnabla_ofa.reports import cells
from nnabla_ofa.reports.pages import headline, index, recipes
from nnabla_ofa.reports.pages.markdown import table
from nnabla_ofa.reports.plots import png
from nnabla_ofa.reports.plots.epochs import epochs_figure
from nnabla_ofa.reports.protocol import PageModule
from nnabla_ofa.reports.published import read_published
from nnabla_ofa.system import machine, records
from nnabla_ofa.system.machine import describe_run
from nnabla_ofa.training import monitor

ROOT = Path(__file__).resolve().parents[2]
FULL, SMALL = ", ".join(["XP1 7x7 3"] * 8), ", ".join(["XP0.6 3x3 1"] * 8)
PUBLISHED = with_names(read_published(tables.PUBLISHED))


def result(subnet=FULL, top1=0.5, size=28, macs=4e6, **more):
    arch = Xception().arch(subnet)
    return {"subnet": subnet, "canonical": str(arch.canonical()), "short": arch.short(),
            "image_size": size, "split": "test", "images": 360, "loss": 1.5,
            "top1": top1, "top5": 0.9, "parameters": 123456, "macs": int(macs), **more}


def epoch(number, top1=0.5, valid=None):
    return {"epoch": number, "lr": 0.03, "loss": 2.0 / number, "top1": top1, "valid_top1": valid,
            "seconds": 1.5, "images_per_second": 1000.0}


def record(kind="train", stage="kernel", seed=0, results=(), history=2, **more):
    return {"kind": kind, "recipe": "xception_digits", "stage": stage, "space": "K357_E1_D3",
            "seed": seed, "command": "python runners/train.py", "commit": "0123456789", "ranks": 1,
            "versions": {"python": "3.10.13", "nnabla": "1.39.0"}, "date": "2026-11-21",
            "machine": {"cpu": "a CPU", "cores": 2, "gpu": None}, "seconds": 3.0,
            "settings": {"train": {"batch_size": 32}}, "results": list(results),
            "history": [epoch(n + 1, valid=0.6) for n in range(history)], **more}


def rows_of(page, heading):
    """The cells of the tables under one heading, without their header and rule."""
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in section.splitlines() if line.startswith("|")]
    return [cells for cells in lines if not cells[0].startswith((":--", "Subnet", "Stage", "Run"))]


# -- records ---------------------------------------------------------------------------------------

def test_record_round_trip(tmp_path):
    written = [record(results=[result(), result(SMALL)], seed=seed) for seed in (0, 1)]
    paths = [records.write(tmp_path, r) for r in written]
    assert paths == [tmp_path / "xception_digits/train-kernel.json",
                     tmp_path / "xception_digits/train-kernel-seed1.json"]
    assert records.read(tmp_path) == [written[1], written[0]]  # sorted by path: "-" before "."
    text = paths[0].read_text()
    assert sum(line.lstrip().startswith('{"epoch"') for line in text.splitlines()) == 2
    assert sum(line.lstrip().startswith('{"subnet"') for line in text.splitlines()) == 2
    records.write(tmp_path, dict(reversed(list(written[0].items()))))
    assert paths[0].read_text() == text


def test_record_takes_numpy_values(tmp_path):
    path = records.write(tmp_path, record(results=[result(top1=np.float32(0.25), macs=np.int64(7))],
                                          settings={"lr": np.array([0.5, 0.25]), "out": tmp_path}))
    read, = records.read(tmp_path)
    assert read["results"][0]["top1"] == 0.25 and read["results"][0]["macs"] == 7
    assert read["settings"] == {"lr": [0.5, 0.25], "out": str(tmp_path)}
    assert path.is_file()


@pytest.mark.parametrize("changes, message", [
    ({"seconds": float("nan")}, r"record\.seconds is nan"),
    ({"results": [result(top1=float("inf"))]}, r"results\[0\]\.top1 is inf"),
    ({"results": [result(top1=51.0)]}, r"top1=51\.0 is not a fraction"),
    ({"results": [{"subnet": FULL}]}, r"results\[0\] misses image_size, split"),
    ({"kind": "finetune", "results": [result()]}, "misses when"),
    ({"kind": "training"}, "kind='training' .* is not one of train, evaluate"),
    ({"history": None}, "history is a NoneType"),
    ({"history": [dict(epoch(1), lr="0.03")]}, r"history\[0\]\.lr='0\.03' is not a number"),
    ({"results": [result(top1=None)]}, r"results\[0\]\.top1=None is not a number"),
    ({"results": [dict(result(), subnet=None)]}, r"results\[0\]\.subnet=None is not a text"),
    ({"seed": -1}, "seed=-1 "),
    ({"machine": {"cpu": "a CPU"}}, "machine misses cores, gpu"),
    ({"name": "../x"}, r"name or stage='\.\./x'"),
    ({"settings": {"f": print}}, r"settings\.f is a builtin_function"),
])
def test_bad_record_is_not_written(tmp_path, changes, message):
    with pytest.raises(OfaError, match=message):
        records.write(tmp_path, {**record(), **changes})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_failed_write_keeps_the_record_before(tmp_path, monkeypatch):
    path = records.write(tmp_path, record())
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OfaError, match="disk full"):
        records.write(tmp_path, record(seconds=4.0))
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage, message", [
    (lambda text: text[:-40], "Expecting|Unterminated"),
    (lambda text: text.replace('"seconds": 3.0', '"seconds": NaN'), "holds NaN"),
    (lambda text: text.replace('"commit"', '"comit"'), "misses commit"),
    (lambda text: text.replace('"stage": "kernel"', '"stage": "depth1"'), "move it there"),
    (lambda text: "[" * 100000, "recursion"),
    (lambda text: "[]", "kind="),
])
def test_bad_record_file_is_named(tmp_path, damage, message):
    path = records.write(tmp_path, record())
    path.write_text(damage(path.read_text()))
    with pytest.raises(OfaError, match=message) as caught:
        records.read(tmp_path)
    assert str(path) in str(caught.value) and "delete it and run its command" in str(caught.value)


def test_no_records_folder(tmp_path):
    assert records.read(tmp_path / "absent") == []


def test_describe_run_completes_a_record(tmp_path):
    run = describe_run("python runners/train.py --seed 3", seed=3, ranks=2)
    own = record()
    path = records.write(tmp_path, {**own, **run})
    assert path.name == "train-kernel-seed3.json"
    assert set(run) <= set(own) and run["ranks"] == 2
    assert set(run["versions"]) == {"python", "nnabla", "numpy", "nnabla_ofa"}
    assert run["machine"]["cores"] >= 1 and run["machine"]["cpu"]


def test_commit_of_a_checkout(tmp_path):
    assert machine.commit(tmp_path) is None

    def git(*command):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e",
                        *command], check=True, stdout=subprocess.DEVNULL)

    git("init", "-q")
    assert machine.commit(tmp_path) is None  # no commit yet
    for name in ("code.py", "results/page.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = machine.commit(tmp_path)
    assert len(commit) == 10
    (tmp_path / "results/page.md").write_text("2")
    assert machine.commit(tmp_path) == commit
    (tmp_path / "code.py").write_text("2")
    assert machine.commit(tmp_path) == commit + "-dirty"
    assert machine.commit(tmp_path / "results") is None  # inside a checkout, not one itself


# -- tables ----------------------------------------------------------------------------------------

def test_published_figures_alone():
    published = [row for record in PUBLISHED for row in record["results"]]
    pages = index.whole(PUBLISHED, [recipes])
    assert sorted(pages) == ["README.md", "xception_imagenet.md"]
    page = pages["xception_imagenet.md"]
    counts = {"Full network": 2, "Full network, Xception65": 1, "Elastic kernel": 3,
              "Elastic depth 1": 5, "Elastic depth 2": 5, "Elastic expand ratio 1": 8,
              "Elastic expand ratio 2": 9, "Extracted subnet, before and after fine-tuning": 2}
    assert {title: len(rows_of(page, title)) for title in counts} == counts
    for row in published:
        assert all(f"| {top1:.4f} |" in page for top1 in row["top1"].values())
    assert rows_of(page, "Full network")[0] == [
        "`8 x XP1 7x7 3`", "-", "0.6491", "0.6876", "-", "0.6667", "0.7211"]
    assert rows_of(page, "Extracted subnet, before and after fine-tuning")[1][1:] == [
        "after", "-", "0.7402"]
    assert "Not run here yet" in page
    assert all(text.endswith("Regenerate with `python runners/tables.py`; do not edit by hand.\n")
               for text in pages.values())


def test_ours_beside_published_under_any_name_of_the_subnet():
    published = [row for record in PUBLISHED for row in record["results"]]
    row = next(r for r in published if r["stage"] == "expand2" and r["subnet"].count("XP0.8") == 8)
    named = row["subnet"].replace("XP0.8 3x3 1", "XP1 3x3 1")  # depth 1: the same network
    assert named != row["subnet"]
    ours = record("evaluate", "expand2", recipe="xception_imagenet",
                  results=[result(named, top1=0.7, size=224, macs=3.1e9)])
    page = recipes.pages([ours, *PUBLISHED])["xception_imagenet.md"]
    rows = rows_of(page, "Elastic expand ratio 2")
    assert len(rows) == 9
    assert [cells for cells in rows if "0.7000" in cells] == [[
        f"`{row['subnet']}`", "123.5 k", "3.100 G", "-", f"{row['top1'][160]:.4f}", "0.7000",
        f"{row['top1'][224]:.4f}", "0.9000"]]


def test_several_seeds_become_mean_and_deviation():
    values = [0.5, 0.53, 0.56]
    runs = [record(seed=seed, results=[result(top1=top1), result(SMALL, top1 - 0.1, macs=1e6)])
            for seed, top1 in enumerate(values)]
    page = recipes.pages(runs)["xception_digits.md"]
    text = f"{mean(values):.4f} ± {stdev(values):.4f} (n=3)"
    assert text == "0.5300 ± 0.0300 (n=3)"
    assert [cells[3] for cells in rows_of(page, "Elastic kernel")] == [
        text, "0.4300 ± 0.0300 (n=3)"]
    assert rows_of(page, "Summary") == [[
        "Elastic kernel", "`K357_E1_D3`", "0, 1, 2", "2", "0.03", "3.0 s", "1,000", text,
        "0.4300 ± 0.0300 (n=3)"]]
    assert recipes.pages(runs[::-1]) == recipes.pages(runs)


def test_evaluation_replaces_the_training_runs_figure_and_splits_stay_apart():
    runs = [record("evaluate", results=[result(top1=0.61)]),
            record(results=[result(top1=0.5), result(top1=0.77, split="valid")])]
    page = recipes.pages(runs)["xception_digits.md"]
    assert [cells[3] for cells in rows_of(page, "Elastic kernel")] == ["0.6100", "0.7700"]
    assert page.index("Split `test`") < page.index("Split `valid`")
    assert rows_of(page, "Summary")[0][-2:] == ["0.6100", "0.6100"]


def test_fine_tuning_shows_before_above_after():
    run = record("finetune", "expand2", name="subnet", results=[
        result(SMALL, 0.6, when="after"), result(FULL, 0.7, when="after"),
        result(SMALL, 0.4, when="before"), result(FULL, 0.5, when="before")])
    page = recipes.pages([run])["xception_digits.md"]
    rows = rows_of(page, "Extracted subnet, before and after fine-tuning")
    assert [(cells[1], cells[4]) for cells in rows] == [
        ("before", "0.4000"), ("after", "0.6000"), ("before", "0.5000"), ("after", "0.7000")]
    assert "## Summary" not in page and "## Elastic expand ratio 2" not in page


def test_the_readmes_table_follows_the_records_and_shows_a_network_once(tmp_path):
    middle = "XP1 3x3 2"
    runs = [record(stage="fullnet", results=[result(top1=0.8), result(top1=0.7, size=24)]),
            record(stage="expand2", results=[result(top1=0.82), result(SMALL, 0.6, macs=2e6)]),
            record("search", "search", results=[
                result(SMALL, 0.6, macs=2e6), result(middle, 0.65, macs=3e6)]),
            record("finetune", "finetune", results=[
                result(middle, 0.65, macs=3e6, when="before"), result(middle, 0.7, macs=3e6, when="scratch"),
                result(middle, 0.75, macs=3e6, when="after")])]
    runs = [*({**run, "recipe": headline.RECIPES[-1]} for run in runs), *PUBLISHED]
    path, (start, end) = tmp_path / "README.md", headline.MARKERS
    assert headline.readme(path, runs) == {}  # no file
    path.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    assert headline.readme(path, []) == headline.readme(path, PUBLISHED) == {}
    text = headline.readme(path, runs)["../README.md"]
    lines = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in text.splitlines() if line.startswith("|")][2:]
    assert [(line[0], line[3]) for line in lines] == [
        ("Full network, trained alone", "0.8000"), ("The same inside the supernet", "0.8200"),
        ("Smallest inside the supernet", "0.6000"), ("Found by search", "0.6500"),
        ("Extracted, fine-tuned", "0.7500"), ("Extracted, trained from scratch in as many epochs", "0.7000")]
    assert text.startswith(f"before\n{start}\n|") and text.endswith(f"\n{end}\nafter\n")
    path.write_text(text)
    assert headline.readme(path, runs) == {"../README.md": text}


def test_a_cell_cannot_break_its_table():
    assert table([{"a": "x | y", "b": "-"}, {"a": "z", "b": 1}]).splitlines()[2:] == [
        "| x \\| y | - |", "| z | 1 |"]


@pytest.mark.parametrize("module", tables.MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_module_of_pages_has_what_the_protocol_says_and_makes_nothing_of_no_records(module):
    assert all(hasattr(module, name) for name in PageModule.__annotations__)
    assert module.pages([]) == module.figures([]) == {}


@pytest.mark.parametrize("value, text", [
    (22855952, "22.86 M"), (2415246400, "2.415 G"), (868, "868"), (123456, "123.5 k"), (None, "-")])
def test_count(value, text):
    assert cells.count(value) == text


@pytest.mark.parametrize("seconds, text", [
    (1.25, "1.2 s"), (42.4, "42 s"), (750, "12.5 min"), (118800, "33.0 h")])
def test_duration(seconds, text):
    assert cells.duration(seconds) == text


# -- the command -----------------------------------------------------------------------------------

def main(arguments):
    """The exit status of the command."""
    try:
        tables.COMMAND.run(arguments)
    except SystemExit as ended:
        return ended.code
    return 0


def test_command_from_another_folder(tmp_path):
    def call(folder):
        command = [sys.executable, str(ROOT / "runners/tables.py"), "--no-plots", "--records", folder]
        return subprocess.run([*command, "--output", "out"], cwd=str(tmp_path), text=True,
                              stderr=subprocess.PIPE)

    refused = call("none")
    assert refused.returncode == 2 and "there is no record under none" in refused.stderr
    assert not (tmp_path / "out").exists()
    records.write(tmp_path / "records", record(results=[result()]))
    assert call("records").returncode == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "xception_digits.md", "xception_imagenet.md"]


def test_check_lists_differing_pages(tmp_path, capsys):
    folders = ["--records", str(tmp_path / "records"), "--output", str(tmp_path)]
    records.write(tmp_path / "records", record(results=[result()]))
    assert main(folders + ["--check"]) == 1
    assert main(folders + ["--no-plots"]) == 0
    assert main(folders + ["--check"]) == 0
    records.write(tmp_path / "records", record(results=[result(top1=0.51)]))
    capsys.readouterr()
    assert main(folders + ["--check"]) == 1
    output = capsys.readouterr().out
    assert "xception_digits.md" in output and "README.md" in output
    assert "xception_imagenet.md" not in output
    assert "run `python runners/tables.py --records" in output
    (tmp_path / "records/xception_digits/train-kernel.json").write_text("{")
    assert main(folders) == 2
    assert "train-kernel.json" in capsys.readouterr().err


# -- pictures --------------------------------------------------------------------------------------

def test_pictures_are_those_of_the_page_and_the_same_every_time():
    runs = [record(stage="fullnet", history=6, results=[result()]),
            record(history=1, results=[result(), result(SMALL, 0.4, macs=1e6)])]
    first, second = ({name: png(figure) for name, figure in recipes.figures(runs).items()}
                     for _ in range(2))
    page = recipes.pages(runs)["xception_digits.md"]
    assert first == second and len(first) == 2 and all(f"({name})" in page for name in first)


def test_epochs_picture_has_every_epoch_of_every_stage():
    runs = [record(stage="kernel", history=3), record(stage="fullnet", history=4)]
    loss, _ = epochs_figure(runs, "xception_digits").axes
    assert [list(line.get_xdata()) for line in loss.lines] == [[1, 2, 3, 4], [5, 6, 7]]
    assert [text.get_text() for text in loss.texts] == ["full", "kernel"]


# -- training curves on disk -----------------------------------------------------------------------

def test_series_of_a_resumed_run_equal_an_uninterrupted_one(tmp_path):
    for folder, parts in (("whole", [(1, 6)]), ("resumed", [(1, 5), (3, 6)])):
        for first, last in parts:
            log = monitor.SeriesLog(tmp_path / folder)
            for step in range(first, last):
                log.add("kernel/training loss", step, 1 / step)
            log.close()
    name = "kernel/training-loss.series.txt"
    assert (tmp_path / "whole" / name).read_text().splitlines() == [
        f"{step} {1 / step:g}" for step in range(1, 6)]
    assert (tmp_path / "whole" / name).read_text() == (tmp_path / "resumed" / name).read_text()


def test_tensorboard_reads_the_events(tmp_path):
    pytest.importorskip("nnabla_nas")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    log = monitor.SeriesLog(tmp_path)
    log.add("kernel/loss", 3, 0.5)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("kernel/loss")] == [(3, 0.5)]


def test_without_tensorboard_the_text_series_remain(tmp_path, monkeypatch):
    warned = []
    monkeypatch.setitem(sys.modules, "nnabla_nas.utils.tensorboard", None)
    monkeypatch.setattr(monitor.logger, "warning", warned.append)
    log = monitor.SeriesLog(tmp_path)
    log.add("loss", 1, 0.5)
    log.close()
    assert (tmp_path / "loss.series.txt").read_text() == "1 0.5\n"
    assert len(warned) == 1 and "pip install nnabla-nas" in warned[0]
