"""Measure sampled subnets on images held out of training and learn to predict their top-1.

    python runners/predictor.py --weights runs/demo/K357_E0.6+0.8+1_D123/weights.h5 --samples 200

What was measured is kept with what searches evaluated: an interrupted command goes on, and a larger
--samples measures only the further ones. The samples go to <output>/samples.jsonl. Prints how
well samples that a model has not seen are predicted, with a picture.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnabla_ofa import cli  # noqa: E402
from nnabla_ofa.evaluations import evaluations, write  # noqa: E402
from nnabla_ofa.predictor import LEAST_SAMPLES, Predictor, draw, measured  # noqa: E402


def main(args) -> None:
    net, run = cli.open_network(args)
    start = time.time()
    path = args.file or run.output / "samples.jsonl"
    with evaluations(run, net) as top1_of:
        samples = measured(draw(net.space, run.recipe.data.valid_sizes, args.samples, args.seed), top1_of)
    counts = [n for n in (25, 50, 100, 200, 400, 800, 1600) if LEAST_SAMPLES <= n < len(samples)]
    learning = []
    for count in counts + [len(samples)]:
        predictor = Predictor(net, samples[:count], accept_poor=True)
        found = predictor.agreement
        run.say(f"{count} samples: Kendall tau {found.kendall_tau:.3f}, root mean square error "
                f"{100 * found.rmse:.2f}% of top-1 (5-fold cross-validation)")
        learning.append({"samples": count, "kendall_tau": found.kendall_tau, "rmse": found.rmse})
    if run.lab.comm.rank == 0:
        write(path, top1_of.identity, {(str(one.arch), one.image_size): one.top1 for one in samples})
        from nnabla_ofa import plots  # here: matplotlib takes a second to import
        picture = path.with_suffix(".png")
        title = f"{len(samples)} held-out subnets, Kendall tau {found.kendall_tau:.2f}"
        plots.save(plots.agreement_figure(predictor.predicted, predictor.measured, "top-1", title), picture)
        run.say(f"samples: {path}; picture: {picture}")
    rows = [{"subnet": str(one.arch), "image_size": one.image_size, "predicted": float(predicted),
             "measured": one.top1} for one, predicted in zip(samples, predictor.predicted)]
    run.record("agreement", "predictor", net.info.get("space", ""), [], rows, time.time() - start,
               "predictor", what="top-1", held_out_images=len(run.lab.valid.indices), learning=learning)
    Predictor(net, samples, args.accept_poor)


if __name__ == "__main__":
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="weights.h5 of a supernet")
    parser.add_argument("--samples", type=int, default=200, help="subnets to measure (default 200)")
    parser.add_argument("--image-size", type=int, nargs="+",
                        help="pixels, in turn (default: the recipe's valid_sizes)")
    parser.add_argument("--file", type=Path, help="samples (default: samples.jsonl in --output)")
    parser.add_argument("--accept-poor", action="store_true",
                        help="exit with status 0 although the predictor's tau is below 0.5")
    cli.run(main, parser.parse_args())
