"""What is done to images, as settings: a recipe's `data.augment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

from ..errors import OfaError
from .policies import POLICIES


@dataclass(frozen=True)
class Augment:
    """How images are cut, coloured, covered, mixed and normalised, in this order.

    crop          "resized": a random box of `scale` x the image's area and aspect ratio in `ratio`
                  (Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6);
                  "padded": the evaluation box moved by up to `pad` pixels each way, black beyond
                  the border (He et al., Deep residual learning, CVPR 2016, section 4.2);
                  "none": the evaluation box
    flip          left to right, every other image
    brightness, contrast, saturation
                  colour twist: x draws a factor from [1 - x, 1 + x], x in [0, 1], 0 = off; contrast
                  is around the image's mean grey, saturation around each pixel's grey, so that a
                  factor of 1 changes nothing
    hue           x turns the colours around the grey axis by an angle from [-x, x], in turns, x in
                  [0, 0.5], 0 = off; each pixel keeps its luma (colour.turn_hue)
    policy        "none", "autoaugment-cifar10", "autoaugment-imagenet" (Cubuk et al., CVPR 2019) or
                  "randaugment" (Cubuk et al., 2020): `rand_operations` (N) of 14 operations, each
                  of strength `rand_magnitude` (M), from 0 to 10 (policies.py)
    cutout        a square of this fraction of the image's side becomes the mean colour, 0 = off;
                  0.5 is 16 of CIFAR's 32 pixels (DeVries & Taylor, 2017)
    erasing       probability that a box of `erasing_scale` x the image's area and aspect ratio in
                  `erasing_ratio` becomes noise, 0 = off (Zhong et al., Random erasing, AAAI 2020)
    mixup, cutmix alpha of the Beta(alpha, alpha) that draws how two images and their labels are
                  mixed: pixel by pixel (Zhang et al., ICLR 2018), or a box of one within the other
                  (Yun et al., ICCV 2019); 0 = off. A pass of `train.batch_size` images is mixed
                  with probability `mix_probability`; with both on, by either at even chances
    mean, std     of R, G, B as fractions of full scale (ImageNet's by default); images come out as
                  (x / 255 - mean) / std
    valid_resize  evaluation: the centre square of short side / valid_resize, which is resizing the
                  short side to size * valid_resize and cutting out the centre; 1 = as much as fits;
                  a recipe may give a fraction (256/224; 320/299 as MindSpore's Xception is judged)
    """

    crop: str = "resized"
    scale: Tuple[float, float] = (0.08, 1.0)
    ratio: Tuple[float, float] = (3 / 4, 4 / 3)
    pad: int = 4
    flip: bool = True
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
        """The mean as R, G, B from 0 to 255: what it covers comes out of normalisation as 0."""
        return tuple(round(255 * m) for m in self.mean)

    def mixes(self) -> bool:
        """Whether labels come as soft targets."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_probability > 0


def _is_range(pair: Sequence[float]) -> bool:
    return len(pair) == 2 and 0 < pair[0] <= pair[1]


def _is_colour(values: Sequence[float]) -> bool:
    return len(values) == 3 and all(0 <= v <= 1 for v in values)
