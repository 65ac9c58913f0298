"""The accuracy predictor: honest errors, samples of the right network, no silent nonsense."""

from pathlib import Path

import numpy as np
import pytest
from elastic_nets import FAMILIES

import nnabla_ofa as ofa
from nnabla_ofa.cost import CostModel
from nnabla_ofa.evaluation.cache import network_identity, write
from nnabla_ofa.evaluation.statistics import agreement
from nnabla_ofa.formats.subnets import read_subnets
from nnabla_ofa.nets.elastic.resnet20 import ResNet20
from nnabla_ofa.search.predictor import Predictor, Sample, draw, measured

CHALLENGE = Path(__file__).resolve().parents[1] / "fixtures/golden/cvpr2021_nas_track1_500.json"
XCEPTION = ofa.Xception(classes=4, width_mult=0.02, middle_blocks=3, stem_stride=1)


def network(config=XCEPTION, space="K357_E0.6+0.8+1_D123", seed=0):
    return ofa.Network.create(config, space, seed)


def one_hot(net, arch):
    return net.space.one_hot(net.space.indices([arch]))[0]


def additive(net, pairs, noise=0.0):
    """A made-up top-1: each choice of each block adds its own; larger images are better."""
    rng = np.random.default_rng(1)
    size = one_hot(net, net.space.largest()).size
    weights = rng.uniform(0, 0.05, size)
    return [Sample(arch, image_size, float(0.4 + weights @ one_hot(net, arch) + image_size / 500
                                           + noise * rng.standard_normal())) for arch, image_size in pairs]


def test_draws_are_distinct_and_a_smaller_one_begins_a_larger_one():
    space = network().space
    many = draw(space, [12, 16], 200, seed=3)
    assert len(set(many)) == 200 and many[:50] == draw(space, [12, 16], 50, seed=3)
    assert many != draw(space, [12, 16], 200, seed=4)
    assert all(arch == arch.canonical() for arch, _ in many) and {size for _, size in many} == {12, 16}
    tiny = XCEPTION.space("K3_E1_D12")
    assert len(draw(tiny, [16], 100, seed=0)) == 8 == tiny.distinct_count()


def test_samples_are_measured_size_by_size_and_keep_their_order():
    net, asked = network(), []
    pairs = draw(net.space, [12, 16], 9, seed=0)
    truth = {(arch, size): top1 for arch, size, top1 in additive(net, pairs)}

    def top1_of(archs, image_size):
        asked.append(image_size)
        return [truth[arch, image_size] for arch in archs]
    assert measured(pairs, top1_of) == additive(net, pairs) and asked == [12, 16]


def kept(path, net, samples):
    """The samples as runners/predictor.py leaves them."""
    write(path, {"kind": "some images", **network_identity(net)},
          {(str(one.arch), one.image_size): one.top1 for one in samples})


def test_samples_of_another_network_are_refused(tmp_path):
    net, path = network(), tmp_path / "samples.jsonl"
    kept(path, net, additive(net, draw(net.space, [16], 12, seed=0)))
    for other in (network(seed=1), network(ResNet20(classes=4), "C4-16_C4-32_C4-64")):
        with pytest.raises(ofa.OfaError, match="another network .its weights differs"):
            Predictor.load(path, other)
    path.write_text(path.read_text().replace("XP", "YP", 1))
    with pytest.raises(ofa.OfaError, match="samples.jsonl: .*YP"):
        Predictor.load(path, net)


@pytest.mark.parametrize("config, space", [(XCEPTION, "K357_E0.6+0.8+1_D123"),
                                           (ResNet20(classes=4), "C4-16_C4-32_C4-64"),
                                           (FAMILIES["mobilenetv3"][0], "K35_E36_D23"),
                                           (FAMILIES["ofa_resnet50"][0], "D12_E0.2+0.35_W0.8+1")])
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


def test_real_subnets_are_ordered_better_than_by_their_size():
    """Accuracies of 500 trained ResNet20s on CIFAR-100 (CVPR 2021 lightweight NAS challenge, track 1)."""
    net = network(ResNet20(classes=100), "C4-16_C4-32_C4-64")
    subnets = read_subnets(CHALLENGE, net.config).values()
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
    samples = additive(net, pairs)
    kept(path, net, samples)
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
