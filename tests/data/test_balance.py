"""data.balance: classes of different size, and how often training sees each."""

from __future__ import annotations

import numpy as np
import pytest

from nnabla_ofa.data import Augment, Data, Dataset, TrainLoader, calibration_draw, calibration_indices, split
from nnabla_ofa.data.balance import balanced_order
from nnabla_ofa.errors import OfaError

PLAIN = Augment(crop="none", flip=False, valid_resize=1)


def dataset(counts, balance=0.0):
    """Images in memory, `counts[c]` of class c, in mixed order; each image's pixels are its number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
    numbers = np.arange(len(labels), dtype=np.uint16)
    images = np.stack([numbers // 256, numbers % 256, 0 * numbers], axis=1).astype(np.uint8)
    images = np.broadcast_to(images[:, None, None], (len(labels), 4, 4, 3))
    return Dataset("uneven", tuple(map(str, range(len(counts)))), labels, images, balance=balance)


def seen(data, epoch=0, batch_size=1, **options):
    """(numbers of the images, labels) of an epoch."""
    loader = TrainLoader(data, PLAIN, 0, "kernel", batch_size, workers=0, **options)
    images, labels = map(np.concatenate, zip(*loader.epoch(epoch, lambda step: 4)))
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1], labels


def test_one_in_a_thousand_is_seen_as_often_as_the_others():
    data = dataset([1000, 1], balance=1)
    for epoch in range(3):
        numbers, labels = seen(data, epoch)
        assert len(numbers) == 1001 and np.array_equal(data.labels[numbers], labels)
        assert sorted(np.bincount(labels)) == [500, 501]
        assert len(set(numbers[labels == 0])) == np.count_nonzero(labels == 0)  # none of them twice
    assert set(seen(data, 0)[0]) != set(seen(data, 1)[0])


@pytest.mark.parametrize("balance", [0.25, 0.5, 1])
def test_shares_are_as_said_and_exact_over_epochs(balance):
    counts = np.array([400, 0, 100, 4, 1])
    labels, rng = dataset(counts).labels, np.random.default_rng(1)
    share = counts[counts > 0] ** (1 - balance)
    expected = len(labels) * share / share.sum()
    epochs = []
    for _ in range(300):
        order = balanced_order(labels, balance, rng)
        assert order.shape == labels.shape and order.dtype == np.int64
        epochs.append(np.bincount(labels[order], minlength=5)[counts > 0])
        times = np.bincount(order, minlength=len(labels))
        for c in range(5):  # images of a class take turns
            assert not counts[c] or np.ptp(times[labels == c]) <= 1
    assert np.abs(np.array(epochs) - expected).max() < 1
    assert np.abs(np.mean(epochs, axis=0) - expected).max() < 0.1


def test_off_is_what_it_was_and_evenly_sized_classes_are_seen_once():
    data = dataset([7, 3, 2])
    assert Data().balance == data.balance == 0
    assert sorted(seen(data)[0]) == list(range(12))
    key = [1, 0, 1574083243, 0]  # the stream of orders, seed, CRC-32 of the stage's name, epoch
    generator = np.random.Generator(np.random.PCG64(key))
    assert seen(data)[0].tolist() == generator.permutation(12).tolist()
    assert np.array_equal(calibration_draw(data, 5, 0), calibration_indices(12, 5, 0))
    assert sorted(seen(dataset([4, 4, 4], balance=1))[0]) == list(range(12))


def test_ranks_and_resumption_see_the_same_order():
    data = dataset([50, 5, 1], balance=0.7)
    whole = seen(data, batch_size=4)
    halves = [seen(data, batch_size=2, rank=rank, ranks=2) for rank in range(2)]
    for one, (a, b) in zip(whole, zip(*halves)):
        assert np.array_equal(one, np.concatenate([a.reshape(-1, 2), b.reshape(-1, 2)], axis=1).ravel())
    assert np.array_equal(seen(data)[0], seen(data)[0])


def test_subsets_keep_it_and_calibration_has_the_proportions_of_training():
    train, held_out = split(dataset([990, 10], balance=1), 0.1, seed=0)
    assert train.balance == 1 and np.bincount(held_out.labels).tolist() == [99, 1]
    chosen = calibration_draw(train, 200, seed=0)
    assert len(chosen) == 200 and 80 <= train.labels[chosen].sum() <= 120
    assert np.array_equal(chosen, calibration_draw(train, 200, seed=0))
    assert not np.array_equal(chosen, calibration_draw(train, 200, seed=1))
    assert len(calibration_draw(train, 9999, seed=0)) == 900


def test_settings():
    assert Data(source="digits", balance=0.5).open()[0].balance == 0.5
    for wrong in (-0.1, 1.1):
        with pytest.raises(OfaError, match=f"data.balance={wrong} is not 0 to 1"):
            Data(balance=wrong)
