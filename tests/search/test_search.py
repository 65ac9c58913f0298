"""Search against brute force; limits and the nearest costs; a search that was killed; two ranks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from elastic_nets import FAMILIES

import nnabla_ofa as ofa
from nnabla_ofa.evaluation import Evaluations
from nnabla_ofa.search.methods import METHODS, all_archs, search
from nnabla_ofa.search.nearest import least_excess, nondominated
from nnabla_ofa.search.problem import Problem, cost_function, exact, pareto, parse_limit
from nnabla_ofa.system import records

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ofa.Xception(classes=4, widths=(40,) * 8, middle_blocks=2)
SPACE = CONFIG.space("K357_E0.6+0.8+1_D123")
NET = ofa.Network(CONFIG, SPACE)
EVERY = all_archs(SPACE)
EACH = dict(zip(EVERY, zip(*cost_function(NET, 16)(EVERY).values())))


def COSTS(archs):
    return dict(zip(("macs", "parameters"), np.array([EACH[arch.canonical()] for arch in archs]).T))


def quantile(name, share):
    return float(np.quantile(COSTS(EVERY)[name], share))


def accuracy(archs):
    """A made-up accuracy: larger kernels, depth and width help, the first block most; no ties."""
    return [sum((b.kernel + 3.1 * b.depth * b.expand) * w for b, w in zip(a.canonical().blocks, (2, 1))) / 100
            for a in archs]


def beaten(one, others):
    """Whether one of the others costs no more and scores no less, and differs."""
    return any(o.costs["macs"] <= one.costs["macs"] and o.top1 >= one.top1
               and (o.costs["macs"], o.top1) != (one.costs["macs"], one.top1) for o in others)


def whole(problem):
    return search(problem, accuracy, len(EVERY))


# -- what is found ---------------------------------------------------------------------------------

def test_a_search_of_all_subnets_is_brute_force():
    assert len(EVERY) == len(set(EVERY)) == SPACE.distinct_count() == 441
    found = whole(Problem(SPACE, COSTS))
    assert [f.arch for f in found] == EVERY
    assert {f.arch for f in pareto(found)} == {f.arch for f in found if not beaten(f, found)}


@pytest.mark.parametrize("cost", ["macs", "parameters"])
def test_nsga2_finds_the_front_of_brute_force_where_random_draws_do_not(cost):
    problem = Problem(SPACE, COSTS, {cost: quantile(cost, 0.4)})
    best = [f.arch for f in pareto(whole(problem))]
    assert len(best) == 19 and problem.within(EVERY).sum() > 150
    assert [f.arch for f in pareto(search(problem, accuracy, 150, seed=0))] == best
    assert [f.arch for f in pareto(search(problem, accuracy, 150, "random", seed=0))] != best


@pytest.mark.parametrize("seed", range(4))
def test_nsga2_finds_more_of_the_whole_front_than_random_draws(seed):
    problem = Problem(SPACE, COSTS)
    best = {f.arch for f in pareto(whole(problem))}
    bred, random = ({f.arch for f in pareto(search(problem, accuracy, 200, method, seed))}
                    for method in ("nsga2", "random"))
    assert len(bred & best) > len(random & best)


@pytest.mark.parametrize("method", METHODS)
def test_subnets_are_within_the_limits_distinct_and_drawn_by_the_seed_alone(method):
    limits = {"macs": quantile("macs", 0.5), "parameters": quantile("parameters", 0.6)}
    problem = Problem(SPACE, COSTS, limits)
    found = search(problem, accuracy, 60, method, seed=3)
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    assert search(problem, accuracy, 60, method, seed=3) == found
    assert np.array_equal(np.random.get_state()[1], state)  # pymoo's draws leave no trace
    assert len({f.arch for f in found}) == len(found) == 60
    assert all(f.arch == f.arch.canonical() for f in found)
    assert all(f.costs[name] <= limit for f in found for name, limit in limits.items())
    assert search(problem, accuracy, 60, method, seed=4) != found


@pytest.mark.parametrize("method", METHODS)
def test_a_search_ends_where_the_limits_leave_fewer_subnets_than_asked_for(method):
    cheapest = sorted(COSTS(EVERY)["macs"])
    problem = Problem(SPACE, COSTS, {"macs": cheapest[4]})
    within = {arch for arch, ok in zip(EVERY, problem.within(EVERY)) if ok}
    assert {f.arch for f in search(problem, accuracy, 100, method)} == within


def test_latency_is_a_cost_like_the_others():
    class Table:
        def predict(self, net, archs, image_size):
            return np.array([1 + sum(b.kernel == 3 for b in a.blocks) for a in archs])  # 3x3 is slow here

    costs = cost_function(NET, 16, Table())
    problem = Problem(SPACE, costs, {"latency_ms": 1.5}, "latency_ms")
    found = search(problem, accuracy, 50)
    assert len(found) == 50 and all(b.kernel > 3 for f in found for b in f.arch.blocks)
    with pytest.raises(ofa.OfaError, match="--latency-table"):
        Problem(SPACE, COSTS, {"latency_ms": 1.5})


def test_a_space_of_channel_widths_is_searched_the_same_way():
    config = ofa.ResNet20()
    space = config.space("C4-16_C4-32_C4-64")
    costs = cost_function(ofa.Network(config, space), 32)
    limit = float(costs([space.largest()])["macs"][0]) / 2
    problem = Problem(space, costs, {"macs": limit})
    found = search(problem, lambda archs: costs(archs)["parameters"] / 1e9, 25)
    assert len({f.arch for f in found}) == 25 and all(f.costs["macs"] <= limit for f in found)
    assert all(space.check(f.arch) == f.arch.canonical() for f in found)


@pytest.mark.parametrize("family, name", [
    ("mobilenetv3", "K3_E3_D234"), ("proxylessnas", "K5_E36_D3"), ("ofa_resnet50", "D012_E0.2_W1"),
    ("ofa_resnet50", "D0_E0.2_W0.8+1")])
@pytest.mark.parametrize("method", METHODS)
def test_absent_blocks_are_searched_as_by_brute_force(family, name, method):
    config = FAMILIES[family][0]
    space = config.space(name)
    if space.distinct_count() > 3000:
        space = ofa.Space((*space.blocks[:6], *ofa.Space.of(space.largest()).blocks[6:]))
    every, costs = all_archs(space), cost_function(ofa.Network(config, config.space(name)), 32)
    assert len(every) == len(set(every)) == space.distinct_count() > 30
    assert all(arch == arch.canonical() for arch in every)
    worth = dict(zip(every, np.random.default_rng(0).random(len(every))))
    limit = float(np.median(costs(every)["macs"]))
    problem = Problem(space, costs, {"macs": limit})
    found = search(problem, lambda archs: [worth[arch] for arch in archs], len(every), method)
    within = {arch for arch, macs in zip(every, costs(every)["macs"]) if macs <= limit}
    assert {f.arch for f in found} == within and len(found) == len(within)
    assert {f.arch for f in pareto(found)} == {f.arch for f in found if not beaten(f, found)}
    least = costs(every)["macs"].min()
    with pytest.raises(ofa.OfaError, match=f"the smallest has {least:.0f} "):
        Problem(space, costs, {"macs": least - 1})


def test_what_cannot_be_searched_is_said():
    problem = Problem(SPACE, COSTS)
    for arguments, complaint in (((1,), "count=1 "), ((9, "anneal"), "method=anneal .* nsga2, random")):
        with pytest.raises(ofa.OfaError, match=complaint):
            search(problem, accuracy, *arguments)


# -- limits ----------------------------------------------------------------------------------------

def test_infeasible_limits_name_the_nearest_cost():
    least = COSTS([SPACE.smallest()])["macs"][0]
    with pytest.raises(ofa.OfaError, match=f"the smallest has {least:.0f} .*raise --max-macs"):
        Problem(SPACE, COSTS, {"macs": least - 1, "parameters": 1e9})
    assert Problem(SPACE, COSTS, {"macs": parse_limit(f"{least:.0f}")}).anchor == SPACE.smallest().canonical()


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_costs_are_those_of_brute_force(seed):
    """Made-up costs that trade off against each other in every block."""
    rng = np.random.default_rng(seed)
    tables = {name: [dict(zip(own.distinct(), rng.random(21))) for own in SPACE.blocks]
              for name in ("macs", "parameters", "latency_ms")}

    def costs(archs):
        return {name: np.array([sum(own[b] for own, b in zip(table, arch.canonical().blocks))
                                for arch in archs]) for name, table in tables.items()}

    limits = {"macs": 0.2, "parameters": 0.3, "latency_ms": 0.1}
    excess = np.max([costs(EVERY)[name] / limit for name, limit in limits.items()], axis=0)
    nearest = least_excess(SPACE, costs, limits)
    assert nearest == EVERY[excess.argmin()] and excess.min() > 1
    with pytest.raises(ofa.OfaError, match="no subnet has at most") as caught:
        Problem(SPACE, costs, limits)
    assert "raise" in str(caught.value)
    raised = {name: float(exact(float(costs([nearest])[name][0]))) for name in limits}
    assert Problem(SPACE, costs, raised).within([nearest])[0]  # the limits that it names can be met


def test_nondominated_rows_are_those_that_no_other_beats():
    points = np.random.default_rng(0).integers(0, 6, (60, 3))
    kept = {tuple(points[i]) for i in nondominated(points)}
    assert len(kept) == len(nondominated(points))
    assert kept == {tuple(p) for p in points if not any((q <= p).all() and (q < p).any() for q in points)}


def test_limits_are_read():
    assert parse_limit("30M") == 3e7 and parse_limit("2.5G") == 2.5e9 and parse_limit("100") == 100
    for text in ("", "M", "-3M", "nan", "many", "inf"):
        with pytest.raises(ofa.OfaError, match="limit"):
            parse_limit(text)


def test_a_search_that_was_killed_measures_nothing_twice_and_ends_the_same(tmp_path):
    problem, asked = Problem(SPACE, COSTS), []

    def known(dies_at=None):
        def measure(archs, image_size):
            if dies_at is not None and len(asked) >= dies_at:
                raise KeyboardInterrupt
            asked.extend(archs)
            return accuracy(archs)
        return partial(Evaluations(tmp_path, {"weights": 1}, measure, chunk=3), image_size=16)

    with pytest.raises(KeyboardInterrupt):
        search(problem, known(dies_at=40), 80)
    assert 40 <= len(asked) < 80
    assert search(problem, known(), 80) == search(problem, accuracy, 80)
    assert len(asked) == len(set(asked)) == 80


# -- the command -----------------------------------------------------------------------------------

def command(weights, output, *more):
    return ["runners/search.py", "--weights", weights, "--output", output, "--count", "20", *more]


def start(*args):
    return subprocess.Popen([sys.executable, *map(str, args)], cwd=str(ROOT), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(output):
    """All of a search's record that its command line does not change."""
    record, = records.read(output / "records")
    return {key: record[key] for key in ("results", "search")}


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished")
    process = start(*command(weights, output, "--save", output / "best.h5"))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return output


