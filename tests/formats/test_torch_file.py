"""PyTorch files: what torch.save wrote is read as it was, what is written is what torch.save writes.

fixtures/torch holds files that PyTorch made (make.py there). The expected values here are NumPy's own.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from nnabla_ofa.errors import OfaError
from nnabla_ofa.formats.torch_bytes import MAGIC
from nnabla_ofa.formats.torch_file import read_state_dict, write_state_dict
from nnabla_ofa.system.unpickler import Refused

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "torch"
FORMS = ("", "_legacy")
LEGACY = MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
PLAIN = {**{f"a.{name}": np.arange(6).reshape(2, 3).astype(name)
            for name in ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")},
         "scalar": np.array(70000), "vector": np.arange(300, dtype=np.float32) / 8,
         "axes": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4, 1), "none": np.zeros((0, 3), np.float32)}
VIEWS = {"base": BASE, "transposed": BASE.T, "rows": BASE[1:3], "column": BASE[:, 4],
         "steps": BASE[::2, 1::3], "last": BASE[3, 5], "expanded": np.tile(BASE[0, 1:3], (3, 1)),
         "permuted": BASE.reshape(2, 3, 4).transpose(2, 0, 1),
         "bfloat16": np.arange(6, dtype=np.float32) / 4 - 1, "half": np.float32(-1.5)}


def assert_equal(found, expected):
    """Names in order, types, shapes and bits; every array in memory of its own."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert type(found[name]) is np.ndarray and found[name].flags.owndata and found[name].flags.writeable
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


# A pickle by hand, in the readable opcodes of protocol 0 --------------------------------------------

def tensor(count=4, offset=0, shape=(4,), strides=(1,), kind="FloatStorage", key="0", part="N"):
    def whole(values):
        return "(" + "".join(f"I{value}\n" for value in values) + "t"
    return (f"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\n{kind}\nV{key}\nVcpu\nI{count}\n{part}tQ"
            f"I{offset}\n{whole(shape)}{whole(strides)}I00\nccollections\nOrderedDict\n(tRtR")


def mapping(**items):
    return "(" + "".join(f"V{name}\n{value}" for name, value in items.items()) + "d"


def legacy_file(path, value, storages=(("0", BASE[0, :4]),)):
    keys = pickle.dumps([key for key, _ in storages], 2)
    raw = b"".join(struct.pack("<q", array.size) + array.tobytes() for _, array in storages)
    path.write_bytes(LEGACY + f"{value}.".encode() + keys + raw)
    return path


def zip_file(path, value, entries=(("data/0", BASE[0, :4].tobytes()),), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x/data.pkl", f"{value}.")
        for name, content in entries:
            file.writestr(f"x/{name}", content)
    return path


# What torch wrote -----------------------------------------------------------------------------------

@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name, expected", [
    ("plain", PLAIN), ("views", VIEWS), ("others", {"w": np.float32([1, -2])}),
    ("pycls", {"weight": np.float32([[0.9, 1.9]]), "bias": np.float32([2.9])})])
def test_files_of_torch(name, form, expected):
    assert_equal(read_state_dict(FIXTURES / f"{name}{form}.pth"), expected)


