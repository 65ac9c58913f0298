"""The bytes of a PyTorch file, laid out as torch.save lays them out, without torch.

A file holds one pickle of the names, types and shapes, and the numbers beside it. The zip form (torch 1.6
and later) is an archive whose entries are stored as they are; the legacy form is a row of pickles, and
the numbers behind them. Both need only these few opcodes of pickle protocol 2.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from math import prod
from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import OfaError

# The pickle of torch's magic number, with which each legacy file begins, and of the version of the form.
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = 1001
_LARGEST = 2 ** 32 - 2 ** 20  # bytes; beyond it each zip entry would need a larger header
_BATCH = 1000  # the number of items that a pickle adds to a dictionary or list at once


class Item(NamedTuple):
    """An array with its name, and torch's name of its storage class."""

    name: str
    storage: str
    array: np.ndarray


def zip_form(items: Sequence[Item], folder: str, key: Optional[str], beside: Mapping[str, bytes]) -> bytes:
    """What `torch.save` writes today.

    Args:
        items: little-endian arrays without gaps.
        folder: the folder within the archive that holds all entries.
        key: the state dict's key in an outer dictionary; None: there is no outer one.
        beside: further entries of the archive, by name.
    """
    data = [item.array.tobytes() for item in items]
    if sum(map(len, data)) > _LARGEST:
        raise OfaError(f"{sum(map(len, data))} bytes of weights are more than a file of this form takes "
                       "(4 GiB); write the legacy form")
    names = [str(number) for number in range(len(items))]
    entries = [("data.pkl", _Pickle().state_dict(items, names, key, legacy=False)),
               (".format_version", b"1"), (".storage_alignment", b"64"), ("byteorder", b"little"),
               *((f"data/{name}", content) for name, content in zip(names, data)), ("version", b"3\n")]
    # 40 digits that tell contents apart. Torch takes its own hash, and compares them with nothing.
    digest = hashlib.sha256(b"".join(name.encode() + content for name, content in entries)).hexdigest()
    entries += [(".data/serialization_id", b"%040d" % (int(digest, 16) % 10 ** 40)), *beside.items()]
    return _archive([(f"{folder}/{name}".encode(), content) for name, content in entries])


def legacy_form(items: Sequence[Item], key: Optional[str]) -> bytes:
    """What `torch.save` wrote before torch 1.6; see `zip_form` for the arguments."""
    storages = {str(number): item.array for number, item in enumerate(items)}
    order = sorted(storages)
    machine = _Pickle().open(b"}")
    machine.text("protocol_version").integer(PROTOCOL).text("little_endian").add(b"\x88")
    machine.text("type_sizes").open(b"}")
    machine.text("short").integer(2).text("int").integer(4).text("long").integer(4)
    parts = [MAGIC, _Pickle().integer(PROTOCOL).end(), machine.add(b"uu").end(),
             _Pickle().state_dict(items, list(storages), key, legacy=True), _Pickle().texts(order)]
    for name in order:
        parts += [struct.pack("<q", storages[name].size), storages[name].tobytes()]
    return b"".join(parts)


