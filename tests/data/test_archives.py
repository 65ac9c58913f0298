"""Archives that declare more than they hold, or more than their reader expects."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile

import pytest

from nnabla_ofa.data import archives, cifar, prepare
from nnabla_ofa.errors import OfaError


def tar(path, *members):
    """A .tar.gz of (name, declared size, type); no content follows."""
    with tarfile.open(path, "w:gz") as file:
        for name, size, kind in members:
            member = tarfile.TarInfo(name)
            member.size, member.type = size, kind
            file.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))
    return str(path)


def refusals(path, folder):
    """What both readers of archives say."""
    said = []
    for read in (lambda: cifar.read_archive(path), lambda: prepare.unpack(path, folder)):
        with pytest.raises(OfaError) as caught:
            read()
        assert "\n" not in str(caught.value)
        said.append(str(caught.value))
    return said


def test_a_file_of_terabytes_is_refused_before_it_is_read(tmp_path, little_memory):
    path = tar(tmp_path / "a.tar.gz", ("cifar-10-batches-bin/test_batch.bin", 2**33, tarfile.REGTYPE))
    with little_memory():
        first, second = refusals(path, tmp_path / "out")
    assert "more than 268,435,456 bytes" in first and "more than 2,147,483,648 bytes" in second
    assert not list((tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE,
                                  tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE])
def test_names_and_descriptions_that_never_end_are_refused(tmp_path, little_memory, kind):
    path = tar(tmp_path / "a.tar.gz", ("x", 0, tarfile.REGTYPE), ("y", 2**33 - 1, kind))
    with little_memory():
        said = refusals(path, tmp_path / "out")
    assert all("a description of 8,589,934,591 bytes" in text for text in said)


def test_holes_of_a_sparse_file_count_as_bytes(tmp_path, little_memory):
    """One header says that a terabyte of nothing follows: GNU tar's old form."""
    member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"\x80" + (2**40).to_bytes(11, "big")  # the size of the whole file
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with little_memory():
        assert all("bytes" in text and "more than" in text
                   for text in refusals(str(tmp_path / "a.tar"), tmp_path / "out"))


def test_entries_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 100)
    path = tar(tmp_path / "a.tar.gz", *[(f"{i}", 0, tarfile.SYMTYPE) for i in range(101)])
    assert all("more than 100 files" in text for text in refusals(path, tmp_path / "out"))


def test_links_are_left_out_and_nothing_is_written_through_them(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"data/link{kind.decode()}")
            link.type, link.linkname = kind, str(tmp_path / "elsewhere")
            file.addfile(link)
            inside = tarfile.TarInfo(f"{link.name}/evil")
            inside.size = 4
            file.addfile(inside, io.BytesIO(b"evil"))
    prepare.unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())
    assert sorted(os.path.relpath(path, tmp_path / "out") for path in (tmp_path / "out").rglob("evil")) == [
        "data/link1/evil", "data/link2/evil"]


@pytest.mark.parametrize("name", ["/{outside}", "../{outside}", "a/../../{outside}"])
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_paths_that_lead_out_are_refused(tmp_path, form, name):
    path, name = tmp_path / f"a.{form}", name.format(outside="went-out")
    if form == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, "evil")
    else:
        with tarfile.open(path, "w") as file:
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(OfaError, match="leads out of its folder"):
        prepare.unpack(path, tmp_path / "home/out")
    assert not list(tmp_path.rglob("went-out")) and not os.path.exists("/went-out")


@pytest.mark.parametrize("place, value, why", [
    ((6, 8), 1, "is encrypted"), ((8, 10), 99, "compression method"), ((22, 24), 2**32 - 2, "more than")])
def test_zips_that_cannot_be_read(tmp_path, little_memory, place, value, why):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data/a", "content")
    whole = bytearray(path.read_bytes())
    central = whole.index(b"PK\1\2")
    for at in (place[0], central + place[1]):
        size = "<I" if value > 99 else "<H"
        whole[at:at + struct.calcsize(size)] = struct.pack(size, value)
    path.write_bytes(whole)
    with little_memory():
        assert all(why in text for text in refusals(str(path), tmp_path / "out"))
