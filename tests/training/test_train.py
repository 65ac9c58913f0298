"""The training loop, as equalities: resumed == uninterrupted, frozen == frozen."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import nnabla as nn
import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.evaluation import score
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import load_recipe
from nnabla_ofa.experiment.run import Run
from nnabla_ofa.model import Frozen
from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system.comm import Single
from nnabla_ofa.training.losses import loss_gradients, smooth_targets, softmax
from nnabla_ofa.training.optimiser import Optimiser
from nnabla_ofa.training.sampling import draws, grown
from nnabla_ofa.training.schedule import generator, learning_rate
from nnabla_ofa.training.settings import Train
from nnabla_ofa.training.step import NotFinite, Stepper

TINY = Path(__file__).resolve().parents[1] / "tiny.yaml"
CONFIG = ofa.Xception(classes=5, widths=(8,) * 8, middle_blocks=2, stem_stride=1, dropout=0.0)


def tiny_run(output, *overrides, seed=0, **how):
    return Run(Lab.open(load_recipe(TINY, overrides), seed, Single()), output, "test", **how)


def stage_arrays(output, space, epoch):
    arrays, meta = checkpoint.load(output / space / f"checkpoint-{epoch:04d}.h5")
    for entry in meta["history"]:
        entry.pop("seconds"), entry.pop("images_per_second")
    return arrays, meta


# Draws -------------------------------------------------------------------------------------------

def test_draws_depend_on_seed_stage_epoch_and_step_alone():
    def draw(*key):
        return generator(*key, "draw").random(4).tolist()
    assert draw(0, "kernel", 1, 2) == draw(0, "kernel", 1, 2)
    others = [draw(1, "kernel", 1, 2), draw(0, "depth1", 1, 2), draw(0, "kernel", 2, 2),
              draw(0, "kernel", 1, 3)]
    assert draw(0, "kernel", 1, 2) not in others


def test_fewer_training_images_leave_the_others_alone():
    few, all_of_them = (Lab.open(load_recipe(TINY, [f"data.train_images={n}"]), 0, Single())
                        for n in (100, 5000))
    assert len(few.train) == 100 and np.bincount(few.train.labels).tolist() == pytest.approx([10] * 10, abs=1)
    for split in ("valid", "test"):
        np.testing.assert_array_equal(*(getattr(lab, split).dataset.labels for lab in (few, all_of_them)))
    assert len(all_of_them.train) == len(Lab.open(load_recipe(TINY), 0, Single()).train)


def test_every_image_size_and_sandwich_are_drawn():
    config = ofa.Xception()
    net = ofa.Network(config, config.space("K357_E1_D123"))
    found = draws_of(net, (128, 160, 192, 224), Train(subnets_per_step=4, sandwich=True), 60)
    assert {size for size, _ in found} == {128, 160, 192, 224}
    ends = [net.space.largest(), net.space.smallest()]
    assert all(archs[:2] == ends and len(archs) == 4 for _, archs in found)


def draws_of(net, sizes, settings, steps):
    return draws(net, sizes, settings, steps, lambda step, use: generator(0, "s", 0, step, use))


def test_images_grow_in_equal_parts_then_stay_the_largest():
    assert [grown((32, 16, 24), 0.5, done) for done in (0, 0.24, 0.26, 0.49, 0.5, 0.99)] == [
        16, 16, 24, 24, 32, 32]
    assert [grown((16, 32), 1, done) for done in (0, 0.999)] == [16, 16]
    assert grown((16, 32), 0, 0) == 32 and grown((32,), 0.5, 0.1) == 32
    net = ofa.Network(ofa.Xception(), ofa.Xception().space("K357_E1_D123"))
    found = draws(net, (24, 16), Train(growing_sizes=0.5), 8,
                  lambda step, use: generator(0, "s", 0, step, use), lambda step: step / 8)
    assert [size for size, _ in found] == [16] * 4 + [24] * 4


def test_a_stage_sees_growing_images(tmp_path, monkeypatch):
    """Over all of its epochs, its own setting in place of the recipe's."""
    seen, step = [], Stepper._pass

    def looking(self, images, *arguments, **more):
        seen.append(images.shape[-1])
        return step(self, images, *arguments, **more)
    monkeypatch.setattr(Stepper, "_pass", looking)
    tiny_run(tmp_path, "data.train_images=256", "data.held_out=0.05", "train.growing_sizes=1",
             "stages.fullnet.growing_sizes=0.75").up_to("K7_E1_D3")
    assert seen == [12] * 12 + [16] * 4  # updates of four passes


