"""Requirements files, Dockerfile, Makefile and scripts agree with each other."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = sorted(path.name for path in ROOT.glob("requirements*.txt"))
SCRIPTS = [".ci/run"] + sorted(f"scripts/{path.name}" for path in ROOT.glob("scripts/*.sh"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def requirements(name):
    """The requirement lines of a file, without comments and `-r` lines."""
    lines = [line.split(" #")[0].strip() for line in read(name).splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]


def chosen_requirements(name, python):
    """Those of the file that hold on this Python, such as "3.8"."""
    environment = {"python_version": python}
    return [r for r in requirements(name) if not r.marker or r.marker.evaluate(environment)]


def pins(name, python):
    """{package: version} that the file installs on this Python."""
    return {r.name: str(r.specifier)[2:] for r in chosen_requirements(name, python)}


def docker_arguments():
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", read("Dockerfile"), re.MULTILINE))


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_once(name):
    for python in ("3.8", "3.9", "3.10"):
        chosen = chosen_requirements(name, python)
        assert all(re.fullmatch(r"==[0-9][0-9.]*", str(r.specifier)) for r in chosen)
        assert len({r.name.lower() for r in chosen}) == len(chosen)


def test_old_nnabla_differs_only_where_it_must():
    new, old = pins("requirements.txt", "3.8"), pins("requirements-1.28.txt", "3.8")
    assert new.keys() == old.keys()
    assert {name for name in new if new[name] != old[name]} == {"nnabla", "numpy"}


def test_cuda_extension_is_of_the_same_nnabla():
    cuda = pins("requirements-cuda.txt", "3.10")
    assert cuda["nnabla-ext-cuda120"] == pins("requirements.txt", "3.10")["nnabla"]


def test_converter_is_of_the_same_nnabla_and_onnx_of_every_python():
    for python in ("3.8", "3.9", "3.10"):
        onnx = pins("requirements-onnx.txt", python)
        assert onnx["nnabla-converter"] == pins("requirements.txt", python)["nnabla"]
        assert onnx.keys() == {"nnabla-converter", "onnx", "onnxruntime"}


def test_installed_versions_are_the_pinned_ones():
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    installed = metadata.version("nnabla")
    files = [f for f in ("requirements.txt", "requirements-1.28.txt")
             if pins(f, python)["nnabla"] == installed]
    if not files:
        pytest.skip(f"nnabla {installed} is in no requirements file: an environment of one's own")
    wanted = pins(files[0], python)
    assert {name: metadata.version(name) for name in wanted} == wanted


def test_dockerfile_pins():
    arguments = docker_arguments()
    text = read("Dockerfile")
    old = pins("requirements-1.28.txt", arguments["PYTHON_VERSION"])
    assert "FROM nvidia/cuda:10.2-cudnn8-devel-ubuntu18.04\n" in text
    assert arguments["PYTHON_VERSION"] == "3.8"
    assert arguments["NCCL_VERSION"] == "2.7.8-1+cuda10.2"
    assert arguments["OPENMPI_VERSION"] == "3.1.6"
    extension, version = arguments["NNABLA_EXT"].split("==")
    assert extension == "nnabla-ext-cuda102-nccl2-mpi" + arguments["OPENMPI_VERSION"].replace(
        ".", "-")
    assert version == old["nnabla"] == "1.28.0"
    assert "-r /tmp/requirements-1.28.txt" in text
    train = '"runners/train.py", "--search-space", "K357_E0.6+0.8+1_D123"]'
    assert text.rstrip().endswith('CMD ["mpirun", "-n", "4", "python", ' + train)


def test_python_version_file_is_one_that_setup_looks_for():
    assert f"find_python.sh {read('.python-version').strip()} " in read("scripts/setup.sh")


def test_make_targets_of_the_readme_exist():
    if not (ROOT / "README.md").exists():
        pytest.skip("no README.md yet")
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\s*(?:\$ )?)make ([a-z]+)", read("README.md"), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_executable_bash(name):
    assert os.access(str(ROOT / name), os.X_OK)
    assert read(name).startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", name], cwd=str(ROOT), check=True)


def test_shellcheck():
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck here")
    subprocess.run([shellcheck, *SCRIPTS], cwd=str(ROOT), check=True)


def find_python(*versions):
    command = ["scripts/find_python.sh", *versions]
    return subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, text=True)


def test_find_python_finds_what_it_is_asked_for():
    assert find_python("2.9").returncode == 1
    found = find_python("2.9", "3.10", "3.9", "3.8")
    if found.returncode:
        pytest.skip("no CPython 3.8 to 3.10 outside of environments")
    code = "import sys, ssl, venv; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.run([found.stdout.strip(), "-c", code], stdout=subprocess.PIPE, text=True)
    assert version.stdout.strip() in ("3.10", "3.9", "3.8")


def setup(tmp_path, **options):
    """A run of scripts/setup.sh that must end before it installs anything."""
    environment = {**os.environ, "OFA_VENV": str(tmp_path / "venv"), **options}
    return subprocess.run(["scripts/setup.sh"], cwd=str(ROOT), env=environment, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_setup_refuses_what_it_cannot_use(tmp_path):
    for options, message in [
        ({"OFA_PYTHON": "3.12"}, "OFA_PYTHON=3.12: give the path of an interpreter, or 3.8"),
        ({"OFA_PYTHON": "/no/such/python"}, "OFA_PYTHON=/no/such/python does not run"),
        ({"OFA_REQUIREMENTS": "none.txt"}, "OFA_REQUIREMENTS=none.txt: no such file"),
    ]:
        run = setup(tmp_path, **options)
        assert run.returncode == 1 and message in run.stdout, run.stdout


def test_setup_deletes_no_folder_that_is_not_an_environment(tmp_path):
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "thesis.txt").write_text("precious")
    run = setup(tmp_path)
    assert run.returncode == 1 and "name another folder" in run.stdout, run.stdout
    assert (tmp_path / "venv" / "thesis.txt").read_text() == "precious"
