"""What networks are where they are deployed: top-1, bytes and milliseconds as float32 and as int8.

    python benchmarks/deploy.py --data cifar10              # all of it: about an hour on 2 quiet cores
    python benchmarks/deploy.py --only networks             # or tables, fronts; the others stay recorded
    python runners/tables.py                                # results/deploy.md, from the records

networks  trained ones (on the digits: minutes each) with their top-1, and larger ones with new weights, whose
          times are those of trained ones
tables    how well the sum of a latency table predicts 50 other subnets, in float32 and int8
fronts    of one supernet a search for float32 and one for int8, each by its own latency table of onnxruntime

Times are of one image, in ours (the fused CPU functions) and in onnxruntime, on one and two threads. They
need a quiet machine. What was trained, built or searched in --runs is taken up when the command is repeated.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]

import store

import nnabla_ofa as ofa
from nnabla_ofa.cost import timing
from nnabla_ofa.cost.latency import LatencyTable
from nnabla_ofa.cost.noise import slowdown
from nnabla_ofa.experiment import operation_files, quantised
from nnabla_ofa.experiment.lab import Lab
from nnabla_ofa.experiment.parse import from_settings
from nnabla_ofa.model import AnyNetwork
from nnabla_ofa.system import records
from nnabla_ofa.system.comm import Single, connect

RECIPE, SUPERNET = "benchmark_deploy", "K357_E0.6+0.8+1_D123"
PIECES = ("networks", "tables", "fronts")
THREADS = (1, 2)
# Trained here on the scanned digits: the recipe, its first stage, what is other than in the recipe.
TRAINED = {"xception_digits": ("xception_digits", "K7_E1_D3", []),
           "mobilenetv3_digits": ("mobilenetv3_digits", "K7_E6_D4", []),
           "resnet50_digits": ("resnet50_digits", "D2_E0.35_W1", []),
           "resnet20_digits": ("resnet20_cifar10", "C16_C32_C64", [
               "data.source=digits", "data.image_sizes=[16]", "data.valid_sizes=[16]",
               "data.augment.flip=false", "data.augment.pad=1", "train.batch_size=32",
               "train.global_batch=32"])}
# With new weights: the name, what `create` takes, the image size.
NEW = {"Xception41": (("xception", SUPERNET), 224), "MobileNetV3": (("mobilenetv3", "K357_E346_D234"), 224),
       "ResNet50-D": (("ofa_resnet50", "D012_E0.2+0.25+0.35_W0.65+0.8+1"), 224),
       **{name: ((name, None), 32) for name in ("resnet18_cifar", "mobilenetv2_cifar", "shufflenetv2_cifar",
                                                "efficientnetb0_cifar")}}
Row = Dict[str, Any]


# Networks -----------------------------------------------------------------------------------------

def networks(options: argparse.Namespace) -> None:
    """A row a network, recorded as soon as it is measured."""
    for name, (recipe, stage, settings) in TRAINED.items():
        if not options.names or name in options.names:
            start, net = time.time(), trained(options.runs / name, recipe, stage, settings)
            size = max(net.info["recipe"]["data"]["valid_sizes"])
            record(options, "networks", [{"network": name, **of_network(net, size, options.rounds),
                                          **accuracy(net, size)}], start)
    for name, (made, size) in NEW.items():
        if not options.names or name in options.names:
            start, net = time.time(), ofa.create(*made)
            record(options, "networks", [{"network": name, **of_network(net, size, options.rounds)}], start)


def trained(folder: Path, recipe: str, stage: str, settings: List[str]) -> AnyNetwork:
    """The network of a recipe's stage; it is trained where that was not done."""
    run("train", "--recipe", recipe, "--search-space", stage, "--output", folder,
        *(part for text in settings for part in ("--set", text)))
    return ofa.load(folder / stage / "weights.h5")


