"""Compiles the C files beside this one for this machine's CPU, once, and loads the library.

The library's name is a hash of sources, compiler, flags and CPU, in a per-user cache folder, so
a changed source or a cache shared by different machines never loads the wrong one.

Environment variables:
    NNABLA_OFA_CFLAGS   compiler flags to add; the tests ask so for another vector width or a sanitizer.
    XDG_CACHE_HOME      the cache is a folder in it; default ~/.cache, else the temporary folder.
    OMP_NUM_THREADS     the number of threads; `default_threads` says what it is without.
    OMP_WAIT_POLICY, GOMP_SPINCOUNT
                        how long a thread that has nothing to do spins before it sleeps. Where neither
                        is set, loading the library sets GOMP_SPINCOUNT, for this process and for those
                        that it starts from then on. `_spin_briefly` says why.
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

# no -ffast-math: NaN must propagate, and sums keep the order in which they are written
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared")
_TUNING = (("-march=native", "-fopenmp", "-mprefer-vector-width=512"),
           ("-march=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())


def _native_target() -> str:
    """What -march=native depends on: architecture, CPU model and instruction sets, as text."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    wanted = ("flags", "Features", "model name", "CPU part")
    return platform.machine() + "".join(sorted({line for line in lines if line.startswith(wanted)}))


def _cache_folders() -> Iterator[Path]:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(base):  # "~" stays where neither HOME nor the user's entry names a folder
        yield Path(base) / "nnabla_ofa"
    yield Path(tempfile.gettempdir()) / f"nnabla_ofa-{os.getuid()}"


def _is_mine(folder: Path) -> bool:
    """Whether the folder exists or can be made, and nobody else can plant a library in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    private = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return private and os.access(folder, os.W_OK)


def _compile(compiler: str, extra: List[str], source: Path, target: Path) -> None:
    """Compile `source` with the first of _TUNING that the compiler understands.

    The result gets a temporary name, then its own: several ranks may be compiling the same.

    Args:
        compiler: path of the compiler.
        extra: flags beside the usual ones.
        source: the C file.
        target: the library to make.

    Raises:
        OfaError: the compiler fails with every tuning; the message is what it said to the first.
        OSError: the compiler cannot be started, or the library cannot be written.
    """
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=target.parent)
    os.close(handle)
    errors = ""
    try:
        for tuning in _TUNING:
            command = [compiler, *_FLAGS, *tuning, *extra, str(source), "-lm", "-o", temporary]
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if result.returncode == 0:
                os.replace(temporary, target)
                return
            errors = errors or result.stdout
        raise OfaError(errors)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _library() -> ctypes.CDLL:
    """The library for this machine, compiled if no cache folder has it.

    A folder that is full, without inodes or mounted noexec cannot serve: then the next one is tried.

    Raises:
        OfaError: there can be none; the message says why, of each folder.
    """
    compiler = next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None:
        raise OfaError("no C compiler (gcc, clang or cc) on the PATH")
    here = Path(__file__).parent
    try:
        version = subprocess.run((compiler, "--version"), stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise OfaError(f"{compiler} does not run: {error}") from error
    extra = os.environ.get("NNABLA_OFA_CFLAGS", "").split()
    key = hashlib.sha256(version + repr((_FLAGS, _TUNING, extra, _native_target())).encode())
    for source in sorted(here.glob("*.[ch]")):
        key.update(source.read_bytes())
    reasons = []
    for folder in filter(_is_mine, _cache_folders()):
        target = folder / f"kernels-{key.hexdigest()[:24]}.so"
        try:
            if not target.exists():
                _compile(compiler, extra, here / "kernels.c", target)
            return ctypes.CDLL(str(target))
        except (OfaError, OSError) as error:
            reasons.append(f"{compiler} cannot compile the kernels into {folder}, or they cannot be loaded "
                           f"from there: {str(error).strip()}")
    raise OfaError("; ".join(reasons) or "no private, writable cache folder: set XDG_CACHE_HOME to one")


def _spin_briefly() -> None:
    """Set GOMP_SPINCOUNT, unless the user chose how threads wait. GNU's OpenMP reads it as it loads.

    A waiting thread then spins for about 80 us and sleeps. The default, milliseconds, makes a step
    20 to 100 times longer as soon as loader workers or another rank want the same cores. Sleeping at
    once costs small layers a third.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


@lru_cache(maxsize=None)
def load() -> Tuple[Optional[ctypes.CDLL], Optional[str]]:
    """The library and None, or None and the reason why there is none. May set GOMP_SPINCOUNT."""
    _spin_briefly()
    try:
        library = _library()
    except OfaError as error:
        return None, str(error)
    size, address = ctypes.c_long, ctypes.c_void_p
    library.arrange.restype = library.weight_size.restype = size
    library.weight_size.argtypes = [size, size]
    library.pack_weight.argtypes = library.transpose.argtypes = [size, size, address, address]
    library.depthwise_layer_forward.argtypes = [address] * 4 + [size, address]
    library.depthwise_layer_backward.argtypes = [address] * 5 + [size, address, size]
    library.activation_forward.argtypes = [size] * 2 + [address] * 2
    library.activation_backward.argtypes = [size] * 2 + [address] * 3 + [size]
    library.affine_forward.argtypes = [size] * 3 + [address] * 4
    library.affine_backward.argtypes = [size] * 4 + [address] * 7
    library.convolution_packed_size.restype = size
    library.pack_convolution.argtypes = [address] * 2
    library.scale_forward.argtypes = [size] * 3 + [address] * 3
    library.scale_backward.argtypes = [size] * 3 + [address] * 4 + [size, address, size]
    library.select_forward.argtypes = [size] * 2 + [address] * 3
    library.select_backward.argtypes = [size] * 3 + [address] * 3 + [size]
    library.mean_forward.argtypes = [size] * 3 + [address] * 2
    library.mean_backward.argtypes = [size] * 3 + [address] * 2 + [size]
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
        raise OfaError(f"the fused kernels cannot be used: {reason}; use --kernels nnabla")
    return loaded
