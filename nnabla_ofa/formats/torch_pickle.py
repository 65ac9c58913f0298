"""The pickle of a PyTorch file, read without torch: tensors are described, their values are elsewhere."""

from __future__ import annotations

from typing import BinaryIO, Dict, List, NamedTuple, Optional, Tuple

from ..errors import OfaError
from ..system.unpickler import Allowed, Refused, unpickle

# Torch's storage classes, and the type of their elements. bfloat16 is the upper half of a float32.
BFLOAT16 = "BFloat16Storage"
STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", BFLOAT16: "<u2",
            "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
            "ByteStorage": "<u1", "BoolStorage": "?", "ComplexFloatStorage": "<c8",
            "ComplexDoubleStorage": "<c16", "UntypedStorage": "<u1"}
_TYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
          "complex64", "complex128")
AGAIN = "fetch or save the file again"


class Storage(NamedTuple):
    """A row of numbers in the file: elements `start` to `start + size` of the `whole` that `key` names."""

    key: str
    kind: str
    whole: int
    start: int
    size: int


class Tensor(NamedTuple):
    """A tensor as the pickle describes it; offset and strides count elements of the storage."""

    storage: Storage
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]


class _Ordered(Dict[object, object]):
    """An OrderedDict of the pickle, without the attributes that it sets, such as torch's `_metadata`."""

    def __setstate__(self, state: object) -> None:
        pass


def read_pickle(file: BinaryIO, storages: Dict[str, Storage]) -> object:
    """What the pickle describes, with a `Tensor` in the place of each tensor.

    Args:
        file: a binary file that stands at the pickle's first byte; it is left behind the last.
        storages: key to storage; what the pickle refers to is added.

    Raises:
        Refused: the pickle names something that is no part of a state dict.
        OfaError: the pickle is damaged.
    """
    def load(identifier: object) -> Storage:
        storage = _storage(identifier)
        first = storages.setdefault(storage.key, storage)
        if (first.kind, first.whole) != (storage.kind, storage.whole):
            raise OfaError(f"it describes the storage {storage.key[:80]!r} in two ways")
        return storage

    try:
        return unpickle(file, _allowed(), "utf-8", load)
    except Refused:
        raise
    except OfaError as error:
        raise OfaError(f"its pickle is damaged ({str(error)[:200]}); {AGAIN}") from error


def _storage(identifier: object) -> Storage:
    """Of ("storage", class, key, device, elements), behind which the legacy form adds which part it is.

    That is None for the whole storage, or (the part's own key, start, size).
    """
    if isinstance(identifier, tuple) and len(identifier) in (5, 6):
        _, kind, key, _, whole, view = (*identifier, None)[:6]
        _, start, size = (None, 0, whole) if view is None else view
        if (isinstance(kind, str) and kind in STORAGES and isinstance(key, str)
                and _whole(whole, start, size) and start + size <= whole):
            return Storage(key, kind, whole, start, size)
    raise OfaError("it describes a storage that cannot be")


def _allowed() -> Allowed:
    """What a state dict may name, made anew for each pickle, which could set attributes of the functions.

    A class of storages or a type is its name as a text. Calling one is an error.
    """
    def tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> Tensor:
        if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
                and _whole(offset, *shape, *strides) and len(shape) == len(strides) <= 32):
            raise OfaError("a tensor's shape, strides or storage cannot be")
        return Tensor(storage, offset, shape, strides)  # type: ignore[arg-type]

    def parameter(data: object, *rest: object) -> object:
        return data

    def ordered(pairs: Optional[List[Tuple[object, object]]] = None) -> Dict[object, object]:
        found = _Ordered(pairs or ())
        if pairs:  # Python 2 gives each list once; one that is copied often could take all memory
            pairs.clear()
        return found

    def size(values: object) -> object:
        return values

    allowed: Dict[Tuple[str, str], object] = {
        ("collections", "OrderedDict"): ordered, ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter, ("torch", "Size"): size,
        ("torch.storage", "UntypedStorage"): "UntypedStorage"}
    allowed.update({("torch", name): name for name in (*STORAGES, *_TYPES)})
    return allowed


def _whole(*values: object) -> bool:
    """Whether all are whole numbers that an array's size or place can be."""
    return all(type(value) is int and 0 <= value < 2 ** 63 for value in values)
