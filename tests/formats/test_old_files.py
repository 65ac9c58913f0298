"""Files that an older version wrote are read today: they are under fixtures/, made at commit 4d1da9f."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.old_records import with_names

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests/fixtures/commit-4d1da9f"
WHOLE = "K357_E0.6+0.8+1_D123"
EXPECTED = dict(np.load(OLD / "logits.npz"))


def runner(name, *arguments):
    """Run a command line on plain NNabla, whose sums do not depend on the CPU."""
    command = [sys.executable, f"runners/{name}.py", *map(str, arguments), "--kernels", "nnabla"]
    done = subprocess.run(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def record(folder, name):
    return json.loads((folder / "records/fixture" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("key", list(EXPECTED))
def test_weights_compute_the_same_logits(key):
    file, arch = key.split(": ")
    net = ofa.load(OLD / file.replace("|", "/"))
    net.kernels = "nnabla"
    images = np.random.default_rng(1).standard_normal((4, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(net.logits(images, arch), EXPECTED[key], rtol=1e-4, atol=1e-5)


def test_an_evaluation_gives_the_figures_of_its_record(tmp_path):
    runner("evaluate", "--weights", OLD / WHOLE / "weights.h5", "--output", tmp_path,
           "--subnet", "XP1 7x7 3", "--subnet", "XP0.6 5x5 2")
    before, = with_names([record(OLD, "evaluate-whole.json")])
    for new, old in zip(record(tmp_path, "evaluate-whole.json")["results"], before["results"]):
        assert new.pop("loss") == pytest.approx(old.pop("loss"), rel=1e-4)
        assert new == old


def test_a_stage_goes_on_from_its_checkpoint(tmp_path):
    for name in ("K7_E1_D3/weights.h5", f"{WHOLE}/checkpoint-0001.h5"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(OLD / name, tmp_path / name)
    out = runner("train", "--recipe", OLD / "fixture.yaml", "--search-space", WHOLE, "--output", tmp_path)
    assert "goes on after epoch 1 of 2" in out
    new, old = (ofa.load(folder / WHOLE / "weights.h5") for folder in (tmp_path, OLD))
    # settings that were not there then
    added = {"sorting": "exact", "running_statistics": False, "checkpoint_minutes": None, "optimiser": "sgd",
             "nesterov": False, "rms_decay": 0.9, "betas": [0.9, 0.999], "eps": None, "decay_all": False,
             "loss_scale": 1024.0, "lr_init": 0.0, "lr_end": 0.0, "power": 2.0, "lr_batch": None,
             "label_smoothing_to": "all", "teacher": None, "ema": None, "only_head": False,
             "lookahead": None, "lookahead_rate": 0.5, "lookahead_power": 0.0, "zero_last_bn": False,
             "identity_convolutions": False, "whitening": None, "growing_sizes": None}
    old.info["recipe"]["train"].update(added)
    for stage in old.info["recipe"]["stages"]:
        stage.update(steps=[], finished_epochs=0, subnets_per_step=None, warmup_epochs=None,
                     weight_decay=None, only_head=None, growing_sizes=None)
    old.info["recipe"]["data"].update(test_fraction=None, balance=0.0)
    old.info["recipe"]["data"]["augment"].update(alternating_flip=False)
    identity = new.info.pop("identity")
    assert identity["seed"] == 0 and identity["stage.space"] == WHOLE
    assert new.info.pop("calibrated") == {"subnet": str(new.space.largest()), "image_size": 16}
    assert new.info == old.info and list(new.arrays()) == list(old.arrays())
    for name, array in old.arrays().items():
        np.testing.assert_allclose(new.arrays()[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    rows = record(tmp_path, "train-whole.json")["results"]
    before = record(OLD, "train-whole.json")["results"]
    assert [row["macs"] for row in rows] == [row["macs"] for row in before]


def test_a_latency_table_and_samples_serve(tmp_path):
    from nnabla_ofa.cost.latency import LatencyTable
    from nnabla_ofa.search.predictor import Predictor
    net = ofa.load(OLD / WHOLE / "weights.h5")
    table = LatencyTable.load(OLD / "latency.json")
    archs = [net.space.largest(), net.space.smallest()]
    milliseconds = table.predict(net, archs, 16)
    assert (milliseconds > 0).all() and milliseconds[0] > milliseconds[1]
    assert len(Predictor.load(OLD / "samples.jsonl", net, accept_poor=True)(archs, 16)) == 2


def test_a_search_measures_anew_what_does_not_say_on_which_images(tmp_path):
    """Evaluations of then named no images: what is measured now is the same, in a file beside theirs."""
    shutil.copytree(OLD / "search", tmp_path / "search")
    runner("search", "--weights", OLD / WHOLE / "weights.h5", "--output", tmp_path, "--count", 12)
    new, old = (record(folder, "search-search.json")["results"] for folder in (tmp_path, OLD))
    assert [row["subnet"] for row in new] == [row["subnet"] for row in old]
    [before] = (OLD / "search").glob("evaluated-*.jsonl")
    [file] = set((tmp_path / "search").glob("evaluated-*.jsonl")) - {tmp_path / "search" / before.name}
    assert (tmp_path / "search" / before.name).read_bytes() == before.read_bytes()
    rows, known = (set(path.read_text().splitlines()[1:]) for path in (file, before))
    assert len(rows) == 12 and rows < known
