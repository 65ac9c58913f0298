"""Pickles of other programs, read without running anything that their reader did not list.

A pickle is a small program. It names functions and classes by module and name, and calls them with
arguments of its own. `pickle.load` imports whatever a pickle names, so a pickle can run any code.
`unpickle` imports nothing: it looks every name up in a mapping that the caller gives, and refuses the
pickle at the first name that is not there.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import BinaryIO, Callable, Mapping, Optional, Tuple, Union

from ..errors import OfaError

Allowed = Mapping[Tuple[str, str], object]  # (module, name) -> what takes its place

MOST_TUPLES = 30_000  # that may be nested: a stack of 8 MB has room for 80,000


class Refused(OfaError):
    """A pickle asks for something that its reader did not list.

    Attributes:
        asked: what the pickle asks for, as "module.name" in printable characters.
    """

    def __init__(self, asked: str, message: str):
        super().__init__(message)
        self.asked = asked


def unpickle(data: Union[bytes, BinaryIO], allowed: Allowed, encoding: str = "ASCII",
             persistent_load: Optional[Callable[[object], object]] = None) -> object:
    """The object that a pickle describes, made by nothing but the functions and classes listed.

    Numbers, texts, bytes, lists, tuples, sets and dictionaries need no listing. They take no more memory than
    a multiple of the pickle's size.

    Args:
        data: the pickle, or an open binary file that stands at its first byte and can seek. The file is
            left at the byte after the pickle, so that pickles in a row can be read one by one.
        allowed: (module, name), spelled as the pickle spells them, to the function, class or value that
            takes their place. The pickle may call it with any arguments, and may set attributes of it
            where Python allows that. List only what does no harm then.
        encoding: how texts are encoded that Python 2 wrote as bytes. "bytes" leaves them as bytes.
        persistent_load: what to call with a persistent id, which stands for data outside the pickle,
            such as a tensor's storage in a PyTorch file. It returns the object. None: the pickle
            must have no such ids.

    Returns:
        The object, of any type: the caller has to check it.

    Raises:
        Refused: the pickle names something that `allowed` lacks. Nothing has been called with it.
        OfaError: the pickle is damaged, or would fill memory or end the process. An OfaError of a
            function that the caller gave passes as it is.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        _look_through(file)
        return _Unpickler(file, allowed, encoding, persistent_load).load()
    except OfaError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise OfaError(str(error) or type(error).__name__) from error


def _look_through(file: BinaryIO) -> None:
    """OfaError where a pickle would take all memory, or end the process; the file is left where it stood.

    A pickle numbers its objects so as to name them again. Python's unpickler makes room for all numbers up
    to the largest, so one damaged number could take all memory. And Python hashes a tuple by calling itself
    for what is in it, so that nested ones exhaust the stack.
    """
    start, hashable = file.tell(), 0
    for opcode, argument, place in pickletools.genops(file):
        length = (place or 0) - start
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument is not None and argument > length:
            raise OfaError(f"the object at byte {place} has the number {argument}, which is too large")
        hashable += opcode.name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")
        if hashable > MOST_TUPLES:
            raise OfaError(f"it makes more than {MOST_TUPLES:,} tuples")
    file.seek(start)


class _Unpickler(pickle.Unpickler):
    """Python's unpickler, with every look-up of a name in `allowed`.

    `find_class` serves all opcodes that name something. The opcodes EXT1 to EXT4 number what a program
    has registered with `copyreg.add_extension`; this package registers nothing.
    """

    def __init__(self, file: BinaryIO, allowed: Allowed, encoding: str,
                 load: Optional[Callable[[object], object]]):
        super().__init__(file, encoding=encoding)
        self._allowed = allowed
        self._load = load

    def find_class(self, module: str, name: str) -> object:
        """What the pickle calls `module.name`; a name with dots in it is one key like any other."""
        if (module, name) not in self._allowed:
            asked = repr(f"{module}.{name}"[:200])[1:-1]
            listed = ", ".join(".".join(pair) for pair in self._allowed) or "nothing"
            raise Refused(asked, f"the pickle asks for {asked}; allowed is {listed}")
        return self._allowed[module, name]

    def persistent_load(self, identifier: object) -> object:
        """What the pickle refers to by `identifier`."""
        if self._load is None:
            raise OfaError(f"the pickle refers to data outside itself ({identifier!r}), which no reader "
                           "of it looks up")
        return self._load(identifier)
