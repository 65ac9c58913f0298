"""Images in: data sets, their transforms and the loader.

    train, test = open_dataset("digits")              # or a folder of images
    train, valid = split(train, fraction=0.01, seed=0)
    loader = TrainLoader(train, Augment(), seed=0, stage="kernel", batch_size=64)
    for images, labels in loader.epoch(0, sizes=lambda step: 128):
        x = normalise(images, loader.augment)         # float32 (64, 3, 128, 128)
"""

from .augment import Augment
from .backends import BACKENDS
from .datasets import Dataset, open_dataset, split
from .loader import Key, TrainLoader, calibration_indices, fixed_batches
from .mix import one_hot
from .transforms import normalise

__all__ = ["BACKENDS", "Augment", "Dataset", "Key", "TrainLoader", "calibration_indices", "fixed_batches",
           "normalise", "one_hot", "open_dataset", "split"]