def test_the_command_leaves_a_record_a_report_and_the_best_subnet(finished):
    found = outcome(finished)
    rows = found["results"]
    assert found["search"]["evaluated"] == 20 and found["search"]["held_out_images"] == 288
    assert all(row["split"] == "test" and row["images"] == 359 for row in rows)
    for key in ("macs", "valid_top1"):
        assert [row[key] for row in rows] == sorted({row[key] for row in rows})
    page = (finished / "search/search.html").read_text()
    assert all(row["subnet"] in page for row in rows)
    best = ofa.load(finished / "best.h5")
    assert str(best.space.largest()) == rows[-1]["subnet"]
    kept, = (finished / "search").glob("evaluated-*.jsonl")
    names = [json.loads(line)["subnet"] for line in kept.read_text().splitlines()[1:]]
    assert len(names) == len(set(names)) >= 20


def test_a_killed_command_goes_on_and_ends_the_same(weights, finished, tmp_path):
    process = start(*command(weights, tmp_path))
    deadline = time.time() + 120
    while not list(tmp_path.glob("search/evaluated-*.jsonl")) and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (tmp_path / "records").exists()
    again = start(*command(weights, tmp_path))
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert outcome(tmp_path) == outcome(finished)


def test_two_ranks_find_what_one_does(weights, finished, tmp_path, mpirun):
    mpirun(2, command(weights, tmp_path))
    assert outcome(tmp_path) == outcome(finished)


@pytest.mark.parametrize("more, complaint", [
    (["--max-latency-ms", "3"], "--latency-table"), (["--image-size", "0"], "valid_sizes")])
def test_bad_input_gets_one_clear_error(weights, tmp_path, more, complaint):
    process = start(*command(weights, tmp_path, *more))
    _, err = process.communicate(timeout=120)
    errors = [line for line in err.splitlines() if "INFO" not in line]
    assert process.returncode == 2 and len(errors) == 1 and errors[0].startswith("error: "), err
    assert complaint in errors[0]
