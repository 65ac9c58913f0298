"""A command whose terminal goes: Ctrl-C while it starts, streams that are closed, a reader that has ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import nnabla_ofa as ofa

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ["runners/train.py", "--recipe", "tests/tiny.yaml", "--search-space", "K7_E1_D3"]

# Runs a file or the package; it gets SIGINT as it begins to import a module.
INTERRUPTED = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = {argv!r}
runpy.{run}({argv!r}[0], run_name="__main__")
"""


def run(*command, closed=None, **options):
    """(exit status, standard output, what standard error says) of Python; closed: streams not there."""
    def close():
        for number in closed or ():
            os.close(number)

    done = subprocess.run([sys.executable, *map(str, command)], cwd=str(ROOT), stdin=subprocess.DEVNULL,
                          timeout=120, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=close,
                          **{"text": True, **options})
    return done.returncode, done.stdout, said(done.stderr)


def said(text):
    return [line for line in text.splitlines() if "INFO" not in line and "step/s" not in line]


@pytest.mark.parametrize("module", ["numpy", "nnabla", "nnabla.solver", "nnabla_ofa.data",
                                    "nnabla_ofa.commands.train"])
@pytest.mark.parametrize("way, argv", [("run_path", ["runners/train.py"]),
                                       ("run_module", ["nnabla_ofa", "train"])])
def test_ctrl_c_while_a_command_starts_is_one_line(module, way, argv):
    """Wherever in the imports: NNabla's own crash on an exception, or name a package that is missing."""
    status, out, err = run("-c", INTERRUPTED.format(module=module, argv=argv, run=way))
    assert (status, out, err) == (130, "", ["interrupted"])


def test_ctrl_c_stays_ignored_where_the_parent_ignores_it():
    """As of a command in the background of a script."""
    code = INTERRUPTED.format(module="nnabla", argv=["nnabla_ofa", "profile", "--recipe", "tests/tiny.yaml"],
                              run="run_module")
    status, out, err = run("-c", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + code)
    assert status == 2 and "interrupted" not in err and "--search-space" in err[-1]


def test_the_package_is_imported_before_nnabla_is():
    code = ("import sys, nnabla_ofa; assert 'nnabla' not in sys.modules and 'numpy' not in sys.modules\n"
            "assert set(nnabla_ofa.__all__) <= set(dir(nnabla_ofa))\n"
            "from nnabla_ofa import *; print(Network.__name__, load.__name__, nnabla_ofa.Space.__name__)")
    assert run("-c", code)[:2] == (0, "Network load Space\n")


def test_every_public_name_is_there_and_no_other():
    for name in ofa.__all__:
        assert getattr(ofa, name) is getattr(ofa, name)
    with pytest.raises(AttributeError, match="networks"):
        ofa.networks  # noqa: B018


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_a_run_without_standard_streams_ends_as_any_other(tmp_path, closed):
    status, out, err = run(*TRAIN, "--output", tmp_path, closed=closed)
    assert status == 0, (out, err)
    assert ofa.load(tmp_path / "K7_E1_D3/weights.h5").info["stage"] == "fullnet"
    assert not [path for path in tmp_path.rglob("*.h5") if b"loss is" in path.read_bytes()]


def test_an_error_without_standard_error_has_its_status():
    assert run("runners/evaluate.py", "--weights", "absent.h5", closed=(2,))[:2] == (2, "")
    assert run("-m", "nnabla_ofa", closed=(2,))[:2] == (2, "")


@pytest.mark.parametrize("both", [False, True])
def test_a_command_ends_in_silence_with_the_reader_of_its_output(tmp_path, both):
    """As `| head -1` does; both: `2>&1 | head -1`."""
    with subprocess.Popen([sys.executable, *TRAIN, "--output", str(tmp_path)], cwd=str(ROOT), text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT if both else subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        err = "" if both else process.stderr.read()
        assert process.wait(timeout=120) == 128 + signal.SIGPIPE
    assert said(err) == []


@pytest.mark.parametrize("command", [["runners/data.py", "check", "--data", "digits"],
                                     ["runners/profile.py", "--recipe", "tests/tiny.yaml", "--search-space",
                                      "K7_E1_D3", "--image-size", "16"]])
def test_a_full_disk_behind_standard_output_is_an_error(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, *command], cwd=str(ROOT), stdin=subprocess.DEVNULL,
                              timeout=120, stdout=full, stderr=subprocess.PIPE, text=True)
    errors = [line for line in said(done.stderr) if "images/s" not in line]
    assert (done.returncode, errors) == (2, ["error: writing: No space left on device"])


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict",
                                      "ascii:surrogateescape"])
def test_text_that_a_terminal_lacks_is_escaped(tmp_path, encoding):
    """In the path of the data, as bytes that are not UTF-8, and in the names of classes."""
    data = tmp_path / os.fsdecode(b"donn\xe9es \xe2\x82\xac")
    for split in ("train", "val"):
        for name in ("d\xe9j\xe0", "\u732b"):
            (data / split / name).mkdir(parents=True)
            for i in range(3):
                cv2.imwrite(str(tmp_path / "image.png"), np.full((8, 8, 3), 50 * i, np.uint8))
                shutil.copy(str(tmp_path / "image.png"), str(data / split / name / f"{i}.png"))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    status, out, err = run("runners/data.py", "check", "--data", data, env=environment, encoding="latin-1")
    assert status == 0 and "6 training images" in out, err
    absent = run("runners/data.py", "check", "--data", data / "absent", env=environment, encoding="latin-1")
    assert absent[0] == 2 and len(absent[2]) == 1 and "absent" in absent[2][0], absent
