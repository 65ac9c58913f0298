"""Files that are whole or absent, and folders that one run holds alone.

Writing goes to a temporary file. It replaces the old file only when it is complete and on disk. So no file
is written through a link to it; folders may be links. A temporary file that a killed run leaves behind is
removed by the next run that holds the folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Iterator, Optional, Union

from ..errors import OfaError
from .comm import Communicator

Location = Union[str, "os.PathLike[str]"]


def read_regular(path: Location, most: Optional[int] = None) -> bytes:
    """The content of a file.

    Args:
        path: the file, or a link to it.
        most: how many bytes it may have; None: any number.

    Raises:
        OSError: as of `open`; or it is a device or a pipe, which may never end, or larger than `most`.
        ValueError: the path holds a NUL.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than {most:,}")
        return file.read()


def open_regular(path: Location) -> BinaryIO:
    """An open file, or an OSError for a device or a pipe, which may never end or never begin."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # a pipe would wait for its writer
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def write_atomically(path: Location, content: Union[bytes, bytearray]) -> None:
    """Replace `path` by `content`; a reader sees the old file or the new one, never half.

    Raises OfaError when the disk refuses (full, read-only); the file that was there stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if temporary.is_symlink():  # which somebody put there to have another file written
            temporary.unlink()
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary.exists():
            temporary.unlink()
        raise OfaError(f"cannot write {path}: {error.strerror or error}; what was there before is unchanged, "
                       "make room or choose another folder and run the same command again") from error


# What some network file systems answer to a call that they do not offer.
NOT_OFFERED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.ENOLCK)
# What flock answers where another process holds the lock.
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


def _sync_folder(folder: Path) -> None:
    """A file's new name is on disk only when its folder is, too, where folders can be synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        _warn(f"{folder} cannot be opened to be synced ({error.strerror}): its new files may not survive a "
              "power cut")
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
        _warn(f"the file system of {folder} cannot sync folders ({error.strerror}): its new files may not "
              "survive a power cut")
    finally:
        os.close(descriptor)


@lru_cache(maxsize=None)
def _warn(text: str) -> None:
    """Say something once."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def remove_leftovers(folder: Location) -> None:
    """Delete the temporary files of killed writers; only for who holds the folder alone."""
    for path in Path(folder).glob(".*.tmp"):
        path.unlink()


@contextmanager
def lock(folder: Path, comm: Communicator) -> Iterator[None]:
    """Hold `folder` for this run; OfaError if another process is writing there.

    A file system without locks, as some on networks, is named once, and the run goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if comm.rank:
        yield
        return
    try:
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise OfaError(f"cannot write {folder / '.lock'}: {error.strerror}; choose another --output, or "
                       "remove that file") from error
    with open(descriptor, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                raise OfaError(f"another run is writing to {folder}: wait for it, or choose another "
                               "--output") from error
            _warn(f"the file system of {folder} has no locks ({error.strerror}): make sure that no other run "
                  "writes there")
        remove_leftovers(folder)
        yield
