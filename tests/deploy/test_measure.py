"""deploy/measure.py: what it times, that nothing is lost, what it refuses. Its onnxruntime is a stub here.

tests/experiment/test_operation_files.py runs it with the real one.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy/measure.py"
STUB = """
__version__ = "9.9"
class SessionOptions: pass
class Input:
    name, shape = "x", [1, 2, 3]
class InferenceSession:
    def __init__(self, content, options, providers):
        if content != b"whole": raise RuntimeError("INVALID_PROTOBUF\\nmore")
        self.content = content
    def get_inputs(self): return [Input]
    def run(self, outputs, inputs): assert inputs["x"].shape == (1, 2, 3)
def get_available_providers(): return ["CPUExecutionProvider", "OtherProvider"]
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(name, **more):
    return {"name": name, "file": f"{name}.onnx", "samples_ms": [], **more}


def table(**more):
    setting = {"device": "", "processor": "", "threads": 0, "batch_size": 1, "kernels": "",
               "runtime": "onnxruntime", "precision": "int8"}
    content = {"overhead_ms": None, "check": None, "reference": [row("r")],
               "operations": [row("a"), row("b")], "networks": [row("n", operations=[0, 1, 1])],
               "checked": [row("c", operations=[0, 0])]}
    return {"kind": "latency table", "version": 3, "setting": setting, "unit": "block", "network": {},
            "about": {}, "image_sizes": {"8": content}, **more}


@pytest.fixture
def folder(tmp_path):
    """A folder of files that the stub takes."""
    made = tmp_path / "pieces"
    made.mkdir()
    (made / "table.json").write_text(json.dumps(table()))
    for name in "abncr":
        (made / f"{name}.onnx").write_bytes(b"whole")
    return made


def run(folder, *more, stub=STUB):
    library = folder.parent / "library"
    library.mkdir(exist_ok=True)
    (library / "onnxruntime.py").write_text(stub)
    return subprocess.run([sys.executable, str(SCRIPT), str(folder), *map(str, more)], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={"PYTHONPATH": str(library), "PATH": "/usr/bin:/bin"})


def test_each_file_is_timed_once_a_round_and_the_reference_around_them(script, monkeypatch):
    clock, called = [0.0], []
    monkeypatch.setattr(script.time, "perf_counter", lambda: clock[0])
    seconds = {"a": 0.001, "b": 0.002, "r": 0.005}

    def open_file(row):
        def call():
            called.append(row["name"])
            clock[0] += seconds[row["name"]]
        return call
    rows, reference, rounds = [row("a"), row("b", samples_ms=[7.0])], row("r"), []
    rows[1]["samples_ms"] = [7.0]
    script.measure(rows, reference, 3, open_file, np, lambda: rounds.append(0), "")
    assert rows[0]["samples_ms"] == [1, 1, 1] and rows[1]["samples_ms"] == [7, 2, 2]
    assert reference["samples_ms"] == [5] * 4 and len(rounds) == 3
    timed = "".join(called[3 * script.WARM_UP:])
    assert sorted(timed[1:3]) == ["a", "b"] and timed[7:] == "ar"
    assert timed[0] == timed[3] == timed[6] == "r"
    assert rows[1]["median_ms"] == 2 and rows[1]["iqr_ms"] == 2.5 and rows[1]["slowdown"] == 0
    script.measure(rows, reference, 3, open_file, np, None, "")  # nothing is missing
    assert len(reference["samples_ms"]) == 4


def test_overhead_and_error_by_hand(script):
    content = table()["image_sizes"]["8"]
    content["networks"].append(row("m", operations=[1]))
    for one, ms in zip(content["operations"] + content["networks"] + content["checked"], (1, 2, 6, 4, 5)):
        one["median_ms"] = ms
    script.finish(content, 3, np)  # sums 5 and 2: overheads 1 and 2
    assert content["overhead_ms"] == 1.5
    assert content["check"]["predicted_ms"] == [3.5] and content["check"]["measured_ms"] == [5]
    assert content["check"]["mean_relative_error"] == pytest.approx(1.5 / 5)
    assert content["check"]["count"] == 1


def test_the_command_fills_the_table_and_goes_on(folder):
    done = run(folder, "--rounds", 2)
    assert done.returncode == 0, done.stderr
    kept = json.loads((folder / "table.json").read_text())
    content = kept["image_sizes"]["8"]
    assert kept["setting"]["kernels"] == "onnxruntime 9.9" and kept["setting"]["threads"] == 1
    assert kept["setting"]["device"] == "CPUExecutionProvider" and kept["setting"]["processor"]
    assert all(len(one["samples_ms"]) == 2 for kind in ("operations", "networks", "checked")
               for one in content[kind])
    assert len(content["reference"][0]["samples_ms"]) == 3 and content["overhead_ms"] is not None
    assert "other networks is" in done.stdout
    assert run(folder, "--rounds", 3).returncode == 0
    more = json.loads((folder / "table.json").read_text())["image_sizes"]["8"]
    for kind in ("operations", "networks", "checked"):
        for old, new in zip(content[kind], more[kind]):
            assert new["samples_ms"][:2] == old["samples_ms"] and len(new["samples_ms"]) == 3


def test_another_setting_is_refused_until_it_starts_anew(folder):
    assert run(folder, "--rounds", 1).returncode == 0
    other = run(folder, "--threads", 2)
    assert other.returncode == 2
    assert other.stderr.startswith("error: the table was measured with threads=1, not threads=2")
    assert run(folder, "--threads", 2, "--rounds", 2, "--again").returncode == 0
    kept = json.loads((folder / "table.json").read_text())
    assert kept["setting"]["threads"] == 2
    assert len(kept["image_sizes"]["8"]["operations"][0]["samples_ms"]) == 2


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("name, change, complaint", [
    ("table.json", lambda content: content[:-30], "is no table of operations, or it is damaged"),
    ("table.json", lambda content: b"[]", "is no table of operations"),
    ("table.json", lambda content: content.replace(b'"onnxruntime"', b'"nnabla"'), "not of onnxruntime"),
    ("a.onnx", lambda content: content[:-1], "a.onnx is no whole ONNX file")])
def test_damage_is_one_clear_error(folder, name, change, complaint):
    damage(folder, name, change)
    done = run(folder)
    assert done.returncode == 2 and complaint in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "INVALID_PROTOBUF" not in done.stdout


@pytest.mark.parametrize("more, complaint", [
    (["--provider", "GpuProvider"], "only CPUExecutionProvider, OtherProvider"),
    (["--rounds", 0], "is not an integer of 1 or more")])
def test_bad_arguments(folder, more, complaint):
    done = run(folder, *more)
    assert done.returncode == 2 and complaint in done.stderr.splitlines()[-1]


def test_what_is_not_there_is_named(folder):
    done = run(folder, stub="raise ImportError('no onnxruntime')")
    assert done.returncode == 2 and "pip install numpy onnxruntime" in done.stderr
    (folder / "b.onnx").unlink()
    done = run(folder)
    assert done.returncode == 2 and "cannot read" in done.stderr and "b.onnx" in done.stderr
    done = run(folder.parent)
    assert done.returncode == 2 and "--write-operations" in done.stderr