class _Pickle:
    """A pickle of protocol 2 as it grows. Every object gets the number under which it can be named again."""

    def __init__(self) -> None:
        self._data = bytearray(b"\x80\x02")
        self._numbers: Dict[Tuple[str, str], int] = {}
        self._next = 0

    def add(self, opcodes: bytes) -> _Pickle:
        self._data += opcodes
        return self

    def end(self) -> bytes:
        return bytes(self._data + b".")

    def number(self) -> _Pickle:
        """Give the object on top the next number."""
        self._next += 1
        return self._numbered(b"q", b"r", self._next - 1)

    def open(self, container: bytes) -> _Pickle:
        """An empty dictionary or list, and the mark where its items begin."""
        return self.add(container).number().add(b"(")

    def text(self, value: str) -> _Pickle:
        encoded = value.encode("utf-8", "surrogatepass")
        return self.add(b"X" + struct.pack("<I", len(encoded)) + encoded).number()

    def known(self, kind: str, value: str) -> _Pickle:
        """A text, or a class or function "module.name": written once, then named by its number."""
        if (kind, value) in self._numbers:
            return self._numbered(b"h", b"j", self._numbers[kind, value])
        self._numbers[kind, value] = self._next
        if kind == "text":
            return self.text(value)
        module, _, name = value.rpartition(".")
        return self.add(f"c{module}\n{name}\n".encode()).number()

    def integer(self, value: int) -> _Pickle:
        if value < 2 ** 8:
            return self.add(struct.pack("<cB", b"K", value))
        if value < 2 ** 16:
            return self.add(struct.pack("<cH", b"M", value))
        if value < 2 ** 31:
            return self.add(struct.pack("<ci", b"J", value))
        size = value.bit_length() // 8 + 1
        return self.add(bytes([0x8A, size]) + value.to_bytes(size, "little"))

    def integers(self, values: Sequence[int]) -> _Pickle:
        """A tuple."""
        if not values:
            return self.add(b")")
        self.add(b"(" if len(values) > 3 else b"")
        for value in values:
            self.integer(value)
        return self.add({1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(values), b"t")).number()

    def texts(self, values: Sequence[str]) -> bytes:
        """The whole pickle of a list of texts."""
        self.add(b"]").number()
        for start in range(0, len(values), _BATCH):
            batch = values[start:start + _BATCH]
            self.add(b"(" if len(batch) > 1 else b"")
            for value in batch:
                self.text(value)
            self.add(b"e" if len(batch) > 1 else b"a")
        return self.end()

    def state_dict(self, items: Sequence[Item], keys: Sequence[str], key: Optional[str],
                   legacy: bool) -> bytes:
        """The whole pickle of a state dict whose arrays are in the storages `keys`."""
        if key is not None:
            self.add(b"}").number().text(key)
        self.known("global", "collections.OrderedDict").add(b")R").number()
        for start in range(0, len(items), _BATCH):
            batch = range(start, min(start + _BATCH, len(items)))
            self.add(b"(" if len(batch) > 1 else b"")
            for index in batch:
                self.text(items[index].name)._tensor(items[index], keys[index], legacy)
            self.add(b"u" if len(batch) > 1 else b"s")
        return self.add(b"s" if key is not None else b"").end()

    def _tensor(self, item: Item, key: str, legacy: bool) -> None:
        """_rebuild_tensor_v2(the storage's persistent id, offset, size, stride, requires_grad, hooks)."""
        self.known("global", "torch._utils._rebuild_tensor_v2").add(b"((")
        self.known("text", "storage").known("global", f"torch.{item.storage}").text(key)
        self.known("text", "cpu").integer(item.array.size)
        self.add(b"Nt" if legacy else b"t").number().add(b"Q").integer(0)  # N: no view of another storage
        shape = item.array.shape
        strides = [prod(max(n, 1) for n in shape[axis + 1:]) for axis in range(len(shape))]
        self.integers(shape).integers(strides)
        self.add(b"\x89").known("global", "collections.OrderedDict").add(b")R").number()
        self.add(b"t").number().add(b"R").number()

    def _numbered(self, short: bytes, long: bytes, number: int) -> _Pickle:
        return self.add(short + bytes([number]) if number < 256 else long + struct.pack("<I", number))


def _archive(entries: Sequence[Tuple[bytes, bytes]]) -> bytes:
    """A zip archive of stored entries, each aligned to 64 bytes by an extra field, as torch pads them."""
    content, directory = bytearray(), bytearray()
    for name, data in entries:
        start, sizes = len(content), struct.pack("<3I", zlib.crc32(data), len(data), len(data))
        padding = -(start + 30 + len(name) + 4) % 64
        flags = 0x808 if data else 0x800  # names in UTF-8; checksum and sizes stand behind the data
        content += b"PK\3\4" + struct.pack("<5H3I2H", 0, flags, 0, 0, 0, 0, 0, 0, len(name), padding + 4)
        content += name + b"FB" + struct.pack("<H", padding) + b"Z" * padding + data
        content += b"PK\7\x08" + sizes if data else b""
        directory += b"PK\1\2" + struct.pack("<6H", 0, 0, flags, 0, 0, 0) + sizes
        directory += struct.pack("<5H2I", len(name), 0, 0, 0, 0, 0, start) + name
    count, size, start = len(entries), len(directory), len(content)
    end = start + size
    content += directory
    content += b"PK\6\6" + struct.pack("<Q2H2I4Q", 44, 0x31E, 45, 0, 0, count, count, size, start)
    content += b"PK\6\7" + struct.pack("<IQI", 0, end, 1)
    few = min(count, 0xFFFF)  # more are counted by the record above alone
    return bytes(content + b"PK\5\6" + struct.pack("<4H2IH", 0, 0, few, few, size, start, 0))
