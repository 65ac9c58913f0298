"""The restricted unpickler: what is listed is made, anything else is refused and does not run."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from nnabla_ofa.errors import OfaError
from nnabla_ofa.system import unpickler
from nnabla_ofa.system.unpickler import Refused, unpickle

ORDERED = {("collections", "OrderedDict"): OrderedDict}


def text(value):
    """A text as an opcode of protocol 4."""
    data = str(value).encode()
    return b"\x8c" + bytes([len(data)]) + data


def called(module, name, argument):
    """Pickles that call module.name(argument): by GLOBAL, by INST and by STACK_GLOBAL."""
    names = f"{module}\n{name}\n".encode()
    quoted = f"S{argument!r}\n".encode()
    return {"GLOBAL": b"c" + names + b"(" + quoted + b"tR.",
            "INST": b"(" + quoted + b"i" + names + b".",
            "STACK_GLOBAL": b"\x80\x04" + text(module) + text(name) + b"\x93(" + text(argument) + b"tR."}


@pytest.mark.parametrize("opcode", ["GLOBAL", "INST", "STACK_GLOBAL"])
@pytest.mark.parametrize("module, name, code", [
    ("os", "system", "touch '{}'"), ("posix", "system", "touch '{}'"),
    ("builtins", "eval", "open('{}', 'w')"), ("__builtin__", "eval", "open('{}', 'w')"),
    ("numpy", "core.os.system", "touch '{}'"), ("collections", "OrderedDict.__init__", "{}"),
    ("collections", "abc.sys.modules", "{}")])
def test_what_is_not_listed_is_refused_by_name_and_does_not_run(tmp_path, opcode, module, name, code):
    ran = tmp_path / "ran"
    data = called(module, name, code.format(ran))[opcode]
    with pytest.raises(Refused) as caught:
        unpickle(data, ORDERED)
    assert caught.value.asked == f"{module}.{name}" and not ran.exists()
    assert str(caught.value) == f"the pickle asks for {module}.{name}; allowed is collections.OrderedDict"


@pytest.mark.parametrize("opcode", ["GLOBAL", "STACK_GLOBAL"])
def test_those_pickles_would_run_with_python_s_own_unpickler(tmp_path, opcode):
    """So the test above can fail."""
    ran = tmp_path / "ran"
    pickle.loads(called("os", "system", f"touch '{ran}'")[opcode])
    assert ran.exists()


def test_a_name_is_what_the_caller_puts_there():
    """Nothing is imported: the module of the name need not exist, and its own function is not called."""
    data = called("torch._utils", "rebuild", "seven")["STACK_GLOBAL"]
    assert unpickle(data, {("torch._utils", "rebuild"): str.upper}) == "SEVEN"
    assert unpickle(called("os", "system", "exit 7")["GLOBAL"], {("os", "system"): len}) == 6


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_what_is_listed_are_read_as_they_were(protocol):
    value = OrderedDict([("list", [1, 2.5, None, True]), ("text", "ä"), ("tuple", ((), {"a": -1}))])
    found = unpickle(pickle.dumps(value, protocol), ORDERED)
    assert found == value and type(found) is OrderedDict
    with pytest.raises(Refused, match="asks for collections.OrderedDict; allowed is nothing"):
        unpickle(pickle.dumps(value, protocol), {})


def test_persistent_ids_are_the_caller_s_and_refused_without_one():
    """As PyTorch refers to storages: a tuple that names a class, which is looked up like any other."""
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", np.float32, "7", value.size) if isinstance(value, np.ndarray) else None

    storages = {"7": np.arange(3, dtype=np.float32)}
    file = io.BytesIO()
    Pickler(file, protocol=2).dump({"w": storages["7"]})
    floats = {("numpy", "float32"): np.float32}

    def load(identifier):
        kind, dtype, key, size = identifier
        assert kind == "storage" and dtype is np.float32 and size == 3
        return storages[key]

    assert unpickle(file.getvalue(), floats, persistent_load=load)["w"] is storages["7"]
    with pytest.raises(OfaError, match="refers to data outside itself .*'storage'"):
        unpickle(file.getvalue(), floats)
    with pytest.raises(Refused, match="asks for numpy.float32"):
        unpickle(file.getvalue(), {}, persistent_load=load)


def test_pickles_in_a_row_are_read_one_by_one():
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps({"a": 2}) + b"raw")
    assert [unpickle(file, {}), unpickle(file, {}), file.read()] == [[1], {"a": 2}, b"raw"]


def test_texts_of_python_2():
    data = b"U\x02\xe4b."
    assert unpickle(data, {}, encoding="latin1") == "äb" and unpickle(data, {}, encoding="bytes") == b"\xe4b"


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x02.", b"text", pickle.dumps([1] * 9)[:-3], b"(t(R.",
                                  b"\x82\x07."])
def test_damage_is_an_error_of_one_type(data):
    with pytest.raises(OfaError) as caught:
        unpickle(data, ORDERED)
    assert str(caught.value)


@pytest.mark.parametrize("opcode", [b"p4294967295\n", b"r\xff\xff\xff\xff"])
def test_a_damaged_number_of_an_object_takes_no_memory(opcode):
    """Python's unpickler would make room for all objects up to this one: 64 GiB."""
    with pytest.raises(OfaError, match="the object at byte 3 has the number 4294967295, which is too large"):
        unpickle(b"\x80\x02N" + opcode + b".", {})


def test_what_a_pickle_asks_for_is_shown_in_printable_characters():
    with pytest.raises(Refused) as caught:
        unpickle(called("a\nb", "c\x1bd", "x")["STACK_GLOBAL"], {})
    assert caught.value.asked == "a\\nb.c\\x1bd" and "\n" not in str(caught.value)


def test_errors_of_the_caller_s_functions_pass():
    def wrong(identifier):
        raise OfaError(f"no storage {identifier}")

    with pytest.raises(OfaError, match="^no storage 3$"):
        unpickle(b"I3\nQ.", {}, persistent_load=wrong)


@pytest.mark.parametrize("data, why", [
    (b"\x80\x02Nr" + (2**28).to_bytes(4, "little") + b".", "has the number 268435456, which is too large"),
    (b"Np99999999999\n.", "has the number 99999999999, which is too large"),
    (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b".", "expected 1099511627776 bytes"),
    (b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.", "pickle exhausted|EOF|truncated|frame"),
    (b"\x80\x02}N" + b"\x85" * 10**6 + b"Ns.", "it makes more than 30,000 tuples")])
def test_a_few_bytes_that_would_fill_memory_or_end_the_process(little_memory, data, why):
    with little_memory(), pytest.raises(OfaError, match=why):
        unpickle(data, {})


def test_nested_tuples_below_the_limit_are_hashed():
    depth = unpickler.MOST_TUPLES
    key, = unpickle(b"\x80\x02}N" + b"\x85" * depth + b"Ns.", {})
    for _ in range(depth):
        key, = key
    assert key is None
