"""What a network's file says besides its weights, as values that the rest of the project may trust."""

from __future__ import annotations

from typing import Any, Callable, Dict, Type, Union

from ..data.settings import are_sides

Kind = Union[Type[object], tuple]
NUMBER = (int, float)
LARGEST = 1e6  # of a colour's mean; one part of it is the least of its standard deviation


def checked(info: Any, classes: int) -> Dict[str, Any]:
    """`info` as it is, for a network of so many classes.

    Args:
        info: Of the file; entries that are absent, or whose names are not below, are not looked at.
        classes: As the network's configuration says.

    Raises:
        TypeError: It is no mapping, or names an entry that has not the form below.
    """
    if not isinstance(info, dict):
        raise TypeError(f"info: {info!r} is not a mapping")
    for name, form in FORMS.items():
        if name in info and not form(info[name]):
            raise TypeError(f"info, {name}: {str(info[name])[:80]}")
    if "classes" in info and len(info["classes"]) != classes:
        raise TypeError(f"info, classes: {len(info['classes'])} names for {classes} classes")
    return info


def _sequence(value: Any, kind: Kind) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _colours(value: Any) -> bool:
    return _sequence(value, NUMBER) and len(value) == 3 and all(abs(item) <= LARGEST for item in value)


def _sizes(value: Any) -> bool:
    return _sequence(value, int) and are_sides(value)


def _recipe(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(group, {}), dict)
                                           for group in ("net", "data", "train"))


def _calibrated(value: Any) -> bool:
    return (isinstance(value, dict) and isinstance(value.get("subnet"), str)
            and (value.get("image_size") is None or _sizes([value["image_size"]])))


FORMS: Dict[str, Callable[[Any], bool]] = {
    "classes": lambda value: _sequence(value, str),
    "mean": _colours,
    "std": lambda value: _colours(value) and all(abs(item) * LARGEST >= 1 for item in value),
    "image_sizes": _sizes,
    "recipe": _recipe,
    "calibrated": _calibrated,
    "identity": lambda value: isinstance(value, dict),
    "seed": lambda value: isinstance(value, int) and 0 <= value < 2**64,
    "stage": lambda value: isinstance(value, str),
    "space": lambda value: isinstance(value, str),
}