def test_strictly_fair_draws_bring_every_choice_equally_often():
    net = ofa.Network(ofa.ResNet20(), ofa.ResNet20().space("C4-16_C4-32_C4-64"))
    found = draws_of(net, (32,), Train(subnets_per_step=2, sampling="fair"), 16)
    archs = [arch for _, pair in found for arch in pair]
    for run in (archs[:16], archs[16:]):
        for i, choices in enumerate(net.space.blocks):
            counts = Counter(arch.blocks[i] for arch in run)
            assert set(counts.values()) == {16 // len(tuple(choices))}
    assert len(set(archs)) == 32


def test_draws_by_cost_prefer_large_subnets():
    net = ofa.Network(ofa.ResNet20(), ofa.ResNet20().space("C4-16_C4-32_C4-64"))
    macs = {rule: np.mean([net.cost(archs[0], 32).macs for _, archs in
                           draws_of(net, (32,), Train(sampling=rule), 60)]) for rule in ("uniform", "cost")}
    assert macs["cost"] > 1.05 * macs["uniform"]


def test_learning_rates():
    stage = load_recipe(TINY).stages[0]
    exponential = [learning_rate(stage, Train(), e) for e in (0, 1.9, 2, 4)]
    assert np.allclose(exponential, stage.lr * np.array([1, 1, 0.94, 0.94 ** 2]))
    cosine = Train(schedule="cosine", warmup_epochs=1)
    assert learning_rate(stage, cosine, 0) < 0.01 * stage.lr
    assert np.isclose(learning_rate(stage, cosine, stage.epochs / 2), stage.lr / 2)


# Losses and optimiser ----------------------------------------------------------------------------

def reference_loss(logits, labels, settings, teacher):
    """Value and gradient in float64."""
    value, gradients = 0.0, []
    first = softmax(logits[0].astype(np.float64))
    for i, z in enumerate(logits):
        p = softmax(z.astype(np.float64))
        targets = [(1.0, smooth_targets(labels, z.shape[1], settings.label_smoothing))]
        if settings.inplace_distill and i > 0:
            targets = [(1.0, first)]
        if teacher is not None:
            targets.append((settings.distill, softmax(teacher.astype(np.float64))))
        value += sum(-w * (t * np.log(p)).sum() for w, t in targets) / len(labels) / len(logits)
        gradients.append(sum(w * (p * t.sum(1, keepdims=True) - t) for w, t in targets)
                         / len(labels) / len(logits))
    return value, gradients


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("taught", [False, True])
def test_losses_equal_float64(inplace, taught):
    rng = np.random.default_rng(0)
    settings = Train(sandwich=inplace, inplace_distill=inplace, subnets_per_step=2, distill=0.7)
    logits = [rng.standard_normal((6, 5)).astype(np.float32) for _ in range(2)]
    labels, teacher = rng.integers(0, 5, 6), rng.standard_normal((6, 5)).astype(np.float32)
    outputs = [nn.Variable.from_numpy_array(z) for z in logits]
    value = loss_gradients(outputs, labels, settings, 0.5, teacher if taught else None)
    expected, gradients = reference_loss(logits, labels, settings, teacher if taught else None)
    assert abs(value - expected) < 1e-6 * expected
    for output, gradient in zip(outputs, gradients):
        assert np.abs(output.g - 0.5 * gradient).max() < 1e-6


def stepper(settings, space="K357_E0.6+0.8+1_D123", **more):
    net = ofa.Network.create(CONFIG, space)
    return Stepper(net, settings, Optimiser(net, settings), Single(), **more)


def some_pass(n=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3, 8, 8)).astype(np.float32), rng.integers(0, 5, n), None


