"""Images a second on one core: the loader's back ends, a plain Pillow loader, a plain DALI pipeline.

    python benchmarks/loader.py PHOTOGRAPHS        # a folder of <class>/*.JPEG; results/loader.md is its page

Each contender is a process of its own, held to one core, and makes float32 batches (N, 3, S, S),
normalised, of all photographs; they take turns, one at a time, and medians are compared. The plain
ones are what their documentation leads to, with the crops of Szegedy et al. as torchvision draws them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path
from statistics import quantiles
from typing import Callable, Dict, List

ROOT = Path(__file__).resolve().parents[1]

import numpy as np

from nnabla_ofa.data import BACKENDS, Augment, Dataset, TrainLoader, fixed_batches, normalise
from nnabla_ofa.data.backends import open_backend
from nnabla_ofa.data.views import train_images, valid_images
from nnabla_ofa.errors import OfaError
from nnabla_ofa.system import records
from nnabla_ofa.system.machine import describe_run

AUGMENT = Augment()
BATCH = 50
JOBS = (("training", 224), ("training", 128), ("evaluation", 224))
MORE_WORKERS = 4
Pass = Callable[[], None]  # once over all photographs


def ours(paths: List[str], task: str, size: int, backend: str, workers: int) -> Pass:
    """The loader, as training and evaluation use it."""
    dataset = Dataset("photographs", ("any",), np.zeros(len(paths), np.int32), paths=tuple(paths))

    def training() -> None:
        loader = TrainLoader(dataset, AUGMENT, 0, "benchmark", BATCH, workers=workers, backend=backend)
        for images, _ in loader.epoch(0, lambda step: size):
            normalise(images, AUGMENT.mean, AUGMENT.std)

    def evaluation() -> None:
        for _, images, _ in fixed_batches(dataset, range(len(paths)), size, BATCH, AUGMENT,
                                          workers=workers, backend=backend):
            normalise(images, AUGMENT.mean, AUGMENT.std)

    return training if task == "training" else evaluation


def plain_pillow(paths: List[str], task: str, size: int, workers: int) -> Pass:
    """A loop over files with Pillow and NumPy, as in many training scripts."""
    from PIL import Image

    rng = np.random.default_rng(0)
    mean, std = np.float32(AUGMENT.mean), np.float32(AUGMENT.std)

    def random_box(width: int, height: int):
        for _ in range(10):
            area = width * height * rng.uniform(*AUGMENT.scale)
            ratio = np.exp(rng.uniform(*np.log(AUGMENT.ratio)))
            w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                x, y = rng.integers(width - w + 1), rng.integers(height - h + 1)
                return x, y, x + w, y + h
        side = min(width, height)
        return 0, 0, side, side

    def image(path: str) -> np.ndarray:
        picture = Image.open(path).convert("RGB")
        if task == "training":
            picture = picture.crop(random_box(*picture.size)).resize((size, size), Image.BILINEAR)
            if rng.random() < 0.5:
                picture = picture.transpose(Image.FLIP_LEFT_RIGHT)
        else:
            scale = round(size * 256 / 224) / min(picture.size)
            width, height = (max(size, round(scale * side)) for side in picture.size)
            x, y = (width - size) // 2, (height - size) // 2
            picture = picture.resize((width, height), Image.BILINEAR).crop((x, y, x + size, y + size))
        return ((np.asarray(picture, np.float32) / 255 - mean) / std).transpose(2, 0, 1)

    def once() -> None:
        order = rng.permutation(paths) if task == "training" else paths
        for start in range(0, len(order), BATCH):
            np.stack([image(path) for path in order[start:start + BATCH]])

    return once


def plain_dali(paths: List[str], task: str, size: int, workers: int) -> Pass:
    """A pipeline of DALI's own operators, on the CPU."""
    from nvidia.dali import fn, pipeline_def, types

    mean, std = ([255 * value for value in values] for values in (AUGMENT.mean, AUGMENT.std))

    # synchronous: on one core to run ahead gains nothing, and would take from the others' turns
    @pipeline_def(batch_size=BATCH, num_threads=workers, device_id=None, seed=0,
                  prefetch_queue_depth=1, exec_async=False, exec_pipelined=False)
    def graph():
        jpegs, labels = fn.readers.file(files=paths, labels=[0] * len(paths),
                                        random_shuffle=task == "training", prefetch_queue_depth=1)
        if task == "training":
            images = fn.decoders.image_random_crop(
                jpegs, random_area=list(AUGMENT.scale), random_aspect_ratio=list(AUGMENT.ratio))
            images, mirror = fn.resize(images, size=[size, size]), fn.random.coin_flip()
        else:
            images = fn.resize(fn.decoders.image(jpegs), resize_shorter=round(size * 256 / 224))
            mirror = 0
        return fn.crop_mirror_normalize(images, crop=(size, size), mean=mean, std=std, mirror=mirror,
                                        dtype=types.FLOAT, output_layout="CHW"), labels

    pipeline = graph()
    pipeline.build()

    def once() -> None:
        for _ in range(0, len(paths), BATCH):
            pipeline.run()

    return once


def prepare(name: str, paths: List[str], task: str, size: int, workers: int) -> Pass:
    """What the contender `name` does in one pass."""
    if name == "plain Pillow":
        return plain_pillow(paths, task, size, workers)
    if name == "plain DALI":
        return plain_dali(paths, task, size, workers)
    return ours(paths, task, size, name, workers)


