"""The settings of augmentation and normalisation: a recipe's `data.augment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

from ..errors import OfaError
from .policies import POLICIES


@dataclass(frozen=True)
class Augment:
    """What is done to images, in this order: crop, flip, colours, policy, cover, mix, normalise.

    What a setting leaves to chance is drawn anew for each image, and for Mixup and CutMix for each batch.

    Attributes:
        crop: which part of an image training sees.
            "resized": a box of random place, area and aspect ratio (Szegedy et al., Going deeper with
            convolutions, CVPR 2015, section 6).
            "padded": the box of evaluation, moved at random; what lies beyond the border is black
            (He et al., Deep residual learning, CVPR 2016, section 4.2).
            "none": the box of evaluation.
        scale: for "resized", the range of the box's area, as a fraction of the image's.
        ratio: for "resized", the range of the box's width / height.
        pad: for "padded", the largest shift of the box each way, in pixels of the stored image.
        flip: whether every other image, at random, is mirrored left to right.
        alternating_flip: with `flip`, an image that is mirrored in one epoch is not in the next one, so that
            two epochs show each image both ways. Which way comes first is random (Jordan, 94% on CIFAR-10 in
            3.29 seconds, 2024, section 3.6).
        brightness: x in [0, 1] scales all values by a factor from [1 - x, 1 + x]. 0 is off.
        contrast: x scales all differences from the image's mean grey by such a factor. 0 is off.
        saturation: x scales each pixel's difference from its own grey by such a factor. 0 is off.
        hue: x in [0, 0.5] turns the colours around the grey axis by an angle from [-x, x], where 1 is the
            full circle. Each pixel keeps its luma (`colour.turn_hue`). 0 is off.
        policy: "none", "autoaugment-cifar10" or "autoaugment-imagenet" (Cubuk et al., AutoAugment, CVPR
            2019), or "randaugment" (Cubuk et al., RandAugment, 2020). See policies.py.
        rand_operations: RandAugment's N, the number of operations on an image.
        rand_magnitude: RandAugment's M, the strength of each operation, from 0 to 10.
        cutout: a square becomes the mean colour; this is its side as a fraction of the image's. 0.5 is 16
            of CIFAR's 32 pixels (DeVries & Taylor, Cutout, 2017). 0 is off.
        erasing: the probability that a random box becomes noise (Zhong et al., Random erasing, AAAI
            2020). 0 is off.
        erasing_scale: the range of that box's area, as a fraction of the image's.
        erasing_ratio: the range of that box's width / height.
        mixup: alpha of Mixup, which averages two images and their labels (Zhang et al., ICLR 2018). The
            weight is drawn from Beta(alpha, alpha). 0 is off.
        cutmix: alpha of CutMix, which puts a box of one image into another and mixes their labels by
            area (Yun et al., ICCV 2019). The area is drawn from Beta(alpha, alpha). 0 is off.
        mix_probability: the probability that a batch of `train.batch_size` images is mixed at all. If
            Mixup and CutMix are both on, either is taken at even chances.
        mean: the mean of R, G and B, as fractions of 255. By default ImageNet's.
        std: their standard deviation, as fractions of 255. By default ImageNet's. A network gets
            (x / 255 - mean) / std.
        valid_resize: evaluation sees the centre square whose side is the image's short side divided by
            this. That equals resizing the short side to size * valid_resize and cropping the centre. 1
            is the largest square. A recipe may give a fraction, as 256/224.
    """

    crop: str = "resized"
    scale: Tuple[float, float] = (0.08, 1.0)
    ratio: Tuple[float, float] = (3 / 4, 4 / 3)
    pad: int = 4
    flip: bool = True
    alternating_flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    policy: str = "none"
    rand_operations: int = 2
    rand_magnitude: float = 9.0
    cutout: float = 0.0
    erasing: float = 0.0
    erasing_scale: Tuple[float, float] = (0.02, 0.4)
    erasing_ratio: Tuple[float, float] = (0.3, 1 / 0.3)
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    mean: Tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: Tuple[float, float, float] = (0.229, 0.224, 0.225)
    valid_resize: float = 256 / 224

    def __post_init__(self) -> None:
        for name in ("scale", "ratio", "erasing_scale", "erasing_ratio", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # lists out of YAML
        twist = (self.brightness, self.contrast, self.saturation)
        policies = ("none", *POLICIES)
        for name, good, allowed in (
                ("crop", self.crop in ("resized", "padded", "none"), "resized, padded or none"),
                ("scale", _is_range(self.scale) and self.scale[1] <= 1, "0 < low <= high <= 1"),
                ("ratio", _is_range(self.ratio), "0 < low <= high"),
                ("pad", self.pad == int(self.pad) and self.pad >= 0, "an integer from 0"),
                ("alternating_flip", self.flip or not self.alternating_flip,
                 "possible with data.augment.flip=false"),
                ("brightness, contrast, saturation", all(0 <= x <= 1 for x in twist), "0 to 1"),
                ("hue", 0 <= self.hue <= 0.5, "0 to 0.5"),
                ("policy", self.policy in policies, f"one of {', '.join(policies)}"),
                ("rand_operations", self.rand_operations == int(self.rand_operations) >= 1,
                 "an integer from 1"),
                ("rand_magnitude", 0 <= self.rand_magnitude <= 10, "0 to 10"),
                ("cutout", 0 <= self.cutout <= 1, "0 to 1"),
                ("erasing", 0 <= self.erasing <= 1, "0 to 1"),
                ("erasing_scale", _is_range(self.erasing_scale) and self.erasing_scale[1] <= 1,
                 "0 < low <= high <= 1"),
                ("erasing_ratio", _is_range(self.erasing_ratio), "0 < low <= high"),
                ("mixup", self.mixup >= 0, "0 or more"),
                ("cutmix", self.cutmix >= 0, "0 or more"),
                ("mix_probability", 0 <= self.mix_probability <= 1, "0 to 1"),
                ("mean", _is_colour(self.mean), "three numbers from 0 to 1"),
                ("std", _is_colour(self.std) and min(self.std) > 0, "three numbers above 0, to 1"),
                ("valid_resize", self.valid_resize >= 1, "1 or more")):
            if not good:
                value = twist if "," in name else getattr(self, name)
                raise OfaError(f"data.augment.{name}: {value!r} is not {allowed}")

    def mean_colour(self) -> Tuple[int, int, int]:
        """The mean as R, G, B from 0 to 255. A pixel of this colour is about 0 once normalised."""
        red, green, blue = (round(255 * m) for m in self.mean)
        return red, green, blue

    def mixes(self) -> bool:
        """Whether batches are mixed, so that labels come as a share of every class."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0


def _is_range(pair: Sequence[float]) -> bool:
    return len(pair) == 2 and 0 < pair[0] <= pair[1]


def _is_colour(values: Sequence[float]) -> bool:
    return len(values) == 3 and all(0 <= v <= 1 for v in values)
