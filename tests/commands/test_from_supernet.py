"""The commands of docs/from-supernet-to-device.md, as they stand there, on a small file like once-for-all's.

Where the packages of ONNX are absent, the export is an NNP file.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import shutil

import cv2
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.commands import command
from nnabla_ofa.experiment.options import from_namespace
from nnabla_ofa.formats.once_for_all import to_once_for_all
from nnabla_ofa.formats.torch_file import write_state_dict
from nnabla_ofa.system.comm import Single
from nnabla_ofa.system.machine import ROOT

PAGE = ROOT / "docs/from-supernet-to-device.md"
WEIGHTS = "runs/own/K357_E346_D234/weights.h5"  # of step 2
STEPS = ["profile", "train", "profile", "search", "profile", "search", "finetune", "export", "predict"]
# What makes each of them a matter of seconds.
SIZES = ["--set", "data.image_sizes=[32]", "--set", "data.valid_sizes=[32]"]
SMALL = {"profile": ["--image-size", "32", "--rounds", "1"],
         "train": [*SIZES, "--set", "stages.head.epochs=1"],
         "search": ["--count", "3", "--max-latency-ms", "1000"],
         "finetune": ["--set", "finetune.epochs=1"], "export": [], "predict": []}


def commands(of_int8=False):
    """(name, arguments) of each command on the page, variables of its lines filled in.

    of_int8: Those of its last section, which is about another device; else those before it.
    """
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8").split("## 8 ")[of_int8],
                        flags=re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    weights = WEIGHTS if of_int8 else [line[2:] for line in lines if line.startswith("W=")][0]
    found = [shlex.split(line.replace("$W", weights)) for line in lines if line.startswith("python runners")]
    return [(re.fullmatch(r"runners/(\w+)\.py", words[1])[1], words[2:]) for words in found]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """FILE.pth of five classes, and images: of five classes and of three."""
    net = ofa.create("mobilenetv3", "K357_E346_D234", seed=1, classes=5, width_mult=0.1)
    write_state_dict(tmp_path / "FILE.pth", to_once_for_all(net), key="state_dict")
    rng = np.random.default_rng(0)
    for name, classes in (("imagenet_val", "vwxyz"), ("my_images", "abc")):
        for label, one in enumerate(classes):
            (tmp_path / name / one).mkdir(parents=True)
            for i in range(12):
                image = rng.integers(50 * label, 50 * label + 50, (40, 48, 3), np.uint8)
                cv2.imwrite(str(tmp_path / name / one / f"{i}.png"), image)
    shutil.copy(tmp_path / "my_images/a/0.png", tmp_path / "photograph.jpg")  # read by content, not by name
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(one, arguments):
    """A command in this process, whose context is the CPU's already."""
    parser = argparse.ArgumentParser()
    one.add_arguments(parser)
    one.main(from_namespace(one.options, parser.parse_args(arguments)), Single())


def test_the_pages_commands_lead_from_the_file_to_a_prediction(folder, capsys, monkeypatch):
    steps = commands()
    assert [name for name, _ in steps] == STEPS
    said = []
    for name, arguments in steps:
        if name == "export" and importlib.util.find_spec("onnx") is None:
            arguments = [text.replace("onnx", "nnp") for text in arguments]
        more = [*SMALL[name], *(SIZES if "mobilenetv3_imagenet" in arguments else [])]
        monkeypatch.setattr("sys.argv", [f"runners/{name}.py", *arguments, *more])
        run(command(name), [*arguments, *more])
        said.append(capsys.readouterr().out)
    theirs, head = ofa.load("FILE.pth"), ofa.load("runs/own/K357_E346_D234/weights.h5")
    before, after, declared = theirs.arrays(), head.arrays(), head.declared()
    moved = {name for name in before
             if declared[name].trained and not np.array_equal(before[name], after[name])}
    assert moved == {"classifier/affine/W", "classifier/affine/b"}
    subnet, tuned = ofa.load("subnet.h5"), ofa.load("tuned.h5")
    assert subnet.space == tuned.space and subnet.space.single()
    assert subnet.info["classes"] == tuned.info["classes"] == ["a", "b", "c"]
    first = "first_conv/conv/W"
    assert np.array_equal(subnet.arrays()[first], before[first])
    assert not np.array_equal(tuned.arrays()[first], before[first])
    assert "FILE.pth names no classes: they are taken for those of the data, v, w, x, ..., in" in said[5]
    assert ofa.load("imagenet.h5").info["classes"] == list("vwxyz")
    assert "top-1 equal" in said[7]
    lines = said[-1].splitlines()
    assert sorted(line.split("\t")[2] for line in lines) == ["a", "b", "c"]


def test_the_commands_for_another_device_are_there():
    """They are run in tests/experiment/test_operation_files.py and tests/search/test_int8_search.py."""
    steps = commands(of_int8=True)
    assert [name for name, _ in steps] == ["profile", "search"]
    for name, arguments in steps:
        parser = argparse.ArgumentParser()
        command(name).add_arguments(parser)
        assert parser.parse_args(arguments).int8
    assert "python pieces/measure.py pieces --threads 4" in PAGE.read_text(encoding="utf-8")
