"""Measure a folder of ONNX files on this device, for a latency table.

    python measure.py FOLDER                    # one thread, 30 rounds
    python measure.py FOLDER --threads 4 --provider XnnpackExecutionProvider

It needs Python 3.8 or later, numpy and onnxruntime, and nothing else: copy it and the folder to the device,
run it there, and copy FOLDER/table.json back. `runners/profile.py --write-operations FOLDER` made the folder.

The table lists what is to be measured: operations, which networks are put together from; whole networks,
which say what a network costs beside its operations; other networks, which the table's error is measured on.
Each is called once a round, in a new order every round, so that what slows the device down for a while falls
on all alike. The table is written after each round: a run that was stopped goes on when it is repeated.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from pathlib import Path

WARM_UP = 3
ADVICE = "copy the folder here again"
MADE_BY = "name a folder that runners/profile.py --write-operations made"


class Wrong(Exception):
    """What a user can put right, in one line."""


def read(path):
    """The table of a folder."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["kind"] != "latency table" or table["setting"]["runtime"] != "onnxruntime":
            raise Wrong(f"{path} is a table of {table['setting'].get('runtime', 'nnabla')}, not of "
                        f"onnxruntime: {MADE_BY}")
        for content in table["image_sizes"].values():
            for row in every(content):
                row["file"], row["samples_ms"]
        return table
    except OSError as error:
        raise Wrong(f"cannot read {path}: {error.strerror}; {MADE_BY}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Wrong(f"{path} is no table of operations, or it is damaged ({error!r}): {ADVICE}") from error


def every(content):
    """All rows of an image size."""
    return [row for kind in ("operations", "networks", "checked", "reference") for row in content[kind]]


def write(path, table):
    """Put the table in place, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    os.replace(str(temporary), str(path))


def processor():
    """The model of the CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    name = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return name.group(1).strip() if name else platform.processor() or platform.machine()


def here(table, runtime, provider, threads):
    """The table's setting, as it is on this device; an error where earlier samples are of another."""
    setting = {**table["setting"], "device": provider, "processor": processor(), "threads": threads,
               "kernels": f"onnxruntime {runtime.__version__}"}
    if any(row["samples_ms"] for content in table["image_sizes"].values() for row in every(content)):
        for name, value in table["setting"].items():
            if value != setting[name]:
                raise Wrong(f"the table was measured with {name}={value}, not {name}={setting[name]}: repeat "
                            "that, or start anew by --again")
    return setting


class Call:
    """A file as a function of noise: one call computes it once."""

    def __init__(self, path, runtime, numpy, provider, threads):
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(path.read_bytes(), options, providers=[provider])
        except OSError as error:
            raise Wrong(f"cannot read {path}: {error.strerror}; {ADVICE}") from error
        except Exception as error:  # onnxruntime's own, which have no common class
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Wrong(f"{path} is no whole ONNX file, or not for this onnxruntime ({why}): "
                        f"{ADVICE}") from error
        inputs = self.session.get_inputs()
        noise = numpy.random.default_rng(0).standard_normal
        self.inputs = {one.name: noise(one.shape).astype(numpy.float32) for one in inputs}

    def __call__(self):
        self.session.run(None, self.inputs)


def milliseconds(call):
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def measure(rows, reference, rounds, open_file, numpy, after_round, say):
    """Give each row `rounds` samples: one a round, in a new order every round; the reference in between.

    Args:
        rows: Of the table; their samples are added to.
        reference: The row that is timed before the first round and after each; None for none.
        rounds: How many samples each row is to have.
        open_file: Row -> Call.
        numpy: The module.
        after_round: Called after each round.
        say: What the line of progress begins with.
    """
    due = [row for row in rows if len(row["samples_ms"]) < rounds]
    if not due:
        return
    calls = {id(row): open_file(row) for row in due + [reference] * bool(reference)}
    for call in list(calls.values()) * WARM_UP:
        call()
    if reference and not reference["samples_ms"]:
        add(reference, milliseconds(calls[id(reference)]), numpy)
    order = numpy.random.default_rng(0)
    while due:
        for place in order.permutation(len(due)):
            add(due[place], milliseconds(calls[id(due[place])]), numpy)
        if reference:
            add(reference, milliseconds(calls[id(reference)]), numpy)
        done = min(len(row["samples_ms"]) for row in due)
        print(f"\r{say}: round {done} of {rounds}", end="", file=sys.stderr, flush=True)
        after_round()
        due = [row for row in due if len(row["samples_ms"]) < rounds]
    print(file=sys.stderr)


def add(row, sample, numpy):
    """One more sample of a row, and what follows from its samples."""
    row["samples_ms"].append(round(sample, 4) or 1e-4)
    low, middle, high = numpy.percentile(row["samples_ms"], [25, 50, 75])
    row["median_ms"], row["iqr_ms"] = round(float(middle), 4), round(float(high - low), 4)
    row["slowdown"] = round(float(middle) / min(row["samples_ms"]) - 1, 4)


def summed(row, content):
    """The sum of a network's operations."""
    return sum(content["operations"][place]["median_ms"] for place in row["operations"])


def finish(content, rounds, numpy):
    """What a network costs beside its operations, and the error of the sum on the other networks."""
    networks, checked = content["networks"], content["checked"]
    if content["operations"] and networks:
        content["overhead_ms"] = float(numpy.median([row["median_ms"] - summed(row, content)
                                                     for row in networks]))
    if content["operations"] and checked:
        predicted = [round(content["overhead_ms"] + summed(row, content), 4) for row in checked]
        found = [row["median_ms"] for row in checked]
        error = numpy.mean(numpy.abs(numpy.subtract(predicted, found)) / found)
        content["check"] = {
            "subnets": [row["name"] for row in checked], "rounds": rounds, "count": len(found),
            "mean_relative_error": float(error), "predicted_ms": predicted, "measured_ms": found}


def main(options):
    """Measure what is missing in the folder's table."""
    try:
        import numpy
        import onnxruntime
    except ImportError as error:
        raise Wrong(f"this needs numpy and onnxruntime ({error}): pip install numpy onnxruntime") from error
    path = options.folder / "table.json"
    table = read(path)
    if options.provider not in onnxruntime.get_available_providers():
        raise Wrong(f"--provider {options.provider} is not in this onnxruntime, only "
                    f"{', '.join(onnxruntime.get_available_providers())}")
    if options.again:
        for content in table["image_sizes"].values():
            content.update(overhead_ms=None, check=None)
            for row in every(content):
                row["samples_ms"] = []
    table["setting"] = here(table, onnxruntime, options.provider, options.threads)
    table["about"].update(date=time.strftime("%Y-%m-%d", time.gmtime()),
                          device={"python": platform.python_version(), "numpy": numpy.__version__,
                                  "onnxruntime": onnxruntime.__version__, "system": platform.platform()})

    def open_file(row):
        return Call(options.folder / row["file"], onnxruntime, numpy, options.provider, options.threads)

    def keep():
        write(path, table)

    for size, content in table["image_sizes"].items():
        reference = content["reference"][0] if content["reference"] else None
        measure(content["operations"] + content["networks"] + content["checked"], reference, options.rounds,
                open_file, numpy, keep, f"{size} pixels")
        finish(content, options.rounds, numpy)
        keep()
        print(summary(size, content))
    print(f"measured: {path}")


def summary(size, content):
    """A line about an image size."""
    parts = [f"{len(content['operations'])} operations, {len(content['networks'])} networks"]
    if content["check"]:
        parts.append(f"the sum's mean error on {content['check']['count']} other networks is "
                     f"{100 * content['check']['mean_relative_error']:.1f}%")
    if content["reference"]:
        parts.append("a reference operation has its median "
                     f"{100 * content['reference'][0]['slowdown']:.0f}% above its fastest (quiet: up to 10%)")
    return f"{size} px: {'; '.join(parts)}"


def positive(text):
    """The type of an argument that is an integer of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not an integer of 1 or more")
    return int(text)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds table.json and the ONNX files")
    parser.add_argument("--threads", type=positive, default=1, help="of onnxruntime (default 1)")
    parser.add_argument("--rounds", type=positive, default=30, help="samples of each file (default 30)")
    parser.add_argument("--provider", default="CPUExecutionProvider",
                        help="of onnxruntime (default: its CPU)")
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(arguments())
    except Wrong as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from here", file=sys.stderr)
        sys.exit(130)