def serve(pipe, name: str, paths: List[str], task: str, size: int, workers: int, core: int) -> None:
    """A contender's process: a pass for every request, answered by its seconds and peak memory."""
    os.sched_setaffinity(0, {core})
    once = prepare(name, paths, task, size, workers)
    once()  # warm: code, files in the page cache, pipelines built
    while pipe.recv():
        start = time.perf_counter()
        once()
        pipe.send((time.perf_counter() - start, peak()))


def peak() -> int:
    """Peak resident bytes of this process so far (ru_maxrss would count the parent's, too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Contender:
    """The caller's end of a contender's process."""

    def __init__(self, name: str, paths: List[str], task: str, size: int, workers: int = 1):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        core = max(os.sched_getaffinity(0))
        self._process = context.Process(target=serve, daemon=True,
                                        args=(theirs, name, paths, task, size, workers, core))
        self._process.start()
        theirs.close()

    def once(self):
        """(seconds, peak resident bytes of the process so far) of one more pass."""
        self._pipe.send(True)
        return self._pipe.recv()

    def close(self) -> None:
        """End the process."""
        self._pipe.send(False)
        self._process.join()


def contenders() -> List[str]:
    """Those that can run here."""
    names = ["plain Pillow", "plain DALI"]
    for name in reversed(BACKENDS):
        try:
            open_backend(name)
            names.insert(0, name)
        except OfaError as error:
            print(f"left out: {error}")
    return names if "dali_cpu" in names else [name for name in names if name != "plain DALI"]


def measure(paths: List[str], task: str, size: int, rounds: int) -> List[dict]:
    """A row a contender: images a second (median and quartiles), difference from opencv."""
    running = {name: Contender(name, paths, task, size) for name in contenders()}
    found: Dict[str, list] = {name: [] for name in running}
    for _ in range(rounds):
        for name, contender in running.items():
            found[name].append(contender.once())
    for contender in running.values():
        contender.close()
    rows = []
    for name, passes in found.items():
        low, middle, high = quantiles([len(paths) / seconds for seconds, _ in passes], n=4,
                                      method="inclusive")
        row = {"contender": name, "task": task, "image_size": size, "rounds": rounds,
               "images_per_second": round(middle, 1), "q1": round(low, 1), "q3": round(high, 1)}
        if name in BACKENDS:
            row["difference"] = round(difference(name, paths, task, size), 2)
        rows.append(row)
        print(f"{task} {size}: {name:12s} {middle:7.0f} images/s", flush=True)
    return rows


def memory(paths: List[str], task: str, size: int) -> List[dict]:
    """A row a contender: peak bytes with one worker and, of ours, with MORE_WORKERS."""
    rows = []
    for name in contenders():
        row = {"contender": name, "task": task, "image_size": size}
        for key, workers in (("peak", 1), ("peak_more", MORE_WORKERS)):
            if workers == 1 or name in BACKENDS:
                one = Contender(name, paths, task, size, workers)
                row[key] = max(one.once()[1] for _ in range(2))
                one.close()
        rows.append(row)
    return rows


def difference(name: str, paths: List[str], task: str, size: int) -> float:
    """Mean |difference| of a back end's images from those of opencv, in levels of 255."""
    dataset = Dataset("photographs", ("any",), np.zeros(len(paths), np.int32), paths=tuple(paths))
    rows = np.random.default_rng(0).random((len(paths), 8))
    pairs = zip(*(train_images(dataset, range(len(paths)), size, AUGMENT, rows, open_backend(b))
                  if task == "training" else
                  valid_images(dataset, range(len(paths)), size, AUGMENT, open_backend(b))
                  for b in ("opencv", name)))
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="a folder of <class>/*.JPEG")
    parser.add_argument("--rounds", type=int, default=9, help="passes of each contender (default 9)")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    parser.add_argument("--output", type=Path, default=ROOT / "results/records",
                        help="folder of records (default results/records)")
    args = parser.parse_args()
    paths = sorted(str(path) for path in args.photographs.rglob("*.JPEG"))
    paths = paths[:len(paths) // BATCH * BATCH]
    if not paths:
        sys.exit(f"{args.photographs} holds fewer than {BATCH} files *.JPEG")
    start, name = time.time(), "memory" if args.memory else "loader"
    rows = memory(paths, *JOBS[0]) if args.memory else [
        row for task, size in JOBS for row in measure(paths, task, size, args.rounds)]
    about = describe_run("python benchmarks/loader.py PHOTOGRAPHS"
                                 + " --memory" * args.memory, 0)
    about["versions"].update(versions())
    settings = {"photographs": len(paths), "batch": BATCH, "more_workers": MORE_WORKERS,
                "mean_bytes": round(sum(map(os.path.getsize, paths)) / len(paths))}
    print("record:", records.write(args.output, {
        **about, "kind": "benchmark", "recipe": "benchmark_loader", "stage": name, "name": name,
        "space": "", "seconds": round(time.time() - start, 1), "settings": settings, "results": rows}))


def versions() -> Dict[str, str]:
    """Those of the decoding packages that are installed."""
    from importlib import metadata

    found = {}
    for name in ("opencv-python-headless", "simplejpeg", "Pillow", "nvidia-dali-cuda120"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


if __name__ == "__main__":
    main()
