"""Measure sampled subnets on images held out of training and learn to predict their top-1.

    python runners/predictor.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --samples 200

What was measured is kept with what searches evaluated: an interrupted command goes on, and a larger
--samples measures only the further ones. The samples go to <output>/samples.jsonl. Prints how
well samples that a model has not seen are predicted, with a picture.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import OfaError
from ..evaluation import cache
from ..experiment.command import Command
from ..experiment.options import WeightsOptions, add_run_options, add_weights, at_least, open_network
from ..model.network import require_elastic
from ..search.predictor import LEAST_SAMPLES, Predictor, draw, measured
from ..system.comm import Communicator


@dataclass(frozen=True)
class Options(WeightsOptions):
    """See `add_arguments`."""

    samples: int = 200
    file: Optional[Path] = None
    accept_poor: bool = False


def main(options: Options, comm: Communicator) -> None:
    """Measure the samples, fit, say how well, and fail if it is too poor to serve."""
    found_net, run = open_network(options, comm)
    net = require_elastic(found_net, "learn to predict")
    start = time.time()
    path = options.file or run.output / "samples.jsonl"
    pairs = draw(net.space, run.recipe.data.valid_sizes, options.samples, run.lab.seed)
    if len(pairs) < LEAST_SAMPLES:
        raise OfaError(f"{net.space} has {len(pairs)} different subnets, too few to learn from: at least "
                       f"{LEAST_SAMPLES}; evaluate them all")
    with run.evaluations(net) as top1_of:
        samples = measured(pairs, top1_of)
    counts = [n for n in (25, 50, 100, 200, 400, 800, 1600) if LEAST_SAMPLES <= n < len(samples)]
    learning = []
    for count in counts + [len(samples)]:
        predictor = Predictor(net, samples[:count], accept_poor=True)
        found = predictor.agreement
        run.say(f"{count} samples: Kendall tau {found.kendall_tau:.3f}, root mean square error "
                f"{100 * found.rmse:.2f}% of top-1 (5-fold cross-validation)")
        learning.append({"samples": count, "kendall_tau": found.kendall_tau, "rmse": found.rmse})
    if comm.rank == 0:
        cache.write(path, top1_of.identity, {(str(one.arch), one.image_size): one.top1 for one in samples})
        from ..reports import plots  # here: matplotlib takes a second to import
        picture = path.with_suffix(".png")
        title = f"{len(samples)} held-out subnets, Kendall tau {found.kendall_tau:.2f}"
        plots.save(plots.agreement_figure(predictor.predicted, predictor.measured, "top-1", title), picture)
        run.say(f"samples: {path}; picture: {picture}")
    rows = [{"subnet": str(one.arch), "image_size": one.image_size, "predicted": float(predicted),
             "measured": one.top1} for one, predicted in zip(samples, predictor.predicted)]
    run.record("agreement", "predictor", net.info.get("space", ""), [], rows, time.time() - start,
               "predictor", what="top-1", held_out_images=len(run.lab.valid.indices), learning=learning)
    Predictor(net, samples, options.accept_poor)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `Options`."""
    add_run_options(parser)
    add_weights(parser, "of a supernet")
    parser.add_argument("--samples", type=at_least(LEAST_SAMPLES), default=200,
                        help=f"subnets to measure, {LEAST_SAMPLES} or more (default 200)")
    parser.add_argument("--image-size", type=int, nargs="+",
                        help="pixels, in turn (default: the recipe's valid_sizes)")
    parser.add_argument("--file", type=Path, help="samples (default: samples.jsonl in --output)")
    parser.add_argument("--accept-poor", action="store_true",
                        help="exit with status 0 although the predictor's tau is below 0.5")


COMMAND = Command("predictor", __doc__, Options, add_arguments, main)
