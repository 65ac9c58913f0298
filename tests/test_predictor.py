"""The accuracy predictor: samples that are never measured twice, honest errors, no silent nonsense."""

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.agreement import agreement
from nnabla_ofa.cost import CostModel
from nnabla_ofa.nets.resnet20 import ResNet20
from nnabla_ofa.predictor import Predictor, Sample, draw, evaluated
from nnabla_ofa.ranking import read_subnets

XCEPTION = ofa.Xception(classes=4, width_mult=0.02, middle_blocks=3, stem_stride=1)


def network(config=XCEPTION, space="K357_E0.6+0.8+1_D123", seed=0):
    return ofa.Network.create(config, space, seed)


def additive(net, pairs, noise=0.0):
    """A made-up top-1: each choice of each block adds its own; larger images are better."""
    rng = np.random.default_rng(1)
    size = len(net.space.encode(net.space.largest()))
    weights = rng.uniform(0, 0.05, size)
    return [Sample(arch, image_size, float(0.4 + weights @ net.space.encode(arch) + image_size / 500
                                           + noise * rng.standard_normal())) for arch, image_size in pairs]


def test_draws_are_distinct_and_a_smaller_one_begins_a_larger_one():
    space = network().space
    many = draw(space, [12, 16], 200, seed=3)
    assert len(set(many)) == 200 and many[:50] == draw(space, [12, 16], 50, seed=3)
    assert many != draw(space, [12, 16], 200, seed=4)
    assert all(arch == arch.canonical() for arch, _ in many) and {size for _, size in many} == {12, 16}
    tiny = XCEPTION.space("K3_E1_D12")
    assert len(draw(tiny, [16], 100, seed=0)) == 8 == tiny.distinct_count()


def test_what_was_measured_is_not_measured_again(tmp_path):
    net, path, answered = network(), tmp_path / "samples.jsonl", []
    pairs = draw(net.space, [12, 16], 30, seed=0)
    truth = {(arch, size): top1 for arch, size, top1 in additive(net, pairs)}

    def measure(count, chunks):
        """As many as `chunks` calls are answered, then the run is interrupted."""
        def top1_of(archs, size):
            if len(answered) == chunks:
                raise KeyboardInterrupt
            answered.append([(arch, size) for arch in archs])
            return [truth[arch, size] for arch in archs]
        return evaluated(path, net, pairs[:count], top1_of, "images", chunk=4, say=lambda text: None)

    assert measure(10, chunks=99) == [Sample(*pair, truth[pair]) for pair in pairs[:10]]
    before = len(answered)
    with pytest.raises(KeyboardInterrupt):
        measure(30, chunks=before + 2)
    assert [sample.top1 for sample in measure(30, chunks=99)] == list(truth.values())
    asked = [pair for chunk in answered for pair in chunk]
    assert len(asked) == len(set(asked)) == 30
    assert measure(30, chunks=0) == [Sample(*pair, truth[pair]) for pair in pairs]


def test_samples_of_other_weights_or_a_damaged_file_are_refused(tmp_path):
    net, path = network(), tmp_path / "samples.jsonl"
    pairs = draw(net.space, [16], 12, seed=0)

    def measure(net, judged_on="some images"):
        return evaluated(path, net, pairs, lambda archs, size: [0.5] * len(archs), judged_on,
                         say=lambda text: None)
    measure(net)
    for other, judged_on, name in ((network(seed=1), "some images", "weights"),
                                   (net, "others", "judged_on"),
                                   (network(space="K357_E1_D123"), "some images", "space")):
        with pytest.raises(ofa.OfaError, match=f"another network or other images .its {name}"):
            measure(other, judged_on)
    text = path.read_text()
    for damaged in (text[:-9], text.replace("0.5", "1.5", 1), text.replace("0.5", "NaN", 1),
                    text.replace("XP", "YP", 1), "[]", "", "\x00"):
        path.write_text(damaged)
        with pytest.raises(ofa.OfaError, match="damaged"):
            measure(net)


@pytest.mark.parametrize("config, space", [(XCEPTION, "K357_E0.6+0.8+1_D123"),
                                           (ResNet20(classes=4), "C4-16_C4-32_C4-64")])
