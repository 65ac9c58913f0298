"""Draw a contact sheet that shows every augmentation on photographs, one augmentation a row.

    python scripts/augmentations.py /data/imagenet200 results/augmentations.png

The first folder holds images, in folders of any depth. Each row shows the same five of them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from nnabla_ofa.data import Augment, Dataset, TrainLoader
from nnabla_ofa.data.folders import EXTENSIONS
from nnabla_ofa.data.sheet import contact_sheet

ROWS = (
    {}, {"crop": "resized"}, {"crop": "padded", "pad": 40, "valid_resize": 1.0}, {"flip": True},
    {"brightness": 0.5}, {"contrast": 0.8}, {"saturation": 1.0}, {"hue": 0.25},
    {"policy": "autoaugment-cifar10"}, {"policy": "autoaugment-imagenet"},
    {"policy": "randaugment", "rand_operations": 2, "rand_magnitude": 5.0},
    {"policy": "randaugment", "rand_operations": 3, "rand_magnitude": 10.0},
    {"cutout": 0.5}, {"erasing": 1.0}, {"mixup": 8.0}, {"cutmix": 1.0})


def main(folder: str, output: str, count: int, size: int, seed: int) -> None:
    """Write the contact sheet.

    Args:
        folder: the folder of photographs.
        output: the PNG file to write.
        count: the number of photographs, from 1 to 8.
        size: the size of each image, in pixels a side.
        seed: the seed of the augmentations.
    """
    paths = sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in EXTENSIONS)
    if len(paths) < count:
        sys.exit(f"error: {folder} holds {len(paths)} images, {count} are needed")
    chosen = np.linspace(0, len(paths) - 1, count).astype(int)
    photographs = Dataset("photographs", tuple("abcdefgh"[:count]), np.arange(count, dtype=np.int32),
                          paths=tuple(paths[i] for i in chosen))
    sheet, captions = [], []
    for number, settings in enumerate(ROWS):
        augment = Augment(**{"crop": "none", "flip": False, **settings})
        loader = TrainLoader(photographs, augment, seed, "kernel", count, workers=0)
        # An epoch's order is random. Sorting by label puts the same photograph into each column.
        order = next(TrainLoader(photographs, Augment(), seed, "kernel", count, workers=0)
                     .epoch(number, lambda step: 8))[1]
        images, _ = next(loader.epoch(number, lambda step: size))
        label = ", ".join(f"{key}: {value}" for key, value in settings.items())
        sheet.extend(images[np.argsort(order)])
        captions += [label or "none"] + [""] * (count - 1)
    image = np.asarray(contact_sheet(np.stack(sheet), captions, columns=count))
    fewer = (image & 0xF8) | (image >> 5)  # 32 levels a channel: half the file, and hardly visible
    Image.fromarray(fewer).save(output, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("output")
    parser.add_argument("--count", type=int, default=5, help="photographs (default 5)")
    parser.add_argument("--size", type=int, default=76, help="pixels (default 76)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    main(args.folder, args.output, args.count, args.size, args.seed)