def without_identity(content):
    """A zip file's bytes but for the 40 digits of torch's own hash, and the checksum of these."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        digits = file.read(next(name for name in file.namelist() if name.endswith("/serialization_id")))
    return content.replace(digits, b"").replace(struct.pack("<I", zlib.crc32(digits)), b"")


def test_the_zip_form_is_torch_s_byte_for_byte(tmp_path):
    write_state_dict(tmp_path / "plain.pth", PLAIN)
    written, made = (tmp_path / "plain.pth").read_bytes(), (FIXTURES / "plain.pth").read_bytes()
    assert len(written) == len(made) and without_identity(written) == without_identity(made)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", [None, "state_dict"])
def test_what_is_written_is_read_back(tmp_path, legacy, key):
    many = {f"n{index}": np.full((index % 3, 2), index, np.int32) for index in range(2001)}
    for arrays in (PLAIN, {}, {"ä": np.float64([[1], [2]]).T}, many):
        write_state_dict(tmp_path / "w.pth", arrays, legacy, key)
        if arrays:
            assert_equal(read_state_dict(tmp_path / "w.pth"), arrays)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_arrays_of_any_layout_are_written_by_value(tmp_path):
    arrays = {"t": BASE.T, "big": BASE.astype(">f4"), "steps": BASE[::2, ::-3]}
    for legacy in (False, True):
        write_state_dict(tmp_path / "w.pth", arrays, legacy)
        for name, found in read_state_dict(tmp_path / "w.pth").items():
            assert np.array_equal(found, arrays[name]) and found.dtype == np.dtype("<f4")


@pytest.mark.parametrize("arrays", [{"w": np.zeros(2, np.uint16)}, {"w": np.array(["a"])}, {3: np.zeros(2)}])
def test_what_torch_has_no_place_for_is_not_written(tmp_path, arrays):
    with pytest.raises(OfaError, match="a name is a text, and a type is one of float32"):
        write_state_dict(tmp_path / "w.pth", arrays)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mbv3", "mbv3_subnet", "mbv3_legacy", "proxyless", "proxyless_subnet",
                                  "resnet50", "resnet50_subnet"])
def test_once_for_all_files_are_written_back(shared, tmp_path, name):
    """But for the pickle's end, the versions of layers (_metadata), every entry has the original's bytes."""
    original, copy = shared / f"golden/ofa/golden_ofa_{name}.pth", tmp_path / f"golden_ofa_{name}.pth"
    if not original.exists():
        pytest.skip(f"no {original.name} in ../shared/golden/ofa")
    legacy = name.endswith("legacy")
    arrays = read_state_dict(original)
    write_state_dict(copy, arrays, legacy, "state_dict")
    assert_equal(read_state_dict(copy), arrays)
    if legacy:  # keys of storages are addresses there; the same weights are in the zip form beside it
        assert not zipfile.is_zipfile(copy)
        same = read_state_dict(original.with_name("golden_ofa_mbv3.pth"))
        assert_equal(arrays, dict(zip(arrays, same.values())))
        return
    with zipfile.ZipFile(original) as old, zipfile.ZipFile(copy) as new:
        assert old.namelist() == new.namelist()
        differing = [entry for entry in old.namelist() if old.read(entry) != new.read(entry)]
        stem = original.stem
        assert differing == [f"{stem}/data.pkl", f"{stem}/.data/serialization_id"]
        assert old.read(differing[0]).startswith(new.read(differing[0])[:-len(b"s.")])
        assert b"_metadata" in old.read(differing[0])


# Which state dict -----------------------------------------------------------------------------------

FOUR = {"w": BASE[0, :4]}


@pytest.mark.parametrize("value", [
    mapping(w=tensor()), mapping(w=tensor(), epoch="I3\n"), mapping(net=mapping(w=tensor()), epoch="I3\n"),
    mapping(state_dict=mapping(w=tensor(), extra="N"), loss=tensor()),
    mapping(model=mapping(w=tensor()), ema_state=mapping(v=tensor())),
    mapping(model_state=mapping(**{"module.w": tensor()}),
            optimizer_state=mapping(state=mapping(w=tensor())))])
def test_the_one_state_dict_is_found(tmp_path, value):
    assert_equal(read_state_dict(legacy_file(tmp_path / "l.pth", value)), FOUR)
    assert_equal(read_state_dict(zip_file(tmp_path / "z.pth", value.replace("NtQ", "tQ"))), FOUR)


@pytest.mark.parametrize("value, message", [
    (mapping(epoch="I3\n", cfg="Vdepth\n"), "has no state dicts, .* top level are 'epoch', 'cfg'$"),
    (mapping(), r"has no state dicts, .* are \(none\)$"), ("I3\n", "holds a int, not a state dict"),
    (mapping(a=mapping(w=tensor()), b=mapping(w=tensor())), "has 2 state dicts, .* are 'a', 'b'$"),
    (mapping(model=mapping(w=tensor()), state_dict=mapping(w=tensor())), "2 state dicts, .*'state_dict'$")])
def test_no_state_dict_or_several_are_an_error_that_names_the_keys(tmp_path, value, message):
    with pytest.raises(OfaError, match=message):
        read_state_dict(zip_file(tmp_path / "w.pth", value.replace("NtQ", "tQ")))


def test_a_prefix_that_only_some_names_have_stays(tmp_path):
    value = mapping(**{"module.w": tensor(), "v": tensor()})
    assert list(read_state_dict(legacy_file(tmp_path / "w.pth", value))) == ["module.w", "v"]


def test_a_part_of_a_legacy_storage_and_the_ordered_dictionaries_of_python_2(tmp_path):
    part = tensor(count=4, shape=(2,), part="(Vpart\nI1\nI3\nt", offset=1)
    value = f"ccollections\nOrderedDict\n((l(lVw\na{part}aatR"
    assert_equal(read_state_dict(legacy_file(tmp_path / "w.pth", value)), {"w": BASE[0, 2:4]})


def test_attributes_that_a_pickle_sets_are_ignored(tmp_path):
    value = f"ccollections\nOrderedDict\n(tR(Vw\n{tensor()}u(Vitems\nVno function\nV_metadata\n(ddb"
    assert_equal(read_state_dict(legacy_file(tmp_path / "w.pth", value)), FOUR)


# What is refused ------------------------------------------------------------------------------------

@pytest.mark.parametrize("write", [legacy_file, zip_file])
@pytest.mark.parametrize("module, name", [("posix", "system"), ("os", "system"), ("builtins", "eval"),
                                          ("torch._utils", "_rebuild_qtensor"), ("torch", "load"),
                                          ("numpy.core.multiarray", "scalar"), ("torch.nn", "Linear")])
def test_a_pickle_that_would_run_code_is_refused_by_name(tmp_path, write, module, name):
    ran = tmp_path / "ran"
    path = write(tmp_path / "w.pth", mapping(w=tensor(), v=f"c{module}\n{name}\n(Vtouch {ran}\ntR"))
    with pytest.raises(Refused, match=f"asks for {module}.{name}, which no state dict needs") as caught:
        read_state_dict(path)
    assert caught.value.asked == f"{module}.{name}" and "\n" not in str(caught.value) and not ran.exists()


def test_that_pickle_would_run_with_python_s_own_unpickler(tmp_path):
    """So the test above can fail."""
    pickle.loads(f"cposix\nsystem\n(Vtouch {tmp_path / 'ran'}\ntR.".encode())
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("changes, message", [
    ({"offset": 1}, "'w' reaches beyond its storage of 4 elements"), ({"shape": (5,)}, "reaches beyond"),
    ({"strides": (2,)}, "reaches beyond"), ({"count": 8}, "does not fit its tensors"),
    ({"kind": "LongStorage"}, "ends within its numbers"), ({"offset": -1}, "cannot be"),
    ({"strides": (-1,)}, "cannot be"), ({"shape": (2, 2)}, "cannot be"), ({"shape": (2 ** 70,)}, "cannot be"),
    ({"count": -1}, "cannot be"), ({"part": "(Vp\nI3\nI3\nt"}, "cannot be"), ({"key": "1"}, "does not fit"),
    ({"shape": (2 ** 40,), "strides": (0,)}, "more than 16 times"),
    ({"shape": (0, 2 ** 62), "strides": (1, 1)}, "more than 16 times"),
    ({"shape": (1,) * 40, "strides": (1,) * 40}, "cannot be")])
def test_sizes_that_the_file_does_not_hold(tmp_path, changes, message):
    with pytest.raises(OfaError, match=message):
        read_state_dict(legacy_file(tmp_path / "w.pth", mapping(w=tensor(**changes))))


def test_an_object_with_a_huge_number_takes_no_memory(tmp_path):
    with pytest.raises(OfaError, match="has the number 2147483647, which is too large"):
        read_state_dict(zip_file(tmp_path / "w.pth", mapping(w="Np2147483647\n")))


VALUE = mapping(w=tensor(part=""))


@pytest.mark.parametrize("arguments, message", [
    ((VALUE, [("data/0", bytes(16))], zipfile.ZIP_DEFLATED), "compressed or overlap"),
    ((VALUE, []), "lacks its entry 'data/0'"), ((VALUE, [("data/0", bytes(12))]), "has 12 bytes, not 4 x 4"),
    ((VALUE, [("data/0", bytes(16)), ("byteorder", b"big")]), "big-endian"),
    (("",), "its pickle is damaged")])
def test_archives_that_torch_does_not_write(tmp_path, arguments, message):
    with pytest.raises(OfaError, match=message):
        read_state_dict(zip_file(tmp_path / "w.pth", *arguments))


def test_archives_of_other_programs(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as file:
        file.writestr("about.json", "{}")
    with pytest.raises(OfaError, match="without X/data.pkl"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("content, message", [
    (b"", "is empty; fetch"), (b"\n<!DOCTYPE html><html>", "is a web page"),
    (b"weights", "no file of torch.save"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "run `git lfs pull`"),
    (pickle.dumps({"w": 1}), "no file of torch.save"), (b"PK\3\4", "damaged or truncated archive")])
def test_files_that_are_something_else(tmp_path, content, message):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(OfaError, match=message) as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(OfaError, match="is no file but a folder"):
        read_state_dict(tmp_path)
    with pytest.raises(OfaError, match="cannot be read .No such file"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation_is_an_error(tmp_path, form):
    whole, path = (FIXTURES / f"plain{form}.pth").read_bytes(), tmp_path / "w.pth"
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(OfaError):
            read_state_dict(path)