def test_an_additive_accuracy_is_learned(config, space):
    net = network(config, space)
    pairs = draw(net.space, [12, 16], 260, seed=0)
    samples, unseen = additive(net, pairs[:160], noise=0.002), additive(net, pairs)[160:]
    predictor = Predictor(net, samples)
    for size in (12, 16):
        some = [sample for sample in unseen if sample.image_size == size]
        predicted = predictor([sample.arch for sample in some], size)
        baseline = np.std([sample.top1 for sample in some])
        assert np.sqrt(np.mean((predicted - [s.top1 for s in some]) ** 2)) < baseline / 2
    archs = [sample.arch for sample in unseen]
    assert predictor(archs, 16).mean() > predictor(archs, 12).mean()
    assert predictor.agreement.kendall_tau > 0.6 and len(predictor.predicted) == 160


def test_real_subnets_are_ordered_better_than_by_their_size(shared):
    """Accuracies of 500 trained ResNet20s on CIFAR-100 (CVPR 2021 lightweight NAS challenge, track 1)."""
    net = network(ResNet20(classes=100), "C4-16_C4-32_C4-64")
    subnets = read_subnets(shared / "golden/cvpr2021_nas_track1_500.json", net.config).values()
    samples = [Sample(subnet.arch, 32, subnet.accuracy) for subnet in subnets]
    predictor, unseen = Predictor(net, samples[:200]), samples[200:]
    archs, truth = [sample.arch for sample in unseen], [sample.top1 for sample in unseen]
    tau = agreement(predictor(archs, 32), truth).kendall_tau
    sizes = CostModel(net, 32)(archs).parameters
    assert tau > agreement(sizes, truth).kendall_tau + 0.05 and tau > 0.65
    assert abs(tau - predictor.agreement.kendall_tau) < 0.1  # what it says of itself


def test_a_loaded_predictor_predicts_the_same(tmp_path):
    net, path = network(), tmp_path / "samples.jsonl"
    pairs = draw(net.space, [16], 60, seed=0)
    truth = {arch: top1 for arch, _, top1 in additive(net, pairs)}
    samples = evaluated(path, net, pairs, lambda archs, size: [truth[a] for a in archs], "images",
                        say=lambda text: None)
    archs = [arch for arch, _ in draw(net.space, [16], 50, seed=9)]
    assert np.array_equal(Predictor(net, samples)(archs, 16), Predictor.load(path, net)(archs, 16))


def test_a_poor_predictor_is_refused_unless_accepted():
    net = network()
    noise = np.random.default_rng(0).random(60)
    samples = [Sample(arch, size, float(top1)) for (arch, size), top1 in
               zip(draw(net.space, [16], 60, seed=0), noise)]
    with pytest.raises(ofa.OfaError, match="over 60 samples, below 0.5"):
        Predictor(net, samples)
    assert Predictor(net, samples, accept_poor=True).agreement.kendall_tau < 0.5
    with pytest.raises(ofa.OfaError, match="9 samples are too few"):
        Predictor(net, samples[:9])
    with pytest.raises(ofa.OfaError, match="not 32"):
        Predictor(net, samples, accept_poor=True)([net.space.largest()], 32)


def test_that_larger_images_win_is_no_skill():
    net = network()
    rng = np.random.default_rng(0)
    samples = [Sample(arch, size, float(size / 40 + 0.01 * rng.random()))
               for arch, size in draw(net.space, [12, 36], 80, seed=0)]
    with pytest.raises(ofa.OfaError, match="below 0.5"):
        Predictor(net, samples)


def test_two_ranks_have_the_same_samples(mpirun, tmp_path):
    code = """if True:
        import sys
        sys.path.insert(0, "tests")
        from nnabla_ofa.comm import connect
        from test_predictor import XCEPTION, additive, draw, evaluated, network
        comm, net = connect("cpu"), network()
        pairs = draw(net.space, [16], 12, seed=0)
        truth = {arch: top1 for arch, _, top1 in additive(net, pairs)}
        for count in (5, 12):
            samples = evaluated(sys.argv[1], net, pairs[:count], lambda some, size: [truth[a] for a in some],
                                "images", comm, chunk=3, say=lambda text: None)
        print("same:", samples == additive(net, pairs), flush=True)
        """
    out = mpirun(2, ["-c", code, tmp_path / "samples.jsonl"]).stdout
    assert out.count("same: True") == 2
