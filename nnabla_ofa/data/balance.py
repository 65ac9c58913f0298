"""How often an epoch sees the images of each class, where classes differ in size.

An epoch has as many places as there are training images. Class c, of n_c images, gets a share of them in
proportion to n_c ** (1 - balance). Balance 0 is every image once. At 1 every class gets the same share:
with 1,000 images of one class and 1 of another, that one image is seen 500 or 501 times an epoch, and half
the images of the other class once; which half is drawn anew each epoch. 0.5 is square-root sampling. (Kang et
al., Decoupling representation and classifier for long-tailed recognition, ICLR 2020, section 4.1: their q
is 1 - balance.)
"""

from __future__ import annotations

import numpy as np


def balanced_order(labels: np.ndarray, balance: float, rng: np.random.Generator) -> np.ndarray:
    """The images of an epoch, in random order.

    The images of a class are drawn in turn: none a second time before all others of the class were drawn.
    The shares are rounded at random, so that over epochs they are exact.

    Args:
        labels: int32 (n,), of the images.
        balance: from 0, every image once, to 1, every class equally often.
        rng: what the draws come from.

    Returns:
        int64 (n,), indices into `labels`, some of them several times and some never.
    """
    total = len(labels)
    by_class = [images for images in np.split(np.argsort(labels, kind="stable"),
                                              np.cumsum(np.bincount(labels))[:-1]) if len(images)]
    weights = np.array([len(images) for images in by_class], np.float64) ** (1 - balance)
    ends = np.floor(np.cumsum(weights) * (total / weights.sum()) + rng.random()).astype(np.int64)
    ends[-1] = total  # whatever rounding makes of it
    counts = np.diff(ends, prepend=0)
    drawn = [np.concatenate([rng.permutation(images) for _ in range(-(-count // len(images)))])[:count]
             for images, count in zip(by_class, counts) if count]
    return rng.permutation(np.concatenate(drawn))