def test_only_what_the_subnet_uses_moves():
    settings = Train(global_batch=64, weight_decay=0.1)
    one = stepper(settings)
    before = one.net.arrays()
    one.step(iter([some_pass()]), [one.net.arch("XP0.6 3x3 2")], 0.1, 1)
    after = one.net.arrays()
    assert all(np.array_equal(before[n], after[n]) for n in before if "/2/" in n and "middle" in n)
    assert not np.array_equal(before["middle/0/1/depthwise/5to3"], after["middle/0/1/depthwise/5to3"])
    bn = [n for n in before if n.endswith(("mean", "var", "order"))]
    assert all(np.array_equal(before[n], after[n]) for n in bn)


def test_only_the_classifier_moves_as_in_training_of_all():
    both = [stepper(Train(only_head=only)) for only in (True, False)]
    before = both[0].net.arrays()
    for one in both:
        one.step(iter([some_pass()]), [one.net.space.largest()], 0.1, 1)
    alone, together = (one.net.arrays() for one in both)
    moved = {name for name in before if not np.array_equal(before[name], alone[name])}
    assert moved == {"classifier/affine/W", "classifier/affine/b"}
    assert all(np.array_equal(alone[name], together[name]) for name in moved)
    again = Stepper(both[0].net, Train(), Optimiser(both[0].net, Train()), Single())
    again.step(iter([some_pass()]), [again.net.space.largest()], 0.1, 1)
    assert not np.array_equal(again.net.arrays()["stem/0/conv/W"], before["stem/0/conv/W"])


def test_summed_gradients_are_their_mean_at_a_rate_times_their_number():
    """And a part of the decay: so recipes take over rates of once-for-all, which sums over subnets."""
    ours, theirs = (stepper(Train(nesterov=True, weight_decay=decay)) for decay in (0.1, 0.2))
    start = ours.net.arrays()
    archs = [ours.net.space.largest(), ours.net.space.smallest()]
    for seed in (1, 2):
        ours.step(iter([some_pass(seed=seed)]), archs, 0.02, 1)
        theirs.optimiser.zero_grad()
        for arch in archs:
            theirs._pass(*some_pass(seed=seed), [arch], 1, last=False)
        theirs.optimiser.update(0.01)
    found, expected = ours.net.arrays(), theirs.net.arrays()
    for name, array in start.items():
        moved = max(np.abs(expected[name] - array).max(), 1e-4)
        assert np.abs(found[name] - expected[name]).max() <= 1e-3 * moved, name


def test_decay_groups():
    plain, decayed = stepper(Train(weight_decay=0.0)), stepper(Train(weight_decay=0.1))
    for one in (plain, decayed):
        one.step(iter([some_pass()]), [one.net.space.smallest()], 0.1, 1)
    a, b = plain.net.arrays(), decayed.net.arrays()
    differs = {n for n in a if not np.array_equal(a[n], b[n])}
    assert differs and all(n.endswith("/W") for n in differs)


def test_accumulated_passes_are_one_mean_gradient():
    halves = stepper(Train())
    archs = [halves.net.space.largest()]
    first, second = some_pass(seed=1), some_pass(seed=2)
    halves.step(iter([first, second]), archs, 0.1, 2)
    gradients = []
    for one in (first, second):
        alone = stepper(Train())
        alone.step(iter([one]), archs, 0.1, 1)
        gradients.append({n: v.g.copy() for n, v in alone.optimiser.variables.items()})
    for name, variable in halves.optimiser.variables.items():
        mean = (gradients[0][name] + gradients[1][name]) / 2
        assert np.abs(variable.g - mean).max() <= 1e-4 * max(np.abs(mean).max(), 1e-3), name


