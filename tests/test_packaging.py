"""Requirements, ranges, Dockerfile and scripts agree; the wheel works elsewhere; the import order holds."""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nnabla_ofa.commands import COMMANDS
from nnabla_ofa.version import VERSION

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
        assert onnx.keys() == {"nnabla-converter", "onnx", "onnxruntime", "sympy", "mpmath"}


def test_installed_versions_are_the_pinned_ones():
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    installed = metadata.version("nnabla")
    files = [f for f in ("requirements.txt", "requirements-1.28.txt")
             if pins(f, python)["nnabla"] == installed]
    if not files:
        pytest.skip(f"nnabla {installed} is in no requirements file: an environment of one's own")
    wanted = {**pins(files[0], python), **pins("requirements-dev.txt", python)}
    assert {name: metadata.version(name) for name in wanted} == wanted


# The ranges of pyproject.toml, as pip wrote them down when it installed the project -----------------

EXTRAS = {"": ("requirements.txt", "requirements-1.28.txt"), "onnx": ("requirements-onnx.txt",),
          "dali": ("requirements-dali.txt",), "mpi": ("requirements-mpi.txt",),
          "openvino": ("requirements-openvino.txt",), "cuda": ("requirements-cuda.txt",),
          "test": ("requirements-dev.txt",),
          "docs": ("requirements-docs.txt",)}
# Where an import has another name than what is installed.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "jinja2": "Jinja2", "nnabla_ext": "nnabla",
                 "nnabla_nas": "nnabla-nas", "nvidia": "nvidia-dali-cuda120", "PIL": "Pillow",
                 "sklearn": "scikit-learn", "yaml": "PyYAML"}


def ranges(extra=""):
    """{package: versions} that the project itself asks for; extra: one of EXTRAS, "" for what runs need."""
    found = [Requirement(line) for line in metadata.requires("nnabla_ofa")]
    return {r.name: r.specifier for r in found
            if (r.marker.evaluate({"extra": extra}) if r.marker else not extra)}


def test_the_package_is_installed_in_its_version():
    assert metadata.version("nnabla_ofa") == VERSION
    assert set(metadata.metadata("nnabla_ofa").get_all("Provides-Extra")) == set(EXTRAS) - {""}


@pytest.mark.parametrize("extra", EXTRAS)
def test_pins_are_within_the_ranges(extra):
    for name in filter(lambda name: (ROOT / name).exists(), EXTRAS[extra]):
        for python in ("3.8", "3.9", "3.10"):
            chosen = pins(name, python)
            assert ranges(extra) and ranges(extra).keys() <= chosen.keys()
            wrong = {package: chosen[package] for package, allowed in ranges(extra).items()
                     if not allowed.contains(chosen[package])}
            assert not wrong, f"{name} on {python}"


def test_ranges_have_both_ends_and_no_tools():
    assert all({"<", ">="} <= {one.operator for one in allowed} for allowed in ranges().values())
    assert not ranges().keys() & pins("requirements-dev.txt", "3.10").keys()


@pytest.mark.skipif(sys.version_info < (3, 10), reason="the names of the standard library: since 3.10")
def test_whatever_is_imported_is_asked_for():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.glob("nnabla_ofa/**/*.py")]
    names = [alias.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names]
    names += [node.module for tree in trees for node in ast.walk(tree)
              if isinstance(node, ast.ImportFrom) and not node.level]
    imported = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    asked = set().union(*(ranges(extra) for extra in ("", "onnx", "openvino", "dali", "mpi", "cuda")))
    assert {"nnabla", "numpy", "cv2"} <= imported
    assert {DISTRIBUTIONS.get(name, name) for name in imported} - asked == set()


