"""Fixtures for every test: the CPU context, the shared data folder, and runs under mpirun.

Of several processes (pytest -n 2) each computes, and lets what it starts compute, on its share of the cores.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    cores = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))

# With a handler in place NNabla adds none: its own would write to a stream that pytest has closed.
logging.getLogger().addHandler(logging.NullHandler())
import nnabla as nn  # noqa: E402
from nnabla.ext_utils import get_extension_context  # noqa: E402
from nnabla.logger import logger  # noqa: E402

import nnabla_ofa as ofa  # noqa: E402
from nnabla_ofa.experiment.parse import load_recipe  # noqa: E402
from nnabla_ofa.training.step import Stepper  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def cpu_context():
    """NNabla's default context has no array class: every test computes in the CPU's own."""
    logger.setLevel(logging.WARNING)
    with nn.context_scope(get_extension_context("cpu")):
        yield


@pytest.fixture(scope="session")
def little_memory():
    """`with little_memory():` has no more memory than now and 64 MiB; who asks for more gets a MemoryError.

    So a reader that gives its own reason there has not tried to hold what a file only declares.
    """
    @contextmanager
    def limited(more=64 << 20):
        before = resource.getrlimit(resource.RLIMIT_AS)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
    return limited


class Killed(BaseException):
    """A process that dies."""


@pytest.fixture
def killed_twice(monkeypatch):
    """killed_twice(begin): begins twice; the second of all updates dies, and so does the fifth."""
    def run(begin):
        step, count = Stepper.step, []

        def dying(self, *arguments):
            count.append(None)
            if len(count) in (2, 5):
                raise Killed
            return step(self, *arguments)
        with monkeypatch.context() as patch:
            patch.setattr(Stepper, "step", dying)
            for _ in range(2):
                with pytest.raises(Killed):
                    begin()
    return run


@pytest.fixture(scope="session")
def shared():
    """Path of the data folder beside this repository; tests that need it skip without it."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("no folder ../shared beside the repository")
    return path


@pytest.fixture(scope="session")
def mpirun_command():
    """mpirun and its options for a small machine. Skips where there is none."""
    beside = Path(sys.executable).parent / "mpirun"  # of the environment, as when it is active
    launcher = str(beside) if beside.exists() else shutil.which("mpirun")
    if launcher is None:
        pytest.skip("no mpirun: `make setup` installs one")
    return [launcher, *launcher_options(launcher)]


@pytest.fixture(scope="session")
def mpirun(mpirun_command):
    """mpirun(n, args, timeout=120, check=True): `python *args` on n ranks -> CompletedProcess.

    args are what follows `python`, e.g. ["-c", "..."] or ["runners/train.py", ...]. The working
    folder is the repository's. A run over `timeout` seconds is killed, all its ranks with it, and
    fails the test; so does, with `check`, one that exits non-zero. Skips where there is no mpirun.
    """
    def run(n, args, timeout=120, check=True):
        command = [*mpirun_command, "-n", str(n), sys.executable]
        command += [str(arg) for arg in args]
        process = subprocess.Popen(
            command,
            cwd=str(ROOT),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"mpirun took over {timeout} s: {command}\n{out}\n{err}")
        if check and process.returncode != 0:
            pytest.fail(f"exit status {process.returncode}: {command}\n{out}\n{err}")
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A tiny elastic network with new weights, as a file that training would leave."""
    recipe = load_recipe(ROOT / "tests/tiny.yaml", ["net.classes=10", "data.held_out=0.2"])
    net = ofa.Network.create(recipe.net, "K357_E0.6+0.8+1_D123")
    augment = recipe.data.augment
    net.info = {"recipe": recipe.settings(), "seed": 0, "space": "K357_E0.6+0.8+1_D123", "stage": "expand2",
                "mean": list(augment.mean), "std": list(augment.std)}
    path = tmp_path_factory.mktemp("weights") / "weights.h5"
    net.save(path)
    return path


def launcher_options(launcher):
    """Options that let ranks share the cores of a small machine, and root start them."""
    version = subprocess.run([launcher, "--version"], stdout=subprocess.PIPE, text=True).stdout
    if "Open MPI" not in version and "OpenRTE" not in version:
        return []  # MPICH and its family neither bind ranks nor refuse root
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["--oversubscribe", "--bind-to", "none", *root]