def test_shared_entry_gives_the_gradients_of_separate_passes():
    joint = stepper(Train(subnets_per_step=2, weight_decay=0.0))
    archs = [joint.net.space.largest(), joint.net.space.smallest()]
    joint.step(iter([some_pass()]), archs, 0.0, 1)
    total = {}
    for arch in archs:
        alone = stepper(Train(weight_decay=0.0))
        alone.step(iter([some_pass()]), [arch], 0.0, 1)
        for name, v in alone.optimiser.touched().items():
            total[name] = total.get(name, 0) + v.g / 2
    for name, v in joint.optimiser.touched().items():
        assert np.abs(v.g - total[name]).max() <= 1e-5 * max(np.abs(total[name]).max(), 1e-3), name


def test_clipping_bounds_the_whole_gradient():
    free, clipped = stepper(Train(weight_decay=0.0)), stepper(Train(weight_decay=0.0, clip_grad=0.01))
    start = free.net.arrays()
    for one in (free, clipped):
        one.step(iter([some_pass()]), [one.net.space.largest()], 1.0, 1)

    def moved(one):
        return np.sqrt(sum(((a - start[n]) ** 2).sum() for n, a in one.net.arrays().items()))
    assert moved(free) > 0.02 and abs(moved(clipped) - 0.01) < 1e-4


def test_a_step_that_is_not_finite_changes_nothing():
    one = stepper(Train())
    images, labels, _ = some_pass()
    images[0, 0, 0, 0] = np.nan
    before = one.net.arrays()
    with pytest.raises(NotFinite, match="loss nan, largest finite gradient .* in .*, gradient nan in"):
        one.step(iter([(images, labels, None)]), [one.net.space.largest()], 0.1, 1)
    assert all(np.array_equal(a, before[n]) for n, a in one.net.arrays().items())


def test_the_teacher_is_frozen():
    teacher = ofa.Network.create(CONFIG, "K7_E1_D3", seed=3)
    before = teacher.arrays()
    one = stepper(Train(distill=1.0), teachers={8: Frozen(teacher)})
    one.step(iter([some_pass()]), [one.net.space.largest()], 0.1, 1)
    assert all(np.array_equal(a, before[n]) for n, a in teacher.arrays().items())


def test_scores():
    logits = np.array([[3, 2, 1, 0, -1, -2], [0, 0, 0, 0, 0, 0], [np.nan] * 6], np.float32)
    _, top1, top5, count = score(logits, np.array([0, 5, 0]))
    assert (top1, top5, count) == (1, 1, 3)
    loss = score(logits[:1], np.array([1]))[0]
    assert np.isclose(loss, -np.log(softmax(logits[:1].astype(np.float64))[0, 1]))


# Runs --------------------------------------------------------------------------------------------

class Killed(Exception):
    pass


def kill(*arguments, **more):
    raise Killed


def kill_after(run, epochs, monkeypatch):
    """Run a stage chain, killed when the given number of epochs is done."""
    from nnabla_ofa.training.loop import Loop
    save, done = Loop._save, []

    def save_then_die(self, epoch):
        save(self, epoch)
        done.append(epoch)
        if len(done) == epochs:
            raise Killed
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", save_then_die)
        with pytest.raises(Killed):
            run.up_to("K357_E1_D3")


def test_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    tiny_run(tmp_path / "a").up_to("K357_E1_D3")
    for done in (1, 2):
        kill_after(tiny_run(tmp_path / "b"), done, monkeypatch)
    tiny_run(tmp_path / "b").up_to("K357_E1_D3")
    for space, epoch in (("K7_E1_D3", 2), ("K357_E1_D3", 3)):
        (a, meta_a), (b, meta_b) = (stage_arrays(tmp_path / r, space, epoch) for r in "ab")
        assert all(np.array_equal(a[n], b[n]) for n in a) and meta_a == meta_b