# The wheel, in another folder ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's wheel, built from what a checkout has, with no download."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(str(ROOT / name), str(source))
    for name in ("nnabla_ofa", "args", "deploy"):
        shutil.copytree(str(ROOT / name), str(source / name), ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-build-isolation", "--wheel-dir", out, source)
    [path] = out.glob("*.whl")
    return path


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """A function that runs `python *arguments` with the wheel's package, in a folder without a checkout."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    pip("install", "--target", site, wheel)
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(folder / "cache")}

    def run(*arguments):
        return subprocess.run([sys.executable, *arguments], cwd=str(folder), env=environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=300)
    assert run("-c", "import nnabla_ofa; print(nnabla_ofa.__file__)").stdout.startswith(str(site))
    run.folder = folder
    return run


def test_wheel_has_all_that_the_package_reads(wheel):
    files = {name for name in zipfile.ZipFile(str(wheel)).namelist() if ".dist-info/" not in name}
    tree = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("nnabla_ofa/**/*") if path.is_file()
            and not {"__pycache__", "args", "deploy"} & set(path.parts)}
    recipes = {f"nnabla_ofa/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("args/*.y*ml")}
    scripts = {f"nnabla_ofa/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("deploy/*.py")}
    assert files == tree | recipes | scripts
    assert {"nnabla_ofa/args/defaults.yml", "nnabla_ofa/kernels/kernels.c", "nnabla_ofa/py.typed"} <= files


def test_wheel_lists_its_commands_and_names_a_wrong_one(elsewhere):
    listed = elsewhere("-m", "nnabla_ofa", "--help")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == list(COMMANDS)
    wrong = elsewhere("-m", "nnabla_ofa", "trian")
    assert wrong.returncode == 2 and "error: there is no command 'trian'" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def trained(elsewhere):
    """One stage, trained for an epoch by the wheel's command; its record is there, too."""
    done = elsewhere("-m", "nnabla_ofa", "train", "--recipe", "xception_digits", "--search-space", "K7_E1_D3",
                     "--set", "stages.fullnet.epochs=1", "--set", "data.train_images=100")
    assert done.returncode == 0, done.stderr
    return elsewhere.folder / "runs" / "xception_digits"


def test_wheel_finds_recipes_and_compiles_kernels(elsewhere, trained):
    done = elsewhere("-m", "nnabla_ofa", "profile", "--weights", trained / "K7_E1_D3" / "weights.h5",
                     "--kernels", "fast", "--latency", "--rounds", "2")
    assert done.returncode == 0 and "XP1 7x7 3" in done.stdout, done.stderr
    assert list(elsewhere.folder.glob("cache/nnabla_ofa/kernels-*.so"))


def test_wheel_makes_tables_without_the_published_figures(elsewhere, trained):
    done = elsewhere("-m", "nnabla_ofa", "tables", "--records", trained / "records", "--output", "tables")
    assert done.returncode == 0, done.stderr
    assert (elsewhere.folder / "tables" / "xception_digits.md").is_file()


def test_wheel_makes_tables_where_it_is_called(elsewhere, trained):
    """Not where packages are installed."""
    absent = elsewhere("-m", "nnabla_ofa", "tables")
    assert absent.returncode == 2 and "no record under results/records" in absent.stderr
    shutil.copytree(str(trained / "records"), str(elsewhere.folder / "results/records"))
    done = elsewhere("-m", "nnabla_ofa", "tables", "--no-plots")
    assert done.returncode == 0 and "wrote results/xception_digits.md" in done.stdout, done.stderr
    assert (elsewhere.folder / "results/xception_digits.md").is_file()


def test_runners_are_the_same_commands():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("runners/*.py")}
    assert texts.keys() == COMMANDS.keys()
    for name, text in texts.items():
        assert re.search(rf'commands\.{name} import COMMAND|run\("{name}"\)', text)
        assert len(text.splitlines()) < 10


@pytest.mark.parametrize("folder", ["tests", "runners", "benchmarks", "scripts", "nnabla_ofa"])
def test_nothing_edits_the_import_path(folder):
    files = [path for kind in ("py", "sh") for path in ROOT.glob(f"{folder}/**/*.{kind}")]
    edits = re.compile(r"sys\.path\b|site\.addsitedir")
    assert files and [path for path in files if edits.search(path.read_text(encoding="utf-8"))] == []


# The house: contracts of pyproject.toml ------------------------------------------------------------

@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A function that checks a copy of the package with `line` added to a module; gives what is printed."""
    program = Path(sys.executable).parent / "lint-imports"
    if not program.exists():
        pytest.skip("no import-linter: requirements-dev.txt has it for Python 3.10")
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(str(ROOT / "pyproject.toml"), str(folder))
    shutil.copytree(str(ROOT / "nnabla_ofa"), str(folder / "nnabla_ofa"),
                    ignore=shutil.ignore_patterns("__pycache__"))

    def check(module, line):
        path = folder / "nnabla_ofa" / module
        before = path.read_text(encoding="utf-8") if path.exists() else None
        path.write_text((before or "") + f"\n{line}\n", encoding="utf-8")
        done = subprocess.run([str(program), "--no-cache"], cwd=str(folder), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        path.unlink() if before is None else path.write_text(before, encoding="utf-8")
        return done.returncode, " ".join(done.stdout.split())
    return check


@pytest.mark.parametrize("module, line, complaint", [
    ("nets/arch.py", "from ..model import Network", "nnabla_ofa.nets.arch -> nnabla_ofa.model"),
    ("system/files.py", "def late():\n    from .. import data", "nnabla_ofa.system.files -> nnabla_ofa.data"),
    ("cost/model.py", "from ..formats import export", "nnabla_ofa.cost.model -> nnabla_ofa.formats.export"),
    ("version.py", "from .errors import OfaError", "nnabla_ofa.version -> nnabla_ofa.errors"),
    ("layers/base.py", "from . import fused", "No cycles are allowed in nnabla_ofa.layers."),
    ("new.py", "", "are not listed as layers: - nnabla_ofa.new"),
])
def test_a_wrong_import_breaks_a_contract(house, module, line, complaint):
    assert complaint not in house("errors.py", "")[1]
    status, text = house(module, line)
    assert status == 1 and complaint in text


# Images and scripts --------------------------------------------------------------------------------

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
    assert f"setuptools=={pins('requirements-dev.txt', '3.8')['setuptools']} " in text
    assert "pip install --no-cache-dir --no-deps --no-build-isolation /app" in text
    assert "PYTHONPATH" not in text
    train = '"runners/train.py", "--search-space", "K357_E0.6+0.8+1_D123"]'
    assert text.rstrip().endswith('CMD ["mpirun", "-n", "4", "python", ' + train)


def test_python_version_file_is_one_that_setup_looks_for():
    assert f"find_python.sh {read('.python-version').strip()} " in read("scripts/setup.sh")


def test_ci_reads_the_code_and_ends_with_the_tests():
    steps = ["make smoke", "make setup", "requirements-onnx.txt", "tables.py --check", "ruff check .",
             "bin/mypy", "lint-imports", "make docs", "make test"]
    places = [read(".ci/run").index(step) for step in steps]
    assert places == sorted(places)


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
