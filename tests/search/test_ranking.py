"""Files of subnets with accuracies, and rank correlations with them."""

import json
from pathlib import Path

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.evaluation.statistics import correlations
from nnabla_ofa.formats import subnets as ranking
from nnabla_ofa.reports.pages import ranking as ranking_page
from nnabla_ofa.search.ranking import rows as rows_of

CHALLENGE = Path(__file__).resolve().parents[1] / "fixtures/golden/cvpr2021_nas_track1_500.json"
CONFIG = ofa.ResNet20(classes=100)
NET = ofa.Network(CONFIG, CONFIG.space("C4-16_C4-32_C4-64"))


def test_the_challenge_file_and_its_baselines():
    subnets = ranking.read_subnets(CHALLENGE, CONFIG)
    actual = [subnet.accuracy for subnet in subnets.values()]
    rows = rows_of(NET, subnets, actual, 32)
    assert len(subnets) == 500
    # of the whole public set of 1,000: .646 / .587, .429 / .361, .640 / .541
    for name, pearson, kendall in (("parameters", .646, .587), ("macs", .429, .361),
                                   ("numbers", .640, .541)):
        found = correlations([row[name] for row in rows], actual)
        assert found["pearson"] == pytest.approx(pearson, abs=.06)
        assert found["kendall"] == pytest.approx(kendall, abs=.04)


def test_predictions_are_written_in_the_same_form(tmp_path):
    rng = np.random.default_rng(0)
    entries = {f"arch{i}": {"arch": str(NET.space.sample(rng))[:-2] + "4"} for i in range(3)}
    (tmp_path / "in.json").write_text(json.dumps(entries))
    subnets = ranking.read_subnets(tmp_path / "in.json", CONFIG)
    assert [subnet.accuracy for subnet in subnets.values()] == [None] * 3
    ranking.write_subnets(tmp_path / "out.json", subnets, [.5, .25, .125])
    written = json.loads((tmp_path / "out.json").read_text())
    assert written == {name: {"arch": entry["arch"], "acc": acc}
                       for (name, entry), acc in zip(entries.items(), [.5, .25, .125])}


def test_correlations():
    assert correlations([1, 2, 3, 4], [.1, .2, .3, .4]) == pytest.approx(
        {"pearson": 1.0, "kendall": 1.0})
    assert correlations([1, 2, 3], [.3, .2, .25])["kendall"] == pytest.approx(-1 / 3)
    assert np.isnan(correlations([1, 1, 1], [.3, .2, .25])["kendall"])


@pytest.mark.parametrize("text, complaint", [
    ("", "not valid JSON"), ("[]", "not an object"), ("{}", "not an object"), ('{"a": 3}', 'a has no "arch"'),
    ('{"a": {"arch": "16-16"}}', "a: subnet '16-16'"), ('{"a": {"arch": 5}}', 'no "arch"'),
    ('{"a": {"arch": "%s", "acc": 53.9}}' % NET.space.largest(), "53.9 is not a fraction")])
def test_malformed_files_name_the_entry(tmp_path, text, complaint):
    path = tmp_path / "subnets.json"
    path.write_text(text)
    with pytest.raises(ofa.OfaError, match=complaint):
        ranking.read_subnets(path, CONFIG)


def test_the_page_says_how_well_each_order_agrees():
    rng = np.random.default_rng(0)
    archs = [NET.space.sample(rng) for _ in range(6)]
    subnets = {f"arch{i}": ranking.Subnet(arch, str(arch), i / 10 if i else None)
               for i, arch in enumerate(archs)}
    rows = rows_of(NET, subnets, [.5, .9, .8, .7, .6, .5], 32)
    first = ranking_page.summary(rows)[0]
    assert (first["Order by"], first["Subnets"], first["Kendall"]) == ("supernet", 5, "-1.000")
    record = {"kind": "rank", "recipe": "resnet20_cifar10", "name": "cvpr", "results": rows, "space": "C4-16",
              "seed": 0, "ranks": 1, "seconds": 1.0, "date": "2026-11-21", "commit": None, "versions": {},
              "machine": {"cpu": "a CPU", "cores": 2, "gpu": None}, "command": "c", "held_out_images": 99}
    page = ranking_page.pages([record])["ranking.md"]
    assert "| supernet | 5 |" in page and "| -1.000 |" in page
    (name, figure), = ranking_page.figures([record]).items()
    assert f"]({name})" in page and len(figure.axes) == len(ranking_page.ORDERS)
    supernet = figure.axes[0]
    assert supernet.get_title() == "Kendall -1.000"
    assert list(supernet.lines[0].get_xdata()) == [.9, .8, .7, .6, .5]
    assert ranking_page.pages([]) == ranking_page.figures([]) == {}