def test_broken_newest_checkpoint_falls_back(tmp_path, monkeypatch, capsys):
    overrides = ["stages.fullnet.epochs=3"]
    tiny_run(tmp_path / "a", *overrides).up_to("K7_E1_D3")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b/K7_E1_D3/weights.h5").unlink()
    newest = tmp_path / "b/K7_E1_D3/checkpoint-0003.h5"
    newest.write_bytes(newest.read_bytes()[:-100])
    tiny_run(tmp_path / "b", *overrides).up_to("K7_E1_D3")
    assert "falling back" in capsys.readouterr().out
    a, b = (stage_arrays(tmp_path / r, "K7_E1_D3", 3)[0] for r in "ab")
    assert all(np.array_equal(a[n], b[n]) for n in a)


def test_a_stage_killed_before_its_record_gets_it(tmp_path, monkeypatch):
    run = tiny_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "record", kill)
        with pytest.raises(Killed):
            run.up_to("K7_E1_D3")
    weights = tmp_path / "K7_E1_D3/weights.h5"
    before = weights.read_bytes()
    run.up_to("K7_E1_D3")
    assert weights.read_bytes() == before
    assert len(json.loads((tmp_path / "records/tiny/train-fullnet.json").read_text())["history"]) == 2


def test_changed_recipe_and_missing_start_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ofa.OfaError, match="K7_E1_D3/weights.h5"):
        tiny_run(tmp_path).up_to("K357_E1_D3", only=True)
    kill_after(tiny_run(tmp_path), 1, monkeypatch)
    with pytest.raises(ofa.OfaError, match=r"train.momentum: 0.9 -> 0.5"):
        tiny_run(tmp_path, "train.momentum=0.5").up_to("K7_E1_D3")
    with pytest.raises(ofa.OfaError, match="seed: 0 -> 1"):
        tiny_run(tmp_path, seed=1).up_to("K7_E1_D3")


def test_a_finetuning_of_other_weights_is_not_resumed(tmp_path):
    run = tiny_run(tmp_path)
    config = dataclasses.replace(run.recipe.net, classes=10)
    first, second = (ofa.Network.create(config, "K357_E1_D3", seed) for seed in (0, 1))
    run.finetune(first, "XP1 3x3 3")
    first.set_arrays({name: array + name.endswith("bn/mean") for name, array in first.arrays().items()})
    run.finetune(first, "XP1 3x3 3")  # calibrated otherwise: training does not read it
    with pytest.raises(ofa.OfaError, match="start weights"):
        run.finetune(second, "XP1 3x3 3")


def test_a_subnet_trained_from_scratch_has_nothing_of_the_supernet(tmp_path):
    run = tiny_run(tmp_path)
    config = dataclasses.replace(run.recipe.net, classes=10)
    supernets = [ofa.Network.create(config, "K357_E1_D3", seed) for seed in (0, 1)]
    first, second = (ofa.load(run.finetune(net, "XP1 3x3 3", tmp_path / f"{i}.h5", scratch=True)[0]).arrays()
                     for i, net in enumerate(supernets))  # the second finds the first's checkpoints
    assert all(np.array_equal(first[name], second[name]) for name in first)
    record = json.loads((tmp_path / "records/tiny/finetune-scratch.json").read_text())
    assert {row["when"] for row in record["results"]} == {"scratch"} and len(record["history"]) == 1


def test_finetuned_subnet_reloads_to_the_same_logits(tmp_path):
    run = tiny_run(tmp_path, "stages.fullnet.epochs=1")
    run.up_to("K7_E1_D3")
    net = ofa.load(tmp_path / "K7_E1_D3/weights.h5").widened("K357_E0.6+0.8+1_D123")
    path, _ = run.finetune(net, "XP1 3x3 2, XP0.6 5x5 3")
    record = json.loads((tmp_path / "records/tiny/finetune-finetune.json").read_text())
    after = [row for row in record["results"] if row["when"] == "after"]
    again = tiny_run(tmp_path).lab.rows(ofa.load(path), [None], say=lambda text: None)
    assert [r["top1"] for r in after] == [r["top1"] for r in again]
    assert [r["loss"] for r in after] == [r["loss"] for r in again]
