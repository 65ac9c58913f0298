"""What a run under mpirun says last: past an mpirun that kills it and no longer reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RANK = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_SIZE", "PMI_RANK")

# A launcher: reads what its process prints, or not; sends SIGTERM, then SIGKILL a quarter of a second later.
LAUNCHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
child.stdout.readline()
child.terminate()
if {reads}:
    sys.stderr.write(child.communicate()[1].decode())
else:
    time.sleep(1)
    child.kill()
"""
# It computes where no signal's handler runs: within one call that gives no way to other code of the thread.
CHILD = """
import signal, threading
from nnabla_ofa.system.last_line import at_sigterm
signal.signal(signal.SIGTERM, lambda *_: None)
with at_sigterm("the last line"):
    print("ready", flush=True)
    {work}
"""
BUSY = "pow(3, 1 << 20); lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=0.5)"


def launched(rank, size, reads):
    """What such a launcher and its process print to standard error."""
    environment = {name: value for name, value in os.environ.items() if name not in RANK}
    environment.update({"OMPI_COMM_WORLD_SIZE": str(size), "OMPI_COMM_WORLD_RANK": str(rank)})
    code = LAUNCHER.format(child=CHILD.format(work=BUSY), reads=reads)
    done = subprocess.run([sys.executable, "-c", code], cwd=str(ROOT), env=environment, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    return done.stderr.split("\n")


@pytest.mark.parametrize("reads", [True, False])
def test_the_first_of_several_says_it_once(reads):
    assert launched(0, 2, reads).count("the last line") == 1


@pytest.mark.parametrize("rank, size", [(1, 2), (0, 1)])
def test_others_and_a_single_process_say_nothing(rank, size):
    assert launched(rank, size, True) == [""]


def interrupted(mpirun_command, output, number):
    """What mpirun and two training processes print when mpirun gets a signal; its status."""
    command = [*mpirun_command, "-n", "2", sys.executable, "runners/train.py", "--recipe", "tests/tiny.yaml",
               "--search-space", "K7_E1_D3", "--set", "stages.fullnet.epochs=500", "--output", str(output)]
    process = subprocess.Popen(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    deadline = time.time() + 60
    while not (output / "K7_E1_D3/checkpoint-0001.h5").exists() and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    try:
        printed, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return printed.replace("\0", ""), process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_of_mpirun_prints_what_goes_on(mpirun_command, tmp_path, number):
    """Where others take the cores, a quarter of a second may pass before the line is out: three tries."""
    said = []
    while not said or not said[-1] and len(said) < 3:
        printed, status = interrupted(mpirun_command, tmp_path / str(len(said)), number)
        assert status != 0 and "Traceback" not in printed, printed
        said.append("asked to stop: training and search go on when their command is repeated"
                    in printed.splitlines())
    assert said[-1], printed
