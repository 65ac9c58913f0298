"""The files in a .tar or .zip archive, of which nothing is believed before it is looked at.

An archive of a few kilobytes can declare terabytes: compressed zeros, holes of sparse files, names that
never end. So a reader says how many bytes it expects at most, and links and devices are left out.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from typing import IO, Iterator, Tuple, Union

from ..system.files import Location

MOST_FILES = 2**18        # Tiny ImageNet has 120,609
_LONGEST_NAME = 2**16     # bytes of a name, and of whatever else is said of one file
# What the libraries raise for an archive that is damaged, encrypted or of an unknown compression.
DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, tarfile.TarError,
           zipfile.BadZipFile)


class _Member(tarfile.TarInfo):
    """A file in a .tar archive. Names and other descriptions are read into memory, so they are short."""

    @classmethod
    def frombuf(cls, buf: Union[bytes, bytearray], encoding: str, errors: str) -> _Member:
        """What a header says."""
        member = super().frombuf(buf, encoding, errors)
        if not member.isfile() and member.size > _LONGEST_NAME:
            raise tarfile.ReadError(f"a description of {member.size:,} bytes")
        return member


def members(path: Location, most_bytes: int) -> Iterator[Tuple[str, IO[bytes]]]:
    """(name, open file) of each regular file in an archive.

    Args:
        path: the archive.
        most_bytes: how many bytes all files may have together.

    Raises:
        One of DAMAGED: here, or where a file is read. A tarfile.ReadError where the archive holds more than
            `most_bytes`, or a .tar more than MOST_FILES.
    """
    left = most_bytes
    for name, size, file in _zip(path) if zipfile.is_zipfile(str(path)) else _tar(path):
        left -= size
        if left < 0:
            file.close()
            raise tarfile.ReadError(f"it holds more than {most_bytes:,} bytes")
        yield name, file


def _tar(path: Location) -> Iterator[Tuple[str, int, IO[bytes]]]:
    with tarfile.open(str(path), tarinfo=_Member) as archive:
        for count, member in enumerate(archive):
            if count >= MOST_FILES:  # folders and links, which are left out, take memory, too
                raise tarfile.ReadError(f"it holds more than {MOST_FILES:,} files")
            content = archive.extractfile(member) if member.isfile() else None
            if content:
                yield member.name, member.size, content


def _zip(path: Location) -> Iterator[Tuple[str, int, IO[bytes]]]:
    with zipfile.ZipFile(str(path)) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, archive.open(info)
