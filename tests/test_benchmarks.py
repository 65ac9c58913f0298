"""The benchmarks run, compare the same networks, and their page follows from their records; no timing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_ofa.reports.pages import speed as page
from nnabla_ofa.system import machine, records

ROOT = Path(__file__).resolve().parent.parent

import jobs
import limit
import store
import turns
from worker import Failed, Worker

from nnabla_ofa.layers import Cost
from nnabla_ofa.model import Network, network_cost
from nnabla_ofa.nets.elastic.xception import Xception


def run(script, *args, check=True):
    return subprocess.run([sys.executable, "-W", "ignore", f"benchmarks/{script}.py", *map(str, args)],
                          cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=check)


def rows(folder, name, recipe="benchmark_step"):
    return json.loads((folder / recipe / f"benchmark-{name}.json").read_text())["results"]


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
        return [(r["task"], r["median"]) for r in rows(tmp_path, "step")]

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
    assert "| building the graph | " in page.overhead_table(*records.read(tmp_path))


COUNT = """from {module} import Xception41
net = Xception41({job})
print(sum(p.{size} for p in net.{parameters}))"""


@pytest.mark.parametrize("module, python, size, parameters", [
    ("nas", sys.executable, "size", "get_parameters(grad_only=True).values()"),
    ("peers", str(ROOT / ".venv-bench/bin/python"), "numel()", "parameters()")])
def test_peers_train_the_same_network(module, python, size, parameters):
    if not Path(python).exists():
        pytest.skip("no peers' environment (benchmarks/requirements-bench.txt)")
    job = dict(jobs.SETTINGS["cifar"].request(), subnet="XP1 7x7 3")
    code = COUNT.format(module=module, job=job, size=size, parameters=parameters)
    done = subprocess.run([python, "-W", "ignore", "-c", code], cwd=str(ROOT / "benchmarks"),
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    config = Xception(width_mult=0.25, classes=10)
    net = Network(config, config.space(jobs.SPACE))
    assert int(done.stdout) == network_cost(net.layers(), 32).parameters


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
            worker.ask(do="prepare", job=jobs.SETTINGS["quick"].request())  # no subnet
    finally:
        worker.close()


def test_ratios_and_missed_goals():
    rows = {name: {"median": seconds, "name": "XP1 7x7 3", "batch": 8, "macs": 1e9}
            for name, seconds in (("ours", 2.0), ("nnabla-nas", 50.0), ("PyTorch", 5.0),
                                  ("PyTorch channels_last", 2.5), ("limit", 1.3))}
    assert page.ratios(rows) == {"nnabla-nas": 25.0, "PyTorch": 1.25, "limit": 0.65}
    record = {"results": [{**row, "contender": name, "setting": "big", "task": "training",
                           "subnet": "largest"} for name, row in rows.items()]}
    text = page.ratio_table(record)
    assert "25.0 (goal 20.0) | 1.25 (goal 1.50, missed) | 65% (goal 60%)" in text


def test_deployment_is_measured_in_every_runtime_and_precision():
    pytest.importorskip("onnxruntime.quantization", reason="requirements-onnx.txt")
    pytest.importorskip("nnabla.utils.converter.onnx", reason="requirements-onnx.txt")
    import deploy
    net = Network.create(Xception(width_mult=0.02, classes=4, middle_blocks=1, stem_stride=1), "K3_E1_D1")
    row = deploy.of_network(net, 12, 1)
    assert row["macs"] == net.cost(None, 12).macs
    assert all(row[f"{key}_ms_{threads}"] > 0 for key in ("ours", "float32", "int8") for threads in (1, 2))
    assert row["float32_bytes"] > 0 and row["int8_bytes"] > 0
