"""Images for training and evaluation: data sets, augmentation and batches.

    train, test = open_dataset("digits")              # or a folder of images
    train, valid = split(train, fraction=0.01, seed=0)
    augment = Augment()
    loader = TrainLoader(train, augment, seed=0, stage="kernel", batch_size=64)
    for images, labels in loader.epoch(0, sizes=lambda step: 128):
        x = normalise(images, augment.mean, augment.std)   # float32 (64, 3, 128, 128)

The files, in reading order:

    datasets.py                open a data set by name or folder, split it
      folders.py, lists.py, cifar.py    the layouts on disk that are understood
        walk.py                which files of a folder are images; what is said of the others
        class_names.py         when two names of classes are one
      prepare.py, check.py     make a data set ready, look for damaged and duplicate images
    augment.py                 the settings of augmentation
      boxes.py                 which part of an image is seen
      transforms.py            what is done to that part
      colour.py, cover.py, policies.py, mix.py    one kind of augmentation each
    views.py, backends.py      files to pixels
      opencv.py, pillow.py, dali.py     one back end each
      decode.py, unreadable.py reading one file; what to do when that fails
        jpeg.py                whole JPEGs that differ from the standard
    loader.py                  batches, decoded ahead by threads
      balance.py               how often each class comes
"""

from .augment import Augment
from .backends import BACKENDS
from .datasets import Dataset, open_dataset, split
from .loader import Key, TrainLoader, calibration_draw, calibration_indices, fixed_batches
from .mix import one_hot
from .settings import Data
from .transforms import normalise

__all__ = ["BACKENDS", "Augment", "Data", "Dataset", "Key", "TrainLoader", "calibration_draw",
           "calibration_indices", "fixed_batches", "normalise", "one_hot", "open_dataset", "split"]
