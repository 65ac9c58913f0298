"""The latency table: what it sums, that nothing measured is lost, and what it refuses."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from elastic_nets import FAMILIES

import nnabla_ofa as ofa
from nnabla_ofa.commands.profile import warn
from nnabla_ofa.cost import Operations, latency, noise, timing
from nnabla_ofa.cost.latency import LatencyTable, Times, key
from nnabla_ofa.cost.timing import Setting
from nnabla_ofa.evaluation.statistics import agreement
from nnabla_ofa.layers import ConvBn, Linear, Separable
from nnabla_ofa.nets.elastic.resnet20 import ResNet20
from nnabla_ofa.reports.pages import agreement as agreement_page
from nnabla_ofa.system import records

ROOT = Path(__file__).resolve().parents[2]
SETTING = Setting("cpu", "a processor", 1, 2, "nnabla")
XCEPTION = ofa.Xception(classes=4, width_mult=0.02, middle_blocks=2, stem_stride=1)


def network(config=XCEPTION, space="K35_E0.8+1_D12"):
    net = ofa.Network.create(config, space)
    net.kernels = "nnabla"
    return net


def layers(net, arch, size):
    """(layer, side of its input) of the stand-alone subnet."""
    for layer in net.config.layers(ofa.Space.of(arch), arch.canonical()):
        yield layer, size
        size = layer.cost(size)[1]


OTHERS = [(ResNet20(classes=4), "C8-16_C4-32_C64"), (FAMILIES["mobilenetv3"][0], "K35_E346_D34"),
          (FAMILIES["proxylessnas"][0], "K7_E46_D234"),
          (FAMILIES["ofa_resnet50"][0], "D01_E0.2+0.35_W0.65+1")]


@pytest.mark.parametrize("unit", ["part", "block"])
@pytest.mark.parametrize("config, space", [(XCEPTION, "K35_E0.8+1_D12"), *OTHERS])
def test_prediction_is_the_sum_of_medians_and_overhead(config, space, unit):
    def pieces(layer, side):
        parts = layer.parts_on(side)
        return parts if unit == "part" or not parts else [(layer, side)]
    net, rng = network(config, space), np.random.default_rng(0)
    archs = [net.space.sample(rng) for _ in range(30)]
    names = {key(*part): None for layer in Operations(net, 8).all() for part in pieces(*layer)}
    samples = {name: rng.uniform(1, 9, 5).tolist() for name in names}
    table = LatencyTable.new(net, SETTING, "", "table")
    table.unit = unit
    table.sizes[8] = Times(samples, overhead_ms=0.25)
    expected = [0.25 + sum(np.median(samples[key(*part)]) for layer in layers(net, arch, 8)
                           for part in pieces(*layer)) for arch in archs]
    assert np.allclose(table.predict(net, archs, 8), expected, rtol=1e-12)


def test_the_parts_are_all_of_the_network():
    for net in (network(), *(network(*other) for other in OTHERS)):
        arch = net.space.sample(np.random.default_rng(1))
        found = [part for layer, side in layers(net, arch, 16) for part in layer.parts_on(side)]
        assert sum(layer.cost(side)[0].macs for layer, side in found) == net.cost(arch, 16).macs


@pytest.mark.parametrize("kernels", ["nnabla", "auto"])
def test_an_operation_computes_the_same_each_time(kernels, monkeypatch):
    net, outputs = network(), []
    net.kernels = kernels

    def recorded(build):
        def recording(layer, x, mode):
            outputs.append(build(layer, x, mode))
            return outputs[-1]
        return recording
    for kind in (ConvBn, Separable, Linear):
        monkeypatch.setattr(kind, "build", recorded(kind.build))
    for part in [part for layer, side in layers(net, net.space.largest(), 8)
                 for part in layer.parts_on(side)]:
        call = timing.operation_call(*part, 2, net.mode(batch_stat=False))
        call()
        first = outputs[-1].d.copy()
        call()
        assert np.array_equal(outputs[-1].d, first) and first.std() > 0, part


def test_each_call_is_timed_once_a_round(monkeypatch):
    clock, called = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def call(name, seconds):
        def run():
            called.append(name)
            clock[0] += seconds
        return run
    calls = {"a": call("a", 0.001), "b": call("b", 0.002)}
    samples = timing.measure(calls, 4, {"a": [7.0], "c": [5.0]})
    assert samples["a"] == pytest.approx([7, 1, 1, 1]) and samples["b"] == pytest.approx([2] * 4)
    assert samples["c"] == [5.0] and called.count("a") == 3 + timing.WARM_UP
    rounds = called[2 * timing.WARM_UP:]
    assert all(set(pair) == {"a", "b"} for pair in zip(rounds[:6:2], rounds[1:6:2]))


@pytest.mark.parametrize("config, space", OTHERS[1:])
def test_a_table_is_built_of_every_family(config, space, tmp_path):
    net, path = network(config, space), tmp_path / "table.json"
    table = LatencyTable.new(net, SETTING, "", str(path))
    table.build(net, 8, path, 1)
    archs = net.space.sample_distinct(3, np.random.default_rng(0))
    again = LatencyTable.load(path)
    assert again.sizes[8].operations.keys() == {
        key(*part) for layer, side in Operations(net, 8).all() for part in layer.parts_on(side)}
    rounding = 1e-4 * len(again.sizes[8].operations)  # ms; a file has four digits behind the point
    assert np.abs(again.predict(net, archs, 8) - table.predict(net, archs, 8)).max() < rounding


def test_an_interrupted_table_goes_on(tmp_path, monkeypatch):
    net, path = network(), tmp_path / "table.json"
    table = LatencyTable.new(net, SETTING, "", str(path))
    measure = latency.measure
    monkeypatch.setattr(latency, "measure", lambda calls, rounds, *rest: measure(calls, 1, *rest))
    table.build(net, 8, path, 3)
    kept = json.loads(path.read_text())
    kept["image_sizes"]["8"]["overhead_ms"] = None
    path.write_text(json.dumps(kept))
    again = LatencyTable.load(path)
    with pytest.raises(ofa.OfaError, match="not finished at image size 8"):
        again.predict(net, [net.space.largest()], 8)
    monkeypatch.setattr(latency, "measure", measure)
    again.require_same(LatencyTable.new(net, SETTING, "", "")).build(net, 8, path, 3)
    done = LatencyTable.load(path).sizes[8]
    for kind in ("operations", "networks"):
        for row in kept["image_sizes"]["8"][kind]:
            samples = getattr(done, kind)[row["name"]]
            assert len(samples) == 3 and samples[:1] == row["samples_ms"]
    assert again.predict(net, [net.space.largest()], 8) > 0


def test_the_reference_operation_comes_before_the_first_round_and_after_each(tmp_path, monkeypatch):
    called = []

    def recorder(name):
        return lambda *arguments: lambda: called.append(name)
    for owner, function, name in ((latency, "operation_call", "operation"), (noise, "reference_call", "R"),
                                  (latency, "network_call", "network")):
        monkeypatch.setattr(owner, function, recorder(name))
    net, path = network(), tmp_path / "table.json"
    table = LatencyTable.new(net, SETTING, "", str(path))
    table.build(net, 8, path, 3)
    times = table.sizes[8]
    calls = len(times.operations) + len(times.networks)
    order = "".join("R" if name == "R" else "." for name in called[calls * timing.WARM_UP + 1:])
    assert called[0] == "R" and order == 3 * (calls * "." + "R")
    assert len(times.reference) == 4
    table.build(net, 8, path, 3)  # nothing is missing
    assert len(LatencyTable.load(path).sizes[8].reference) == 4


def test_a_table_says_that_it_was_built_beside_other_work(tmp_path, capsys):
    path = tmp_path / "table.json"
    table = LatencyTable.new(network(), SETTING, "", str(path))
    quiet, busy = [1.0, 1.1, 1.125, 1.05], [1.0, 1.25, 1.25, 1.25]
    assert noise.slowdown(quiet) == pytest.approx(0.075) and noise.slowdown(busy) == pytest.approx(0.25)
    for size, reference in ((8, quiet), (12, busy), (16, [])):
        table.sizes[size] = Times({"an operation": [1.5]}, {"a subnet": [1.5]}, 1.0, None, reference)
    table.save(path)
    kept = json.loads(path.read_text())
    assert [row["slowdown"] for row in kept["image_sizes"]["12"]["reference"]] == [0.25]
    warn(LatencyTable.load(path), (8, 12, 16))
    said, = capsys.readouterr().err.splitlines()
    assert said.startswith(f"warning: {path} is noisy at 12 pixels") and " 25% " in said
    assert "stop other programs" in said and "--rounds" in said


def test_versions_of_the_file(tmp_path):
    """The first has no reference operation, the second no runtime; what a later one means is not known."""
    path = tmp_path / "table.json"
    table = LatencyTable.new(network(), SETTING, "", str(path))
    table.sizes[8] = Times({"an operation": [1.5]}, {"a subnet": [1.5]}, 1.0, None, [1.0, 2.0])
    table.save(path)
    kept = json.loads(path.read_text())
    second = {**{key: value for key, value in kept.items() if key != "unit"}, "version": 2}
    for name in ("runtime", "precision"):
        del second["setting"][name]
    path.write_text(json.dumps(second))
    old = LatencyTable.load(path)
    assert old.setting == SETTING and old.unit == "part" and old.sizes == table.sizes
    first = {key: value for key, value in second.items() if key != "version"}
    del first["image_sizes"]["8"]["reference"]
    path.write_text(json.dumps(first))
    old = LatencyTable.load(path)
    assert old.sizes[8] == Times({"an operation": [1.5]}, {"a subnet": [1.5]}, 1.0)
    assert old.warning(8) is None
    path.write_text(json.dumps({**kept, "version": latency.VERSION + 1}))
    with pytest.raises(ofa.OfaError, match="of a newer nnabla_ofa"):
        LatencyTable.load(path)


def test_refusals_name_what_differs(tmp_path):
    net, path = network(), tmp_path / "table.json"
    table = LatencyTable.new(net, SETTING, "", str(path))
    table.sizes[8] = Times({}, overhead_ms=0.0)
    table.save(path)
    table = LatencyTable.load(path)
    for name, other in (("threads", 2), ("batch_size", 1), ("device", "cudnn"), ("kernels", "fast"),
                        ("runtime", "onnxruntime"), ("precision", "int8")):
        with pytest.raises(ofa.OfaError, match=f"{name}={getattr(SETTING, name)}, not {name}={other}"):
            table.require(**{name: other})
    assert table.require(**asdict(SETTING)) is table
    with pytest.raises(ofa.OfaError, match="no networks to check it on"):
        table.checked(8)
    table.sizes[8].networks = {"a": [4.0, 4.0, 4.0], "b": [1.0, 2.0, 3.0], "c": [4.0, 5.0, 6.0]}
    assert table.spread(8) == pytest.approx(1 / 5)
    with pytest.raises(ofa.OfaError, match="no latencies at image size 9, only at 8"):
        table.predict(net, [], 9)
    with pytest.raises(ofa.OfaError, match="another network or space"):
        table.predict(net, [net.space.largest()], 8)
    with pytest.raises(ofa.OfaError, match="another network, with space"):
        table.require_same(LatencyTable.new(network(space="K3_E1_D1"), SETTING, "", ""))
    with pytest.raises(ofa.OfaError, match="batch_size=0"):
        Setting.here(net, 1, 0)
    with pytest.raises(ofa.OfaError, match="rounds=0"):
        timing.measure({}, 0)
    with pytest.raises(ofa.OfaError, match="threads=2"):
        Setting.here(net, 2, 1)


@pytest.mark.parametrize("damage", [
    lambda text: text[:-20], lambda text: text.replace("latency table", "recipe"),
    lambda text: text.replace("1.5", "-1.5"), lambda text: text.replace("1.5", "NaN"),
    lambda text: text.replace("threads", "strands"), lambda text: "[]", lambda text: "",
    lambda text: text.replace('"part"', '"pixel"')])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "table.json"
    table = LatencyTable.new(network(), SETTING, "", str(path))
    table.sizes[8] = Times({"an operation": [1.5]}, {"a subnet": [1.5]}, 1.0)
    table.save(path)
    assert LatencyTable.load(path) == LatencyTable(SETTING, table.network, table.about, table.sizes,
                                                   str(path))
    path.write_text(damage(path.read_text()))
    with pytest.raises(ofa.OfaError, match="is not a latency table, or it is damaged"):
        LatencyTable.load(path)


def test_agreement_by_hand():
    found = agreement([1, 2, 4], [2, 4, 4])
    assert found.mean_relative_error == pytest.approx(1 / 3) and found.count == 3
    assert found.rmse == pytest.approx(np.sqrt(5 / 3)) and found.kendall_tau == pytest.approx(2 / np.sqrt(6))
    assert agreement([1, 1], [1, 2]).kendall_tau == 0


def profile(*arguments):
    return subprocess.run([sys.executable, "runners/profile.py", *map(str, arguments)], cwd=str(ROOT),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_builds_checks_and_predicts(tmp_path):
    table, costs = tmp_path / "table.json", tmp_path / "costs.json"
    net = ["--recipe", "tests/tiny.yaml", "--search-space", "K35_E1_D12", "--classes", 10, "--threads", 1]
    done = profile(*net, "--build-table", table, "--check-table", "--rounds", 2, "--random", 4,
                   "--image-size", 12, "--latency", "--save", costs, "--records", tmp_path / "records")
    assert done.returncode == 0, done.stderr
    assert "16 subnets: Kendall tau" in done.stdout  # the whole space
    assert (tmp_path / "table.12.png").read_bytes()[:4] == b"\x89PNG"
    kept = json.loads(table.read_text())["image_sizes"]["12"]
    check, reference = kept["check"], kept["reference"]
    assert len(reference[0]["samples_ms"]) == 3
    assert (f"{table} is noisy at 12 pixels" in done.stderr) == (reference[0]["slowdown"] > noise.NOISY)
    assert agreement(check["predicted_ms"], check["measured_ms"]).rmse == pytest.approx(check["rmse"], .01)
    kept, = records.read(tmp_path / "records")
    text = agreement_page.pages([kept])["agreement.md"]
    tau = agreement(check["predicted_ms"], check["measured_ms"]).kendall_tau  # of rounded milliseconds
    assert f"| 12 px | 16 | {tau:.3f} |" in text and "on 1 thread" in text
    assert [*agreement_page.figures([kept])] == ["agreement-network-latency-12.png"]
    rows = json.loads(costs.read_text())
    assert len(rows) == 4 and all(row["predicted_ms"] > 0 and row["latency_ms"] > 0 for row in rows)
    other = profile(*net[:-1], 2, "--table", table, "--check-table", "--image-size", 12)
    assert other.returncode == 2 and "threads=" in other.stderr


@pytest.mark.parametrize("arguments, complaint", [
    ([], "name a network"), (["--recipe", "tests/tiny.yaml", "--search-space", "K7"], "K357_E0.6"),
    (["--recipe", "tests/tiny.yaml", "--search-space", "K7_E1_D3", "--check-table"], "needs --table"),
    (["--recipe", "tests/tiny.yaml", "--search-space", "K7_E1_D3", "--save", "a.txt"], ".csv")])
def test_bad_arguments_get_one_clear_error(arguments, complaint):
    done = profile(*arguments)
    assert done.returncode == 2 and complaint in done.stderr.splitlines()[-1]