def accuracy(net: AnyNetwork, size: int) -> Row:
    """Top-1 of both files on the test images, and what they were quantised by."""
    lab, how = Lab.open(from_settings(net.info["recipe"], (), "weights"), net.info["seed"], Single()), HOW
    images = quantised.calibration_images(lab, size, how)
    with tempfile.TemporaryDirectory() as folder:
        made = quantised.write(lab.calibrated(net, None, size), Path(folder), "net", lab, size, how, images)
        float32, int8 = quantised.judged(made, lab, size)
        return {"top1": float32.top1, "int8_top1": int8.top1, "images": int8.images,
                "float32_bytes": made.float32.stat().st_size, "int8_bytes": made.int8.stat().st_size}


def of_network(net: AnyNetwork, size: int, rounds: int) -> Row:
    """Costs, bytes, and the milliseconds of each runtime, precision and number of threads."""
    arch = net.space.largest()
    cost = net.cost(arch, size)
    row: Row = {"image_size": size, "parameters": cost.parameters, "macs": cost.macs}
    for threads in THREADS:
        timing.Setting.here(net, threads, 1).apply()
        call = {"ours": timing.network_call(net, arch, size, 1)}
        row[f"ours_ms_{threads}"] = round(timing.median(timing.measure(call, rounds)["ours"]), 4)
    for precision in operation_files.PRECISIONS:
        with tempfile.TemporaryDirectory() as folder:
            pieces = operation_files.Pieces((size,), precision, archs=(arch,))
            operation_files.write(net, folder, pieces, {})
            for threads in THREADS:
                operation_files.measure(folder, threads, rounds=rounds, again=True)
                own, = operation_files.milliseconds(folder, size)
                row[f"{precision}_ms_{threads}"] = own["median_ms"]
            row[f"{precision}_bytes"] = own["bytes"]
    return row


# The supernet -------------------------------------------------------------------------------------

def supernet(options: argparse.Namespace) -> Path:
    """The weights of --weights, or of benchmarks/deploy.yaml; these are trained where that was not done."""
    if options.weights:
        return options.weights
    run("train", "--recipe", ROOT / "benchmarks/deploy.yaml", "--search-space", SUPERNET, "--data",
        options.data, "--output", options.runs / "supernet")
    return options.runs / "supernet" / SUPERNET / "weights.h5"


def table_of(options: argparse.Namespace, precision: str) -> Path:
    """The supernet's latency table, built where that was not done."""
    path = options.runs / f"{precision}.json"
    if not path.exists():
        run("profile", "--weights", supernet(options), "--build-table", path, "--runtime", "onnxruntime",
            "--check-table", "--rounds", options.rounds, *["--int8"] * (precision == "int8"))
    return path


def tables(options: argparse.Namespace) -> None:
    """A row a table: its error on other subnets."""
    for precision in operation_files.PRECISIONS:
        start = time.time()
        table = LatencyTable.load(table_of(options, precision))
        (size, times), = table.sizes.items()
        found = table.checked(size)
        row = {"space": table.network["space"], "precision": precision, "image_size": size,
               "unit": table.unit,
               "operations": len(times.operations), "overhead_ms": times.overhead_ms,
               "threads": table.setting.threads, "slowdown": slowdown(times.reference),
               **{key: found[key] for key in ("count", "kendall_tau", "mean_relative_error")},
               "fastest_ms": min(found["measured_ms"]), "slowest_ms": max(found["measured_ms"])}
        record(options, "tables", [row], start)


