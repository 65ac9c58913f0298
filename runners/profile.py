"""What subnets cost: parameters, MACs, activations, and latency on this device.

    python runners/profile.py --weights W --subnet "XP1 7x7 3" --subnet "XP0.6 3x3 1" --image-size 20 28
    python runners/profile.py --weights W --random 5 --latency --batch-size 1 --threads 1
    python runners/profile.py --weights W --build-table latency.json --check-table --image-size 28
    python runners/profile.py --weights W --random 1000 --table latency.json --save costs.csv
"""

import csv
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from nnabla_ofa import cli, records, timing  # noqa: E402
from nnabla_ofa.comm import connect  # noqa: E402
from nnabla_ofa.cost import CostModel  # noqa: E402
from nnabla_ofa.errors import OfaError  # noqa: E402
from nnabla_ofa.kernels.build import default_threads  # noqa: E402
from nnabla_ofa.latency import LatencyTable  # noqa: E402
from nnabla_ofa.loading import load  # noqa: E402
from nnabla_ofa.recipe import load_recipe  # noqa: E402
from nnabla_ofa.supernet import Network  # noqa: E402
from nnabla_ofa.timing import Setting  # noqa: E402


def network(args):
    """The network that the arguments mean, and the image sizes."""
    if args.weights:
        net = load(args.weights)
        sizes = args.image_size or [max(net.info.get("image_sizes", [224]))]
    elif args.recipe and args.search_space:
        recipe = load_recipe(args.recipe, args.overrides)
        config = replace(recipe.net, classes=args.classes or recipe.net.classes)
        net = Network.create(config, args.search_space, args.seed or 0)
        sizes = args.image_size or recipe.data.valid_sizes
    else:
        raise OfaError("name a network: --weights FILE, or --recipe NAME with --search-space NAME")
    net.kernels = args.kernels
    return net, sizes


def measured(net, archs, size, setting, rounds):
    """Columns of measured latencies."""
    calls = {str(arch): timing.network_call(net, arch, size, setting.batch_size) for arch in archs}
    samples = timing.measure(calls, rounds, say=f"{size} pixels")
    return {"latency_ms": [round(timing.median(samples[name]), 4) for name in calls],
            "latency_iqr_ms": [round(timing.interquartile_range(samples[name]), 4) for name in calls]}


def rows_of(args, net, sizes, archs, table, setting):
    """One dictionary a subnet and image size."""
    rows = []
    for size in sizes:
        columns = {name: values.tolist() for name, values in
                   CostModel(net, size)(archs)._asdict().items()}
        if args.latency:
            columns.update(measured(net, archs, size, setting, args.rounds))
        if table:
            columns["predicted_ms"] = np.round(table.predict(net, archs, size), 4).tolist()
        rows += [{"subnet": str(arch), "image_size": size, **dict(zip(columns, values))}
                 for arch, *values in zip(archs, *columns.values())]
    return rows


