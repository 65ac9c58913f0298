"""Files on disks of all kinds: without synced folders, without locks; full ones leave what was there."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys

import pytest

from nnabla_ofa.errors import OfaError
from nnabla_ofa.system import files
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.monitor import SeriesLog


@pytest.fixture(autouse=True)
def forget_warnings():
    files._warn.cache_clear()


def failing(number, only_folders=False):
    """fsync or flock as a file system that answers with this error; only_folders: files are synced."""
    sync = os.fsync

    def call(file, *arguments):
        if only_folders and not stat.S_ISDIR(os.fstat(file).st_mode):
            return sync(file)
        raise OSError(number, os.strerror(number))
    return call


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_named_once(tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(os, "fsync", failing(number, only_folders=True))
    for content in (b"old", b"new"):
        files.write_atomically(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"new" and list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert capsys.readouterr().err.count("cannot sync folders") == 1


def test_a_disk_that_fails_is_an_error_and_the_old_file_stays(tmp_path, monkeypatch):
    files.write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OfaError, match="cannot write .*what was there before is unchanged"):
        files.write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks_is_named_once(tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(fcntl, "flock", failing(number))
    for _ in range(2):
        with files.lock(tmp_path, Single()):
            pass
    assert capsys.readouterr().err.count("has no locks") == 1


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_is_held_means_another_run(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", failing(number))
    with pytest.raises(OfaError, match="another run is writing"), files.lock(tmp_path, Single()):
        pass


def test_another_process_holds_the_lock(tmp_path):
    code = ("import sys; from pathlib import Path; from nnabla_ofa.system import files, comm\n"
            "with files.lock(Path(sys.argv[1]), comm.Single()): print('held', flush=True); sys.stdin.read()")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OfaError, match="another run is writing"), files.lock(tmp_path, Single()):
            pass
    finally:
        process.communicate()
    with files.lock(tmp_path, Single()):
        pass


def test_leftovers_of_killed_writers_go(tmp_path):
    (tmp_path / ".a.123.tmp").write_bytes(b"half")
    with files.lock(tmp_path, Single()):
        assert not (tmp_path / ".a.123.tmp").exists()


def test_nothing_is_written_through_links_that_lie_in_a_run_s_folder(tmp_path):
    """As somebody may leave them who hands a folder on."""
    own, run = tmp_path / "own", tmp_path / "run"
    own.write_text("mine")
    run.mkdir()
    for name in ("weights.h5", f".weights.h5.{os.getpid()}.tmp", ".lock", "loss.series.txt",
                 "loss.series.txt.tmp"):
        (run / name).symlink_to(own)
    files.write_atomically(run / "weights.h5", b"new")
    log = SeriesLog(run)
    log.add("loss", 0, 1.0)
    log.close()
    with pytest.raises(OfaError, match=r"cannot write .*\.lock: .*; choose another --output"):
        with files.lock(run, Single()):
            pass
    assert own.read_text() == "mine" and (run / "weights.h5").read_bytes() == b"new"
    assert (run / "loss.series.txt").read_text().split() == ["0", "1"]


def test_a_lock_is_taken_again_and_again(tmp_path):
    for _ in range(2):
        with files.lock(tmp_path, Single()):
            assert (tmp_path / ".lock").is_file()
