"""Recipes from YAML files under args/, checked key by key.

Every key has a default or is required; an unknown key, a wrong type or a value out of range is an
`OfaError` that names it. Any value can be overridden: "train.momentum=0.8", "stages.kernel.lr=0.1".
"""

from __future__ import annotations

import copy
import difflib
import math
import reprlib
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import yaml

from ..data import cifar
from ..errors import OfaError
from ..nets import Config, config_class
from ..nets.registry import DEFAULT
from ..nets.zoo import ZOO
from ..system.files import Location, read_regular
from .recipe import Recipe

# Beside the package in a checkout, inside it where it was installed.
_INSTALLED = Path(__file__).resolve().parents[1] / "args"
ARGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[2] / "args"
LONGEST = 2**18  # characters of a recipe
MOST_KEYS = 100  # of a mapping in it


def recipe_names() -> List[str]:
    """The recipes under args/."""
    return sorted(path.stem for path in ARGS.glob("*.yaml"))


def default_recipe(data: Optional[str]) -> str:
    """The recipe where none is named: that of the data's name in args/defaults.yml; no data: the digits'.

    CIFAR goes by the name of its data set, whatever its folder is called.
    """
    names = yaml.safe_load((ARGS / "defaults.yml").read_text(encoding="utf-8"))
    name = "digits" if data is None else Path(data).name
    if data is not None and name not in names:
        form = cifar.form_in(data)
        name = form[0].name if form else name
    return names.get(name, names["other"])


def load_recipe(name: Location, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a name under args/ or of a YAML file, with "key.key=value" overrides."""
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else ARGS / f"{name}.yaml"
    if path != Path(name) and Path(name).exists() and not path.exists():
        raise OfaError(f"recipe {name} is no .yaml file; the recipes here are {', '.join(recipe_names())}")
    try:
        text = read_regular(path, 4 * LONGEST).decode("utf-8-sig")  # with a byte order mark or without
    except OSError as error:
        raise OfaError(f"cannot read recipe {path}: {error.strerror}; the recipes here are "
                       f"{', '.join(recipe_names())}, or give the path of a .yaml file") from error
    except ValueError as error:  # not UTF-8
        raise OfaError(f"recipe {path} is not text: {error}") from error
    values = _parse(text, f"recipe {path}")
    if not isinstance(values, dict):
        raise OfaError(f"recipe {path} is not a mapping with the keys net, data, train, stages")
    values.setdefault("name", path.stem)
    return from_settings(values, overrides, str(path))


def from_settings(values: Dict[str, Any], overrides: Sequence[str] = (),
                  source: str = "recipe") -> Recipe:
    """A `Recipe` of plain values (as `Recipe.settings` gives them), with overrides."""
    values = copy.deepcopy(values)
    on_net = [override for override in overrides if override.startswith("net.")]
    for override in on_net:
        _override(values, override)
    _name_stage_of_fixed(values)  # an override may choose the network, others name its stage
    for override in overrides:
        if override not in on_net:
            _override(values, override)
    try:
        return _convert(values, Recipe, "", source)
    except OfaError as error:
        if str(error).startswith(source):
            raise
        raise OfaError(f"{source}: {error}") from error


def _name_stage_of_fixed(values: Dict[str, Any]) -> None:
    """A fixed network has one stage: its space, and its name where it has none, are the network's."""
    net, stages = values.get("net"), values.get("stages")
    if isinstance(net, dict) and net.get("family") in list(ZOO) and isinstance(stages, list):
        for stage in stages:
            if isinstance(stage, dict):
                stage["space"] = net["family"]
                stage.setdefault("name", net["family"])


class _Loader(yaml.SafeLoader):
    """PyYAML's loader of plain values, but mappings that are merged (<<) into others stay small.

    Else a few lines that merge a mapping nine times, and the result nine times, would fill memory.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the keys that `node` merges among its own."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise yaml.constructor.ConstructorError(None, None, f"a mapping of more than {MOST_KEYS} keys",
                                                    node.start_mark)


def _parse(text: str, source: str) -> Any:
    """The plain values of a YAML text; OfaError names its `source`."""
    if len(text) > LONGEST:
        raise OfaError(f"{source} has {len(text):,} characters, more than {LONGEST:,}: it is no recipe")
    try:
        return _Loader(text).get_single_data()
    except Exception as error:  # PyYAML lets through what int(), date() and the like raise
        raise OfaError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def _override(values: Dict[str, Any], text: str) -> None:
    """Set the value that "a.b.c=value" names; stages are named by their names."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise OfaError(f"override {_shown(text)} is not of the form key.key=value, "
                       "for example train.momentum=0.8")
    node: Any = values
    for key in keys[:-1]:
        if isinstance(node, (list, tuple)):
            named = [item for item in node if isinstance(item, dict) and item.get("name") == key]
            if not named:
                raise OfaError(f"override {_shown(text)}: there is no stage named {_shown(key)}")
            node = named[0]
        else:
            node = node.setdefault(key, {})
        if not isinstance(node, (dict, list, tuple)):
            raise OfaError(f"override {_shown(text)}: {_shown(key)} holds no further keys")
    if not isinstance(node, dict):
        raise OfaError(f"override {_shown(text)}: name a key of one stage, as in stages.kernel.lr=0.1")
    node[keys[-1]] = _parse(value, f"override {_shown(text)}")


def _convert(value: Any, kind: Any, where: str, source: str) -> Any:
    """`value` as the annotated type `kind`; OfaError names the key `where` it is not."""
    if kind is Config:
        family = value.get("family", DEFAULT) if isinstance(value, dict) else DEFAULT
        kind = config_class(_convert(family, str, f"{where}.family", source))
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _convert_mapping(value, kind, where, source)
    if origin is typing.Union:
        return None if value is None else _convert(value, inner[0], where, source)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise OfaError(f"{source}: {where}={_shown(value)} is not a list")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise OfaError(f"{source}: {where}={_shown(value)} does not have {len(inner)} values")
        return tuple(_convert(v, inner[0], f"{where}[{i}]", source) for i, v in enumerate(value))
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:  # YAML reads 1e-5 as text, and a fraction, as 320/299
            numerator, _, denominator = str(value).partition("/")
            number = float(numerator) / float(denominator or 1)
        except (ValueError, OverflowError, ZeroDivisionError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    allowed = "a finite number" if kind is float else kind.__name__
    raise OfaError(f"{source}: {where}={_shown(value)} is not {allowed}")


# Short, however large and deep a value is: YAML's aliases make a few lines into gigabytes.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_shown = _SHORT.repr


def _convert_mapping(value: Any, kind: Any, where: str, source: str) -> Any:
    prefix = f"{where}." if where else ""
    if not isinstance(value, dict):
        raise OfaError(f"{source}: {where or 'the file'} is not a mapping of keys to values")
    types, known = typing.get_type_hints(kind), [f.name for f in fields(kind)]
    for key in value:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise OfaError(f"{source}: unknown key {prefix}{str(key)[:80]}; {hint}")
    for f in fields(kind):
        if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise OfaError(f"{source}: {prefix}{f.name} is missing")
    return kind(**{key: _convert(v, types[key], f"{prefix}{key}", source) for key, v in value.items()})