def print_table(rows, limit: int = 40) -> None:
    """The rows, the subnet last; no more than `limit` of them."""
    names = [name for name in rows[0] if name != "subnet"] + ["subnet"]
    cells = [names] + [[str(row[name]) for name in names] for row in rows[:limit]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        print("  ".join([cell.rjust(w) for cell, w in zip(line[:-1], widths)] + line[-1:]))
    if len(rows) > limit:
        print(f"... and {len(rows) - limit} more: --save FILE.csv keeps them all")


def save(path: Path, rows) -> None:
    """Write the rows as CSV or JSON, by the file's ending."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        if path.suffix == ".json":
            json.dump(rows, file, indent=1)
        else:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    print(f"saved: {path}")


def build(args, net, sizes, setting) -> None:
    """Build --build-table, or go on where it was interrupted."""
    path = args.build_table
    fresh = LatencyTable.new(net, setting, cli.command_line(), str(path))
    table = LatencyTable.load(path).require_same(fresh) if path.exists() else fresh
    for size in sizes:
        table.build(net, size, path, args.rounds)
        spread = table.spread(size)
        print(f"{size} px: networks' samples spread by {100 * spread:.0f}% of their median (interquartile)"
              + ("; other work disturbs this machine, measure when it is quiet" if spread > 0.2 else ""))
    print(f"latency table: {path}")


def check(args, net, sizes, table) -> None:
    """Measure the table's error, keep it in its file, draw it beside it."""
    from nnabla_ofa import plots  # here: matplotlib takes a second to import
    for size in sizes:
        start = time.time()
        found = table.check(net, size, args.rounds)
        table.save(table.source)
        if args.records:
            kept = record(net, size, table, found, time.time() - start)
            print(f"record: {records.write(args.records, kept)}")
        line = (f"{size} px, {found['count']} subnets: Kendall tau {found['kendall_tau']:.3f}, mean "
                f"relative error {100 * found['mean_relative_error']:.1f}%")
        picture = Path(table.source).with_suffix(f".{size}.png")
        plots.save(plots.agreement_figure(found["predicted_ms"], found["measured_ms"],
                                          "milliseconds a batch", line), picture)
        print(f"{line}; {picture}")


def record(net, size, table, found, seconds: float) -> dict:
    """What `check` found, as a record of the recipe that the network was trained by."""
    recipe = net.info.get("recipe", {})
    rows = [{"subnet": subnet, "image_size": size, "predicted": predicted, "measured": measured}
            for subnet, predicted, measured in
            zip(found["subnets"], found["predicted_ms"], found["measured_ms"])]
    return {**records.describe_run(cli.command_line(), 0), "kind": "agreement", "stage": "latency",
            "name": f"latency-{size}", "recipe": recipe.get("name", "network"), "space": str(net.space),
            "seconds": round(seconds, 1), "settings": recipe, "what": "milliseconds a batch",
            "setting": asdict(table.setting), "results": rows}


def main(args) -> None:
    args.comm = connect(args.device)
    cli.check_kernels(args)
    if args.save and args.save.suffix not in (".csv", ".json"):
        raise OfaError(f"--save {args.save} ends in neither .csv nor .json")
    net, sizes = network(args)
    archs = [net.arch(name) for name in args.subnet]
    archs += net.space.sample_distinct(args.random, np.random.default_rng(args.seed or 0))
    path, table, setting = args.table or args.build_table, None, None
    if args.latency or args.build_table or args.check_table:
        plain = not net.mode(batch_stat=False).fast
        setting = Setting.here(net, args.threads or (1 if plain else default_threads()), args.batch_size)
    if args.check_table and not path:
        raise OfaError("--check-table needs --table FILE or --build-table FILE")
    if args.build_table:
        build(args, net, sizes, setting)
    if path:
        table = LatencyTable.load(path)
    if args.check_table:
        check(args, net, sizes, table.require(**asdict(setting)))
    if archs or not (args.build_table or args.check_table):
        rows = rows_of(args, net, sizes, archs or [net.space.largest(), net.space.smallest()], table,
                       setting)
        print_table(rows)
        if args.save:
            save(args.save, rows)


if __name__ == "__main__":
    parser = cli.base_parser(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="weights.h5 of a supernet or subnet")
    parser.add_argument("--recipe", help="name under args/ or path of a YAML file")
    parser.add_argument("--search-space", metavar="NAME", help="of --recipe, with random weights")
    parser.add_argument("--classes", type=cli.at_least(1), help="of --recipe (default: what it says)")
    parser.add_argument("--subnet", action="append", default=[], metavar='"XP1 7x7 3, ..."',
                        help="repeatable (default: the largest and the smallest)")
    parser.add_argument("--random", type=cli.at_least(0), default=0, metavar="N", help="N random subnets")
    parser.add_argument("--image-size", type=int, nargs="+", help="pixels")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the table as .csv or .json")
    parser.add_argument("--latency", action="store_true", help="measure the subnets")
    parser.add_argument("--table", type=Path, metavar="FILE", help="predict latencies by this table")
    parser.add_argument("--build-table", type=Path, metavar="FILE",
                        help="measure every operation of the space (JSON; goes on if interrupted)")
    parser.add_argument("--check-table", action="store_true",
                        help="measure the table's error on 50 random subnets, with a picture")
    parser.add_argument("--records", type=Path, metavar="FOLDER", help="where a record of that error goes")
    parser.add_argument("--batch-size", type=cli.at_least(1), default=1)
    parser.add_argument("--threads", type=cli.at_least(1),
                        help="of the fused CPU functions (default: the cores)")
    parser.add_argument("--rounds", type=cli.at_least(1), default=timing.ROUNDS, help="measurements of each")
    cli.run(main, parser.parse_args())
