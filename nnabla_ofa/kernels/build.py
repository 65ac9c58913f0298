"""Compiles the C files beside this one for this machine's CPU, once, and loads the library.

The library's name is a hash of sources, compiler, flags and CPU, in a per-user cache folder, so
a changed source or a cache shared by different machines never loads the wrong one. Tests add
compiler flags, as for another vector width or a sanitizer, through NNABLA_OFA_CFLAGS.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from ..errors import OfaError

_SOURCES = ("fused.c", "gemm.h", "depthwise.h", "pool.h")
# no -ffast-math: NaN must propagate, and sums keep the order in which they are written
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared")
_TUNING = (("-march=native", "-fopenmp", "-mprefer-vector-width=512"),
           ("-march=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())


def _cpu() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    wanted = ("flags", "Features", "model name", "CPU part")
    return platform.machine() + "".join(sorted({
        line for line in lines if line.startswith(wanted)}))


def _cache_folders() -> Iterator[Path]:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    yield Path(base) / "nnabla_ofa"
    yield Path(tempfile.gettempdir()) / "nnabla_ofa-{}".format(os.getuid())


def _is_mine(folder: Path) -> bool:
    """Whether the folder exists or can be made, and nobody else can plant a library in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    private = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return private and os.access(str(folder), os.W_OK)


def _compile(compiler: str, extra: List[str], source: Path, target: Path) -> Tuple[bool, str]:
    """Compile to a name of our own, then rename: several ranks may be doing the same."""
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=str(target.parent))
    os.close(handle)
    errors = ""
    try:
        for tuning in _TUNING:  # the first that this compiler understands
            command = [compiler, *_FLAGS, *tuning, *extra, str(source), "-lm", "-o", temporary]
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    universal_newlines=True)
            if result.returncode == 0:
                os.replace(temporary, str(target))
                return True, ""
            errors = errors or result.stdout
        return False, errors
    except OSError as error:
        return False, str(error)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


@lru_cache(maxsize=None)
def load() -> Tuple[Optional[ctypes.CDLL], Optional[str]]:
    """The library and None, or None and the reason why there is none."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None:
        return None, "no C compiler (gcc, clang or cc) on the PATH"
    here = Path(__file__).parent
    try:
        version = subprocess.run((compiler, "--version"), stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return None, "{} does not run: {}".format(compiler, error)
    extra = os.environ.get("NNABLA_OFA_CFLAGS", "").split()
    key = hashlib.sha256(version + repr((_FLAGS, _TUNING, extra, _cpu())).encode())
    for name in _SOURCES:
        key.update((here / name).read_bytes())
    folder = next(filter(_is_mine, _cache_folders()), None)
    if folder is None:
        return None, "no private, writable cache folder: set XDG_CACHE_HOME to one"
    target = folder / "fused-{}.so".format(key.hexdigest()[:24])
    if not target.exists():
        done, errors = _compile(compiler, extra, here / "fused.c", target)
        if not done:
            return None, "{} cannot compile the kernels: {}".format(compiler, errors.strip())
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when GNU's OpenMP loads: a waiting thread spins for about 80 us, then sleeps. Its
        # default, milliseconds, makes a step 20 to 100 times longer as soon as loader workers or
        # another rank want the same cores; sleeping at once costs small layers a third.
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        library = ctypes.CDLL(str(target))
    except OSError as error:
        return None, str(error)
    size, address = ctypes.c_long, ctypes.c_void_p
    library.arrange.restype = library.weight_size.restype = size
    library.weight_size.argtypes = [size, size]
    library.pack_weight.argtypes = library.transpose.argtypes = [size, size, address, address]
    library.set_threads(default_threads())
    return library, None


def default_threads() -> int:
    """OMP_NUM_THREADS where set, else this process's share of the cores it may run on.

    mpirun starts several ranks a machine; threads that outnumber the cores wait for each other.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ranks = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1")
    return max((cores or 1) // max(int(ranks) if ranks.isdigit() else 1, 1), 1)


def library() -> ctypes.CDLL:
    """The loaded library.

    Raises:
        OfaError: there is none; the message says why.
    """
    loaded, reason = load()
    if loaded is None:
        raise OfaError("the fused kernels cannot be used: {}; use --kernels nnabla".format(reason))
    return loaded
