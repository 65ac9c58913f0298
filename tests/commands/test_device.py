"""From a supernet to a device by commands: latency table, predictor, search and ranking work together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.cost import Operations
from nnabla_ofa.cost.latency import LatencyTable, Times, key
from nnabla_ofa.cost.timing import Setting
from nnabla_ofa.evaluation import cache as evaluations
from nnabla_ofa.reports.pages import agreement
from nnabla_ofa.search.problem import cost_function
from nnabla_ofa.system import records

ROOT = Path(__file__).resolve().parents[2]
SIZE = 16


def run(runner, weights, output, *more, folder="runners"):
    """(exit status, standard error) of a runner."""
    command = [sys.executable, f"{folder}/{runner}.py", "--weights", weights, "--output", output, *more]
    done = subprocess.run(list(map(str, command)), cwd=str(ROOT), stdin=subprocess.DEVNULL, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


def record(output, kind):
    found, = (record for record in records.read(output / "records") if record["kind"] == kind)
    return found


def evaluated(output):
    """{(subnet, image size): top-1} of the one file in which a run's folder keeps them."""
    path, = (output / "search").glob("evaluated-*.jsonl")
    return evaluations.read(path)[1]


def latency_table(net):
    """A table in which a depthwise kernel of 3x3 takes long, every other operation 0.1 ms."""
    times = {key(*part): [1.0 if "kernel=3" in key(*part) else 0.1]
             for layer, side in Operations(net, SIZE).all() for part in layer.parts_on(side)}
    table = LatencyTable.new(net, Setting("cpu", "a CPU", 1, 1, "fast"), "by a test", "this table")
    table.sizes[SIZE] = Times(times, {}, overhead_ms=0.5)
    return table


def samples(path, net, top1):
    """Top-1 of 60 random subnets as a predictor's file; top1: archs -> fractions."""
    archs = net.space.sample_distinct(60, np.random.default_rng(0))
    evaluations.write(path, evaluations.network_identity(net),
                      {(str(arch), SIZE): float(value) for arch, value in zip(archs, top1(archs))})


def by_depth(archs):
    return [sum(block.depth for block in arch.blocks) / 10 for arch in archs]


def test_a_search_within_a_latency_of_a_table(weights, tmp_path):
    net, path = ofa.load(weights), tmp_path / "latency.json"
    table = latency_table(net)
    table.sizes[SIZE].reference = [1.0, 1.5, 1.5]  # built beside other work
    table.save(path)
    least = min(table.predict(net, [net.arch(f"XP1 {k}x{k} 1") for k in (3, 5, 7)], SIZE))
    limit = 1.2 * least
    options = ["--latency-table", path, "--objective", "latency_ms", "--count", "12"]
    status, err = run("search", weights, tmp_path, *options, "--max-latency-ms", limit)
    assert status == 0, err
    warning, = (line for line in err.splitlines() if line.startswith("warning: "))
    assert f"{path} is noisy at {SIZE} pixels" in warning and " 50% " in warning
    found = record(tmp_path, "search")
    assert found["search"]["latency_table"] == str(path)
    assert found["search"]["limits"] == {"latency_ms": limit}
    rows = found["results"]
    costs = cost_function(net, SIZE, table)([net.arch(row["subnet"]) for row in rows])
    for name, values in costs.items():
        assert [row[name] for row in rows] == list(values)
    assert all(row["latency_ms"] <= limit for row in rows)
    assert "Latency, ms" in (tmp_path / "search/search.html").read_text()
    status, err = run("search", weights, tmp_path, *options, "--max-latency-ms", least / 2)
    assert status == 2 and "raise --max-latency-ms" in err


def test_a_search_by_a_predictor_evaluates_its_front_only(weights, tmp_path):
    net, path = ofa.load(weights), tmp_path / "samples.jsonl"
    samples(path, net, by_depth)
    status, err = run("search", weights, tmp_path, "--predictor", path, "--count", "100")
    assert status == 0, err
    found = record(tmp_path, "search")
    assert found["search"]["evaluated"] == 100 and found["search"]["predictor"] == str(path)
    known = evaluated(tmp_path)
    assert len(known) < 40
    assert all(known[row["subnet"], SIZE] == row["valid_top1"] for row in found["results"])


def test_a_poor_predictor_is_used_only_where_it_is_accepted(weights, tmp_path):
    net, path = ofa.load(weights), tmp_path / "samples.jsonl"
    samples(path, net, lambda archs: np.random.default_rng(1).random(len(archs)))
    options = ["--predictor", path, "--count", "10"]
    status, err = run("search", weights, tmp_path, *options)
    assert status == 2 and "--accept-poor" in err and not (tmp_path / "records").exists()
    status, err = run("search", weights, tmp_path, *options, "--accept-poor")
    assert status == 0 and record(tmp_path, "search")["search"]["evaluated"] == 10, err


def test_samples_searches_and_rankings_share_what_was_measured(weights, tmp_path):
    status, err = run("predictor", weights, tmp_path, "--samples", "12", "--accept-poor")
    assert status == 0, err
    drawn, known = evaluations.read(tmp_path / "samples.jsonl")[1], evaluated(tmp_path)
    assert drawn == known and len(known) == 12
    kept = record(tmp_path, "agreement")
    assert [row["measured"] for row in kept["results"]] == list(drawn.values())
    assert kept["learning"][-1]["samples"] == 12 and "| 12 |" in agreement.pages([kept])["agreement.md"]
    entries = {f"arch{i}": {"arch": name, "acc": i / 12} for i, (name, _) in enumerate(drawn)}
    (tmp_path / "subnets.json").write_text(json.dumps(entries))
    status, err = run("rank", weights, tmp_path, "--subnets", tmp_path / "subnets.json",
                      "--predictions", tmp_path / "predicted.json")
    assert status == 0, err
    rows = record(tmp_path, "rank")["results"]
    assert [row["predicted"] for row in rows] == list(drawn.values()) and evaluated(tmp_path) == known
    predicted = json.loads((tmp_path / "predicted.json").read_text())
    assert [entry["acc"] for entry in predicted.values()] == pytest.approx(list(drawn.values()), abs=1e-6)
    status, err = run("search", weights, tmp_path, "--count", "10")
    assert status == 0, err
    assert known.items() <= evaluated(tmp_path).items()


def test_subnets_trained_from_scratch_are_a_file_to_rank(weights, tmp_path):
    asked = ["--count", "2", "--epochs", "1", "--save", tmp_path / "scratch.json"]
    status, err = run("scratch", weights, tmp_path, *asked, folder="benchmarks")
    assert status == 0, err
    entries = json.loads((tmp_path / "scratch.json").read_text())
    alone = [next(row for row in found["results"] if row["image_size"] == SIZE)
             for found in records.read(tmp_path / "records")]
    assert {entry["arch"]: entry["acc"] for entry in entries.values()} == pytest.approx(
        {row["subnet"]: row["top1"] for row in alone}, abs=1e-6)
    status, err = run("rank", weights, tmp_path, "--subnets", tmp_path / "scratch.json")
    assert status == 0 and len(record(tmp_path, "rank")["results"]) == 2, err
