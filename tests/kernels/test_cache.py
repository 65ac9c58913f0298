"""Where the compiled functions lie: the next folder is tried where one cannot serve."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnabla_ofa import kernels
from nnabla_ofa.kernels import build

pytestmark = pytest.mark.skipif(kernels.unavailable_reason() is not None,
                                reason=str(kernels.unavailable_reason()))


def library(monkeypatch, *folders):
    monkeypatch.setattr(build, "_cache_folders", lambda: iter(folders))
    return build._library()._name


def test_a_folder_that_is_full_leads_to_the_next(tmp_path, monkeypatch):
    compiled = build._compile

    def full(compiler, extra, source, target):
        if target.parent.name == "full":
            raise OSError(28, os.strerror(28))
        compiled(compiler, extra, source, target)
    monkeypatch.setattr(build, "_compile", full)
    found = library(monkeypatch, tmp_path / "full", tmp_path / "next")
    assert Path(found).parent == tmp_path / "next"


def test_a_folder_that_cannot_be_loaded_from_leads_to_the_next(tmp_path, monkeypatch):
    found = library(monkeypatch, tmp_path / "next")
    broken = tmp_path / "noexec" / Path(found).name
    broken.parent.mkdir(mode=0o700)
    broken.write_bytes(b"as on a disk that is mounted noexec, it cannot be loaded")
    assert library(monkeypatch, tmp_path / "noexec", tmp_path / "next") == found


def test_without_a_home_the_working_folder_stays_clean(tmp_path):
    code = ("from unittest import mock; import os\n"
            "with mock.patch('os.path.expanduser', lambda path: path):\n"
            "    from nnabla_ofa.kernels import build; print(*build._cache_folders())")
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", code], cwd=str(tmp_path), env=environment, text=True,
                          stdout=subprocess.PIPE, check=True)
    assert "~" not in done.stdout and "nnabla_ofa-" in done.stdout and not list(tmp_path.iterdir())
