"""The image files of a folder and its sub-folders, and what is said of the files that are left out."""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, Tuple

# Of formats that decode.py reads. The format itself is taken from a file's content.
EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
              ".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
BROKEN = "links to nothing"
_KINDS = 6  # of left-out files that a line names


class Notes:
    """What to say of a data set beside its numbers: what was left out, and what may surprise.

    Args:
        where: the data set's folder, to which the paths in the notes are relative.
    """

    def __init__(self, where: str):
        self.where = where
        self._left: Dict[str, Tuple[int, str]] = {}  # what -> (how many, the first one)
        self._said: List[str] = []

    def leave_out(self, what: str, path: str, count: int = 1) -> None:
        """Note that `path`, or `count` of which it is the first, is not read, and what it is."""
        before, first = self._left.get(what, (0, os.path.relpath(path, self.where)))
        self._left[what] = before + count, first

    def say(self, text: str) -> None:
        """Note anything else."""
        self._said.append(text)

    def __str__(self) -> str:
        """All notes in one line, "" if there are none."""
        left = [f"{count:,} {what} ({first})" for what, (count, first) in self._left.items()]
        if len(left) > _KINDS:
            others = sum(count for count, _ in list(self._left.values())[_KINDS:])
            left[_KINDS:] = [f"{others:,} others"]
        return "; ".join([*self._said, *(["left out: " + ", ".join(left)] if left else ())])


class Content(NamedTuple):
    """What lies in a folder, each in alphabetical order.

    Attributes:
        images: the names of the image files.
        folders: the names of the folders, links to folders among them.
        others: (name, what it is) of everything else.
    """

    images: List[str]
    folders: List[str]
    others: List[Tuple[str, str]]


def content(folder: str) -> Content:
    """What lies in `folder`. No file is looked at, so that 1.28 million of them take seconds."""
    found = Content([], [], [])
    odd: List[os.DirEntry] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.lower().endswith(EXTENSIONS) and name[0] != "." and \
                    not entry.is_dir(follow_symlinks=False):
                found.images.append(name)
            else:
                odd.append(entry)
    found.images.sort()
    for entry in sorted(odd, key=lambda entry: entry.name):
        kind = _kind(entry)
        if kind == "folder":
            found.folders.append(entry.name)
        elif kind:
            found.others.append((entry.name, kind))
    return found


def _kind(entry: os.DirEntry) -> str:
    """What an entry of a folder is that is no image file. "": nothing that anyone would miss."""
    name = entry.name
    try:
        folder = entry.is_dir()
    except OSError:  # a link in a circle
        folder = False
    if name.startswith("."):
        image = name.lower().endswith(EXTENSIONS)
        return "hidden folders" if folder else "hidden files" if image else ""
    if folder:
        return "folder"
    if entry.is_symlink() and not os.path.exists(entry.path):
        return BROKEN
    suffix = os.path.splitext(name)[1].lower()
    return f"{suffix} files" if suffix else "files without a suffix"


def image_files(folder: str, notes: Notes, above: Tuple[str, ...] = ()) -> List[str]:
    """The names of the images in `folder`, relative to it: its own, then those of its sub-folders in turn.

    Args:
        folder: the folder. Links to folders are followed, but not in a circle.
        notes: what is left out is noted there.
        above: the real paths of the folders from which links led here.
    """
    images, folders, others = content(folder)
    for name, kind in others:
        notes.leave_out(kind, os.path.join(folder, name))
    for name in folders:
        inner, chain = os.path.join(folder, name), above
        if os.path.islink(inner):
            chain = (*above, os.path.realpath(folder))
            target = os.path.join(os.path.realpath(inner), "")
            if any(os.path.join(path, "").startswith(target) for path in chain):
                notes.leave_out("links to a folder that they lie in", inner)
                continue
        images += [os.path.join(name, image) for image in image_files(inner, notes, chain)]
    return images
