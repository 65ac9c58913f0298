"""Optimisers against their formulas in float64; their state is whole; old momentum is read."""

from __future__ import annotations

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.training.optimiser import Optimiser
from nnabla_ofa.training.settings import Train

CONFIG = ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2, stem_stride=1, dropout=0.0)
RATES = (0.1, 0.1, 0.03, 0.2)
DECAY = 0.05


# One update of a weight `w` with gradient `g`: the state `k` is a dict that begins empty.

def sgd(w, g, k, lr, decay, t):
    k["m"] = 0.8 * k.get("m", 0) + lr * (g + decay * w)
    return w - k["m"]


def nesterov(w, g, k, lr, decay, t):
    k["m"] = 0.8 * k.get("m", 0) + lr * (g + decay * w)
    return w - lr * (g + decay * w) - 0.8 * k["m"]


def rmsprop(w, g, k, lr, decay, t):
    g = g + decay * w
    k["s"] = 0.7 * k.get("s", 1) + 0.3 * g ** 2
    k["m"] = 0.8 * k.get("m", 0) + lr * g / np.sqrt(k["s"] + 1e-3)
    return w - k["m"]


def adamw(w, g, k, lr, decay, t):
    k["a"] = 0.85 * k.get("a", 0) + 0.15 * g
    k["s"] = 0.95 * k.get("s", 0) + 0.05 * g ** 2
    corrected = np.sqrt(1 - 0.95 ** t) / (1 - 0.85 ** t) * k["a"] / (np.sqrt(k["s"]) + 1e-3)
    return w - lr * (corrected + decay * w)


OPTIMISERS = {"sgd": (sgd, {}), "nesterov": (nesterov, {"nesterov": True}),
              "rmsprop": (rmsprop, {"optimiser": "rmsprop", "rms_decay": 0.7}),
              "adamw": (adamw, {"optimiser": "adamw", "betas": (0.85, 0.95), "eps": 1e-3})}
BY_NAME = pytest.mark.parametrize("name", OPTIMISERS)


def optimiser(name, **more):
    net = ofa.Network.create(CONFIG, "K7_E1_D3")
    settings = Train(momentum=0.8, weight_decay=DECAY, **{**OPTIMISERS[name][1], **more})
    return net, Optimiser(net, settings)


def touched(name, number):
    """Every third parameter has no gradient in an update, another third each time."""
    return (len(name) + number) % 3 != 0


def updates(one, numbers):
    for number in numbers:
        one.zero_grad()
        for name, variable in one.variables.items():
            if touched(name, number):
                rng = np.random.default_rng([number, len(name)])
                variable.g = 0.1 * rng.standard_normal(variable.shape).astype(np.float32)
        one.update(RATES[number])


@pytest.mark.parametrize("decay_all", [False, True])
@BY_NAME
def test_updates_are_the_formulas(name, decay_all):
    """Untouched parameters stay, and their counts and momentum too."""
    net, one = optimiser(name, decay_all=decay_all)
    expected = {n: v.d.astype(np.float64) for n, v in one.variables.items()}
    kept, counts, declared = {n: {} for n in expected}, dict.fromkeys(expected, 0), net.declared()
    assert {p.decay for n, p in declared.items() if n in expected} == {True, False}
    updates(one, range(4))
    for number, lr in enumerate(RATES):
        for n, w in expected.items():
            if touched(n, number):
                counts[n] += 1
                g = 0.1 * np.random.default_rng([number, len(n)]).standard_normal(w.shape)
                expected[n] = OPTIMISERS[name][0](w, g, kept[n], lr,
                                                  DECAY * (declared[n].decay or decay_all), counts[n])
    for n, w in expected.items():
        assert np.abs(one.variables[n].d - w).max() < 2e-6 * max(1, np.abs(w).max()), n
    assert {n: int(a[0]) for n, a in one.state().items() if n.startswith("updates/")} == {
        f"updates/{n}": count for n, count in counts.items()}


@BY_NAME
def test_restored_goes_on_with_the_same_bits(name):
    whole, one = optimiser(name)
    updates(one, range(4))
    first, half = optimiser(name)
    updates(half, range(2))
    second, rest = optimiser(name)
    second.set_arrays(first.arrays())
    rest.set_state({n: a.copy() for n, a in half.state().items()})
    updates(rest, range(2, 4))
    for a, b in ((whole.arrays(), second.arrays()), (one.state(), rest.state())):
        assert a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def test_momentum_has_one_name_and_one_sign():
    """What older checkpoints carry; and nesterov's momentum is that of sgd where gradients are the same."""
    found = {}
    for name in ("sgd", "nesterov"):
        net = ofa.Network.create(CONFIG, "K7_E1_D3")
        one = Optimiser(net, Train(momentum=0.8, weight_decay=0.0, nesterov=name == "nesterov"))
        updates(one, range(3))
        found[name] = one.state()
    assert set(found["sgd"]) == {f"{key}/{n}" for key in ("momentum", "updates") for n in one.variables}
    assert all(np.array_equal(found["sgd"][n], found["nesterov"][n]) for n in found["sgd"])


def test_another_optimisers_state_is_refused():
    _, sgd = optimiser("sgd")
    _, other = optimiser("adamw")
    with pytest.raises(ofa.OfaError, match="no mean.* train.optimiser=adamw"):
        other.set_state(sgd.state())