def fronts(options: argparse.Namespace) -> None:
    """A row a subnet of a front: that of float32, that of int8, and the first one's subnets quantised."""
    start, found = time.time(), {}
    weights = supernet(options).resolve()
    for precision in operation_files.PRECISIONS:
        run("search", "--weights", weights, "--output", options.runs / "supernet", "--latency-table",
            table_of(options, precision), "--objective", "latency_ms", "--count", options.count, "--name",
            precision, *["--int8"] * (precision == "int8"))
        found[precision], = [record for record in records.read(options.runs / "supernet" / "records")
                             if record.get("name") == precision and record["kind"] == "search"]
    rows = [{**row, "front": precision} for precision, own in found.items() for row in own["results"]]
    again = as_int8(options, weights, found["float32"])
    for row, files in zip(rows, again):  # the float32 search wrote the chosen subnet's weights alone
        row["float32_bytes"] = files["float32_bytes"]
    rows += again
    asked = {"count": options.count, "held_out_images": found["int8"]["search"]["held_out_images"],
             "int8": found["int8"]["search"]["int8"], "recipe": found["int8"]["recipe"],
             "space": found["int8"]["space"], "image_size": found["int8"]["search"]["image_size"]}
    record(options, "fronts", rows, start, asked)


def as_int8(options: argparse.Namespace, weights: Path, found: Row) -> List[Row]:
    """The subnets of the float32 front as int8 files: what they cost and are worth there."""
    net, size = ofa.load(weights), found["search"]["image_size"]
    lab = Lab.open(from_settings(net.info["recipe"], (), "weights"), net.info["seed"], Single())
    table = LatencyTable.load(table_of(options, "int8"))
    images, rows = quantised.calibration_images(lab, size, HOW), []
    for row in found["results"]:
        with tempfile.TemporaryDirectory() as folder:
            alone = lab.calibrated(net, net.arch(row["subnet"]), size)
            made = quantised.write(alone, Path(folder), "net", lab, size, HOW, images)
            (valid,), (test,) = (quantised.judged([made.int8], lab, size, on) for on in ("valid", "test"))
            rows.append({**row, "front": "float32, quantised", "int8_valid_top1": valid.top1,
                         "int8_top1": test.top1, "int8_bytes": made.int8.stat().st_size,
                         "float32_bytes": made.float32.stat().st_size,
                         "latency_ms": float(table.predict(net, [row["subnet"]], size)[0])})
    return rows


# Both ---------------------------------------------------------------------------------------------

HOW = quantised.Quantisation()


def run(name: str, *arguments: Any) -> None:
    """One of runners/, which says on stdout and stderr what it does; leaves with its status if it fails."""
    command = [sys.executable, str(ROOT / f"runners/{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=str(ROOT))
    if done.returncode:
        sys.exit(done.returncode)


def record(options: argparse.Namespace, name: str, rows: List[Row], start: float,
           asked: Optional[Row] = None) -> None:
    """Write rows over older ones of the same key."""
    keys = {"networks": ("network",), "tables": ("precision",), "fronts": ("front", "subnet")}
    if name == "fronts":  # a new search finds others: none of the old ones stays
        for path in Path(options.records).glob(f"{RECIPE}/benchmark-fronts.json"):
            path.unlink()
    import onnxruntime
    path = store.save(options.records, RECIPE, name, rows, keys[name], time.time() - start,
                      {"rounds": options.rounds, **(asked or {})}, {"onnxruntime": onnxruntime.__version__})
    print(f"{path}: {len(rows)} rows", flush=True)


def main() -> None:
    """Measure and record, piece by piece."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10", help="of the supernet: cifar10, or a folder")
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="another supernet, trained before; then --runs should be another folder, too")
    parser.add_argument("--only", choices=PIECES, nargs="+", default=list(PIECES))
    parser.add_argument("--names", nargs="+", default=[], metavar="NETWORK", help="of --only networks")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/deploy", help="what is trained and built")
    parser.add_argument("--rounds", type=int, default=timing.ROUNDS)
    parser.add_argument("--count", type=int, default=60, help="subnets of each search (default 60)")
    parser.add_argument("--records", type=Path, default=store.FOLDER)
    options = parser.parse_args()
    connect("cpu")
    for name in options.only:
        {"networks": networks, "tables": tables, "fronts": fronts}[name](options)


if __name__ == "__main__":
    sys.exit(main())
