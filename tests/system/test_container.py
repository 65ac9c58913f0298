"""The .h5 container: what is declared must be there, and what trains says so to NNabla."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tracemalloc
from collections import OrderedDict

import h5py
import nnabla as nn
import nnabla.functions as F
import nnabla.solvers as S
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.system import container

HUGE = 1 << 28  # float32: 1 GiB


def hdf5(**datasets):
    """The bytes of an HDF5 file; datasets: name -> the arguments of `create_dataset`."""
    with h5py.File("none", "w", driver="core", backing_store=False, meta_block_size=1 << 13) as file:
        for name, options in datasets.items():
            file.create_dataset(name, **options)
        file.flush()
        return file.id.get_file_image()


def forged(content, **numbers):
    """`content` with 64-bit numbers replaced; each is there as often as its name says."""
    for times, (old, new) in numbers.items():
        assert content.count(struct.pack("<Q", old)) == {"once": 1, "twice": 2}[times]
        content = content.replace(struct.pack("<Q", old), struct.pack("<Q", new))
    return content


def signed(content):
    """A container around an HDF5 file, with the checksum that belongs to it: as who means harm writes it."""
    body = b'{"kind": "network"}\n'.ljust(512 - len(container.MAGIC) - 65) + content
    return container.MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


SMALL = hdf5(w={"data": np.arange(1237, dtype=np.float32)})  # its sizes are no other numbers of the file
LARGER = {
    "never written": hdf5(w={"shape": (HUGE,), "dtype": "f4"}),
    "a larger shape": forged(SMALL, twice=(1237, HUGE)),
    "a larger shape and storage": forged(forged(SMALL, twice=(1237, HUGE)), once=(4948, 4 * HUGE)),
    "zeros, compressed": hdf5(w={"data": np.zeros(1 << 20, np.float32), "compression": "gzip"}),
    "more than the address space": hdf5(w={"shape": (1 << 40, 1 << 20), "dtype": "f4"}),
}


@pytest.mark.parametrize("what", LARGER)
def test_more_than_the_file_holds_is_refused_before_memory_is_allocated(tmp_path, what):
    path = tmp_path / "weights.h5"
    for content in (LARGER[what], signed(LARGER[what])):
        path.write_bytes(content)
        read, error = ((container.read_hdf5, ValueError) if content == LARGER[what] else
                       (container.load, ofa.OfaError))
        tracemalloc.start()
        try:
            with pytest.raises(error, match="w of shape .* is not all there|w is not a plain array"):
                read(path)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20  # the peak
        finally:
            tracemalloc.stop()


def test_arrays_that_share_their_bytes_are_no_more_than_the_file():
    """A thousand datasets that name the same megabyte would be a gigabyte."""
    arrays = [np.full(4000, i + 1, np.float32) for i in range(8)]
    content = hdf5(**{f"w{i}": {"data": array} for i, array in enumerate(arrays)})
    places = [content.index(array.tobytes()) for array in arrays]
    assert places == sorted(places) and places[0] > 4096  # what describes them comes first
    for place in places[1:]:
        content = forged(content, once=(place, places[0]))
    shared = forged(content[:places[1]], once=(len(content), places[1]))  # where the file ends, says HDF5
    with pytest.raises(ValueError, match="w1 of shape .* is not all there"):
        container.read_hdf5(io.BytesIO(shared))


def test_groups_that_lie_deep_in_each_other_are_refused(tmp_path):
    """HDF5 would take minutes for ten thousand of them."""
    for depth, fails in ((container.DEEPEST + 2, True), (container.DEEPEST, False)):
        path = tmp_path / f"{depth}.h5"
        with h5py.File(path, "w") as file:
            file["/".join(["g"] * depth + ["w"])] = np.float32(7)
        if fails:
            with pytest.raises(ValueError, match="groups lie more than 32 deep"):
                container.read_hdf5(path)
        else:
            assert list(container.read_hdf5(path).values()) == [7]


def test_links_lead_nowhere(tmp_path):
    """Soft links, hard links to a group around it, and links to other files give no array of theirs."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.float32(1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["w"] = np.float32(7)
        file["soft"], file["group/up"] = h5py.SoftLink("/w"), file["/"]
        file["outside"] = h5py.ExternalLink("other.h5", "/secret")
    assert container.read_hdf5(tmp_path / "a.h5") == {"w": 7}


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo])
def test_devices_and_pipes_are_no_weights(tmp_path, little_memory, make):
    make(tmp_path / "weights.h5")
    for read in (container.load, ofa.load):
        with little_memory(), pytest.raises(ofa.OfaError, match="weights.h5"):
            read(tmp_path / "weights.h5")


def test_a_file_of_holes_is_refused(tmp_path, little_memory):
    with open(tmp_path / "weights.h5", "wb") as file:
        file.write(container.MAGIC)
        file.truncate(2**42)
    with little_memory(), pytest.raises(ofa.OfaError, match="it is larger than the memory"):
        container.load(tmp_path / "weights.h5")


def test_a_whole_file_passes(tmp_path):
    assert np.array_equal(container.read_hdf5(io.BytesIO(SMALL))["w"], np.arange(1237))
    (tmp_path / "weights.h5").write_bytes(signed(SMALL))
    arrays, meta = container.load(tmp_path / "weights.h5")
    assert np.array_equal(arrays["w"], np.arange(1237)) and meta == {"kind": "network"}


@pytest.fixture()
def loaded(tmp_path):
    """A supernet whose channels were sorted, and the scope of its file as NNabla itself reads it."""
    config = ofa.Xception(classes=3, widths=(40,) * 8, middle_blocks=1, stem_stride=1)
    net, scope = ofa.Network.create(config, "K35_E0.6+1_D123"), OrderedDict()
    net.sort_channels()
    net.kernels = "nnabla"
    net.save(tmp_path / "weights.h5")
    with nn.parameter_scope("", scope):
        nn.load_parameters(str(tmp_path / "weights.h5"))
    return net, scope


def test_nnabla_reads_what_training_moves_and_what_it_does_not(loaded):
    net, scope = loaded
    with nn.parameter_scope("", scope):
        variables = nn.get_parameters(grad_only=False)
    declared = net.declared()
    assert set(variables) == set(declared)
    assert {name for name, v in variables.items() if v.need_grad} == {
        name for name, p in declared.items() if p.role == "weight"}
    assert {p.role for p in declared.values()} == {"weight", "mean", "variance", "order"}


def test_a_plain_solver_with_weight_decay_leaves_statistics_and_order_alone(loaded):
    net, scope = loaded
    net.scope = scope
    images = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    labels = nn.Variable.from_numpy_array(np.arange(4)[:, None] % 3)
    archs = [net.arch(name) for name in ("XP1 3x3 3", "XP1 5x5 2", "XP1 5x5 1")]  # of all weights
    logits = net.forward(nn.Variable.from_numpy_array(images), archs, net.mode(batch_stat=True))
    loss = sum(F.mean(F.softmax_cross_entropy(each, labels)) for each in logits)
    solver = S.Momentum(lr=0.1)
    with nn.parameter_scope("", scope):
        solver.set_parameters(nn.get_parameters())
    before = net.arrays()
    solver.zero_grad()
    loss.forward()
    loss.backward()
    solver.weight_decay(0.1)
    solver.update()
    moved = {name for name, array in net.arrays().items() if not np.array_equal(array, before[name])}
    assert moved == {name for name, p in net.declared().items() if p.role == "weight"}
