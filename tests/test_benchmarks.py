"""The benchmarks run, compare the same networks, and their page follows from their records; no timing."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from nnabla_ofa.reports import step_times
from nnabla_ofa.reports.pages import speed as page
from nnabla_ofa.reports.pages import step_tables
from nnabla_ofa.system import machine, records

ROOT = Path(__file__).resolve().parent.parent

import jobs
import limit
import store
import turns
from worker import Failed, Worker

from nnabla_ofa import Network, Xception
from nnabla_ofa.layers import Cost
from nnabla_ofa.model import network_cost

PEERS = ROOT / ".venv-bench/bin/python"


def run(script, *args, check=True):
    return subprocess.run([sys.executable, "-W", "ignore", f"benchmarks/{script}.py", *map(str, args)],
                          cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=check)


def rows(folder, name, recipe="benchmark_step"):
    own = name if recipe != "benchmark_step" else f"{name}-{step_times.slug(limit.instructions())}"
    return json.loads((folder / recipe / f"benchmark-{own}.json").read_text())["results"]


def test_a_piece_of_the_table_without_peers(tmp_path):
    run("step", "--quick", "--only", "quick:training:largest", "--rounds", 1, "--peers", "absent",
        "--records", tmp_path)
    found = rows(tmp_path, "step")
    assert [row["contender"] for row in found] == ["ours", "NNabla", "nnabla-nas", "limit"]
    assert all(row["q1"] <= row["median"] <= row["q3"] for row in found if row["contender"] != "limit")
    text = page.pages(records.read(tmp_path))["step.md"]
    assert "| quick, training of 4 | largest, `XP1 7x7 3`" in text and "PyTorch |" not in text


def test_a_piece_measured_again_replaces_itself_and_another_machine_everything(tmp_path, monkeypatch):
    def save(value, task="training"):
        row = {"task": task, "contender": "ours", "median": value}
        store.save(tmp_path, "benchmark_step", "step", [row], ("task",), 1.0, {})
        [record] = records.read(tmp_path)
        return [(r["task"], r["median"]) for r in record["results"]]

    assert save(1.0) == [("training", 1.0)]
    assert save(2.0, "evaluation") == [("training", 1.0), ("evaluation", 2.0)]
    assert save(3.0) == [("evaluation", 2.0), ("training", 3.0)]
    monkeypatch.setattr(machine, "cpu", lambda: "another")
    assert save(4.0) == [("training", 4.0)]


def test_population_benchmark_and_its_page(tmp_path):
    run("population", "--quick", "--only", "quick:mutated", "--subnets", 4, "--rounds", 1,
        "--records", tmp_path)
    [row] = rows(tmp_path, "population", "benchmark_population")
    assert row["layers"] < row["layers_alone"] == 4 * 17 and row["difference"] < 1e-5
    assert "| mutated | 4 |" in page.pages(records.read(tmp_path))["population.md"]


def test_ranks_share_the_images_of_an_update(tmp_path, mpirun):
    run("step", "--quick", "--ranks", "--peers", "absent", "--records", tmp_path)
    one, two = rows(tmp_path, "ranks")
    assert (one["processes"], one["threads"], two["processes"], two["threads"]) == (1, 2, 2, 1)
    assert one["images"] == two["images"] == 8 and two["all_reduce"] > 0 == one["all_reduce"]


def test_overhead_is_that_of_the_training_loop(tmp_path):
    run("step", "--quick", "--overhead", "--records", tmp_path)
    seconds = {row["part"]: row["median"] for row in rows(tmp_path, "overhead")}
    whole = seconds.pop("step")
    assert len(seconds) == 5 and min(seconds.values()) > 0 and sum(seconds.values()) < whole
    assert "| building the graph | " in step_tables.overhead_table(*records.read(tmp_path))


COUNT = """from nas import Xception41
net = Xception41({job})
print(sum(p.size for p in net.get_parameters(grad_only=True).values()))"""


def test_nnabla_nas_trains_the_same_network():
    [job] = jobs.pieces(["cifar:training:largest"]).values()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", COUNT.format(job=asdict(job))],
                          cwd=str(ROOT / "benchmarks"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          universal_newlines=True, check=True)
    assert int(done.stdout) == network_cost(job.network().layers(), 32).parameters


LOGITS = """import sys, json, numpy, torch
from torch_nets import Net
for number, job in enumerate(json.load(open("jobs.json"))):
    net, given = Net(job), numpy.load(f"{number}.npz")
    net.mode.load({name[2:]: given[name] for name in given if name.startswith("a:")})
    with torch.inference_mode():
        numpy.save(f"{number}.npy", net.eval()(torch.from_numpy(given["images"])).numpy())"""


@pytest.mark.skipif(not PEERS.exists(), reason="no peers' environment (benchmarks/requirements-bench.txt)")
@pytest.mark.parametrize("only", [
    [f"{setting}:{task}" for setting in jobs.SETTINGS if "cifar" in setting for task in jobs.TASKS],
    [f"zoo:training:{name}" for name in ("shufflenetv2", "efficientnet_b0", "regnetx_200mf", "densenet121")],
    pytest.param(["zoo"], marks=pytest.mark.large)], ids=["elastic", "fixed", "zoo"])
def test_pytorch_computes_the_same_logits(tmp_path, only):
    tried = [replace(job, batch=2) for job in jobs.pieces(only).values()]
    (tmp_path / "jobs.json").write_text(json.dumps([job.request() for job in tried]))
    expected = []
    for number, job in enumerate(tried):
        net, rng = job.network(), np.random.default_rng(number)
        net.set_arrays({name: scattered(name, array, rng) for name, array in net.arrays().items()})
        own = net.extract(job.subnet) if job.task == "evaluation" else net
        images = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
        np.savez(tmp_path / f"{number}.npz", images=images,
                 **{f"a:{name}": array for name, array in own.arrays().items()})
        expected.append(net.logits(images, job.subnet))
    subprocess.run([str(PEERS), "-W", "ignore", "-c", LOGITS], cwd=str(tmp_path), check=True,
                   env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")})
    for number, (job, logits) in enumerate(zip(tried, expected)):
        found = np.load(tmp_path / f"{number}.npy")
        assert np.abs(found - logits).max() < 1e-5 * np.abs(logits).max(), (job.subnet, job.task)


def scattered(name, array, rng):
    """A weight as it is; BN and biases drawn, so that leaving one out shows."""
    if name.endswith("bn/var"):
        return rng.uniform(2, 3, array.shape).astype(np.float32)
    if name.endswith(("bn/mean", "bn/beta", "bn/gamma", "/b")):
        return (array + 0.1 * rng.standard_normal(array.shape)).astype(np.float32)
    return array + 0.01 * rng.standard_normal(array.shape).astype(np.float32) if "to" in name else array


def test_only_a_network_of_the_zoo():
    [(piece, job)] = jobs.pieces(["zoo:training:resnet18"]).items()
    assert piece == ("zoo", "training", "resnet18") and job.net["family"] == "resnet18_cifar"
    assert len(jobs.pieces(["zoo"])) == 12


def test_limit_of_a_layer_by_hand():
    # 1x1 convolution, 2 to 3 channels, 5 pixels, batch 4: 30 MACs and 15 outputs an image, 6 weights
    cost = Cost(parameters=6, macs=30, activations=15)
    assert limit.work(cost, 4, training=False) == (2 * 30 * 4, 4 * (2 * 15 * 4 + 6))
    assert limit.work(cost, 4, training=True) == (6 * 30 * 4, 4 * (5 * 15 * 4 + 8 * 6))
    rates = limit.Rates(flops=10.0, bytes=100.0)
    assert limit.seconds(cost, 4, False, rates) == {"flops": 24.0, "memory": 5.04}


class Fake:
    """A contender whose calls take given seconds."""

    def __init__(self, seconds=None):
        self._seconds = seconds

    def ask(self, do, job=None, repeats=1):
        if self._seconds is None:
            raise Failed("broken: it does not run")
        return {"seconds": self._seconds if do == "prepare" else [self._seconds] * repeats}


def test_turns_leave_out_the_broken_and_cut_the_slow(monkeypatch, capsys):
    monkeypatch.setattr(turns, "PAUSE_SECONDS", 0)
    found = turns.take_turns({"fast": Fake(0.07), "slow": Fake(9.0), "broken": Fake()}, {}, 5, 20)
    assert {name: len(seconds) for name, seconds in found.items()} == {"fast": 20, "slow": 3}
    assert "it does not run" in capsys.readouterr().out
    assert turns.summary([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0, "samples": 5}


def test_a_failing_contender_answers_with_its_error():
    worker = Worker("ours:fast")
    try:
        with pytest.raises(Failed, match="subnet"):
            worker.ask(do="prepare", job=asdict(jobs.SETTINGS["quick"]))  # no subnet
    finally:
        worker.close()


def row(contender, median, setting="big", task="training", subnet="largest"):
    return {"setting": setting, "task": task, "subnet": subnet, "name": "a network", "batch": 8, "macs": 1e9,
            "contender": contender, "median": median, "q1": median, "q3": median, "flops": median,
            "commit": "c", "date": "d"}


def test_ratios_and_missed_goals():
    found = step_times.by_piece({"results": [
        row("ours", 2.0), row("nnabla-nas", 50.0), row("PyTorch", 5.0), row("PyTorch channels_last", 2.5),
        row("PyTorch bf16", 2.8), row("limit", 1.3)]})
    assert step_times.ratios(*found.values()) == {"nnabla-nas": 25.0, "PyTorch": 1.25, "limit": 0.65}
    record = {"results": [one for rows in found.values() for one in rows.values()]}
    assert "| 2000 | 1.25 **missed** | 65% **missed** |" in step_tables.side_by_side({"AVX2": record})
    record["results"] = [row("ours", 2.0, "cifar"), row("PyTorch", 3.1, "cifar"), row("limit", 1.3, "cifar")]
    assert "| 2000 | 1.55 | 65% |" in step_tables.side_by_side({"AVX2": record})


def test_the_zoo_has_a_geometric_mean_on_each_machine():
    def record(*pytorch):
        return {"results": [row(contender, seconds, "zoo", "training", f"net{i}")
                            for i, their in enumerate(pytorch)
                            for contender, seconds in (("ours", 2.0), ("PyTorch", their))]}
    text = step_tables.side_by_side({"AVX2": record(8.0, 2.0), "AVX-512": record(1.0, 2.0)}, zoo=True)
    assert "| net0 | 1.000 G | 2000 | 4.00 | 2000 | 0.50 **missed** |" in text
    assert "| **geometric mean** of 2 | - | - | 2.00 | - | 0.71 **missed** |" in text


def test_machines_of_two_kinds_stand_side_by_side(tmp_path):
    def save(where, ours):
        found = [row("ours", ours), row("PyTorch", 3.0), row("limit", 1.0)]
        store.save(tmp_path, "benchmark_step", "step", found, ("contender",), 1.0, {}, where=where)
    save("", 2.0)      # as before records said where
    save("AVX2", 4.0)
    text = page.pages(records.read(tmp_path))["step.md"]
    assert "| AVX2: ours, ms | AVX2: better PyTorch | AVX2: limit | AVX-512: ours, ms |" in text
    assert "| 4000 | 0.75 **missed** | 25% **missed** | 2000 | 1.50 | 50% **missed** |" in text
    save("AVX-512", 1.0)
    text = page.pages(records.read(tmp_path))["step.md"]
    assert "| 25% **missed** | 1000 | 3.00 | 100% |" in text and "2000" not in text


def test_memory_beside_the_better_pytorch():
    found = [{"setting": "zoo", "subnet": name, "contender": contender, "peak": peak * 2 ** 20}
             for name, both in (("resnet18", (300, 600)), ("xception", (500, 400)))
             for contender, peak in zip(("ours", "PyTorch"), both)]
    old = [{"setting": "big", "contender": "ours", "peak": 2 ** 20}]
    text = step_tables.memory_table({"results": found + old})
    assert "| resnet18 | 300 | 600 | 2.00 |" in text and "| xception | 500 | 400 | 0.80 **missed** |" in text
    assert "| big: Xception at 128 px, full width | 1 | - | - |" in text


def test_deployment_is_measured_in_every_runtime_and_precision():
    pytest.importorskip("onnxruntime.quantization", reason="requirements-onnx.txt")
    pytest.importorskip("nnabla.utils.converter.onnx", reason="requirements-onnx.txt")
    import deploy
    net = Network.create(Xception(width_mult=0.02, classes=4, middle_blocks=1, stem_stride=1), "K3_E1_D1")
    row = deploy.of_network(net, 12, 1)
    assert row["macs"] == net.cost(None, 12).macs
    assert all(row[f"{key}_ms_{threads}"] > 0 for key in ("ours", "float32", "int8") for threads in (1, 2))
    assert row["float32_bytes"] > 0 and row["int8_bytes"] > 0
