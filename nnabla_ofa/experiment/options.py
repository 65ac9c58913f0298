"""What command lines say, as frozen values: their common arguments, and what these mean."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Type, TypeVar

from .. import kernels as fused_functions
from ..data import Data
from ..errors import OfaError
from ..formats import load
from ..layers import on_cpu
from ..model import AnyNetwork
from ..system.comm import Communicator
from ..system.record_rules import check_name
from .lab import Lab
from .parse import default_recipe, from_settings, load_recipe
from .recipe import Recipe
from .run import Run

O = TypeVar("O", bound="Options")  # noqa: E741


@dataclass(frozen=True)
class Options:
    """What every command on networks takes; see `add_options`. device: "" where nothing is computed."""

    seed: Optional[int] = None
    device: str = "auto"
    kernels: str = "auto"
    overrides: Tuple[str, ...] = ()


@dataclass(frozen=True)
class RunOptions(Options):
    """What every command on data takes, and what only some do; see `add_run_options`.

    net: in place of the recipe's. name: of the record. save: a file that the work ends with.
    accept_changes, new_head, start: as of `Run`.
    """

    recipe: Optional[str] = None
    net: Optional[str] = None
    data: Optional[str] = None
    output: Optional[Path] = None
    name: Optional[str] = None
    save: Optional[Path] = None
    accept_changes: bool = False
    new_head: bool = False
    start: Optional[Path] = None


@dataclass(frozen=True)
class WeightsOptions(RunOptions):
    """What every command on a trained network takes. image_size: pixels, none for the recipe's."""

    weights: Path = Path()
    image_size: Tuple[int, ...] = ()


def from_namespace(kind: Type[O], namespace: argparse.Namespace) -> O:
    """The options of an argparse namespace, lists as tuples."""
    found = {key: tuple(value) if isinstance(value, list) else value
             for key, value in vars(namespace).items()}
    given = {field.name: found[field.name] for field in fields(kind) if field.name in found}
    values: Dict[str, Any] = {
        key: () if value is None and kind.__dataclass_fields__[key].default == () else value
        for key, value in given.items()}
    return kind(**values)


def at_least(minimum: int) -> Callable[[str], int]:
    """The type of an argument that is an integer, `minimum` or more."""
    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text} is not an integer of {minimum} or more")
        return int(text)
    return integer


def add_options(p: argparse.ArgumentParser) -> None:
    """The arguments of `Options`."""
    p.add_argument("--seed", type=at_least(0), help="of everything drawn (default: 0, or as --weights)")
    p.add_argument("--device", default="auto",
                   help="cpu, cudnn, cudnn:half, or auto (default): cudnn where there is a GPU")
    p.add_argument("--kernels", choices=("auto", "fast", "nnabla"), default="auto",
                   help="fused CPU functions, NNabla's own, or fused where they work")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                   help="override a value of the recipe, for example train.momentum=0.8; repeatable")


def add_run_options(p: argparse.ArgumentParser, output: str = "") -> None:
    """The arguments of `RunOptions` that all commands on data take.

    output: what the file of a required --output is; else that is the folder of the run.
    """
    add_options(p)
    p.add_argument("--recipe", help="name under args/ or path of a YAML file (default: that of the data, "
                   f"as {default_recipe('cifar10')} of cifar10, else {default_recipe('other data')}; without "
                   f"data {default_recipe(None)})")
    p.add_argument("--data", help="dataset folder, or digits (default: what the recipe or the weights say, "
                   "else OFA_DATA)")
    p.add_argument("--output", type=Path, required=bool(output),
                   help=output or "folder of the run (default: runs/<recipe>-<name of the data>)")


def add_weights(p: argparse.ArgumentParser, what: str) -> None:
    """The arguments that name a trained network; what: "of a supernet" or the like."""
    p.add_argument("--weights", type=Path, required=True, help=f"weights.h5 {what}, or a PyTorch file of one")
    p.add_argument("--net", metavar="NAME",
                   help="which network of the zoo a PyTorch file holds (supernets of once-for-all are known)")


def add_subnet(p: argparse.ArgumentParser, what: str, repeatable: bool = False) -> None:
    """The argument that names a subnet. what: its help; repeatable: then it is a list."""
    several: Dict[str, Any] = {"action": "append", "default": []} if repeatable else {}
    p.add_argument("--subnet", type=subnet_text, metavar='"XP1 7x7 3, ..."',
                   help=f"{what}; or a .json file that holds it", **several)


def subnet_text(name: str) -> str:
    """The type of an argument that is a subnet's text, or the name of a .json file that holds it."""
    if not name.endswith(".json"):
        return name
    try:
        text = Path(name).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise argparse.ArgumentTypeError(f"cannot read {name}: {reason}") from error
    return text[1:-1] if text[:1] == text[-1:] == '"' else text  # a text in JSON


def add_net(p: argparse.ArgumentParser) -> None:
    """The argument that chooses a network."""
    p.add_argument("--net", metavar="NAME",
                   help="a family, or a fixed network of the zoo, in place of the recipe's (runners/zoo.py "
                        "lists them)")


def with_net(overrides: Tuple[str, ...], net: Optional[str]) -> Tuple[str, ...]:
    """The overrides of a recipe, with the network that --net names."""
    return overrides if net is None else (f"net.family={net}", *overrides)


def add_accept_changes(p: argparse.ArgumentParser) -> None:
    """The argument of `Run.accept_changes`."""
    p.add_argument("--accept-changes", action="store_true",
                   help="take up earlier results although recipe or data have changed since")


def add_new_head(p: argparse.ArgumentParser) -> None:
    """The argument of `Run.new_head`."""
    p.add_argument("--new-head", action="store_true",
                   help="the data have other classes: keep what the network knows of those of the same name, "
                        "and give it a new classifier for the others")


# What they mean ----------------------------------------------------------------------------------

def command_line() -> str:
    """This command as a record names it."""
    program, *arguments = sys.argv
    if Path(program).name == "__main__.py":
        program = f"-m {Path(program).parent.name}"
    else:
        program = shlex.quote(program)
    return " ".join(["python", program, *map(shlex.quote, arguments)])


def data_of_environment() -> Optional[str]:
    """What the variable OFA_DATA names, None where it is unset or empty."""
    return os.environ.get("OFA_DATA") or None


def choose_recipe(options: RunOptions, trained_with: Optional[Mapping[str, Any]] = None) -> Recipe:
    """The recipe that the options mean, its data source filled in.

    trained_with: settings inside a weights file, which serve where no recipe is named.
    """
    if options.recipe or not trained_with:
        recipe = load_recipe(options.recipe or default_recipe(options.data or data_of_environment()),
                             with_net(options.overrides, options.net))
    else:
        recipe = from_settings(dict(trained_with), options.overrides, "the recipe in the weights file")
    source = options.data or recipe.data.source or data_of_environment()
    if source is None:
        raise OfaError(f"recipe {recipe.name} needs a dataset: give --data FOLDER (train/<class>/* and "
                       "val/<class>/*) or set OFA_DATA")
    return replace(recipe, data=replace(recipe.data, source=located(source)))


def located(source: str) -> str:
    """A data source that means the same from every working directory: paths that are here, absolute.

    Records and weights name it. A data set's name stays a name (`data.open_dataset`).
    """
    return os.path.abspath(source) if source != "digits" and os.path.exists(source) else source


def recipe_line(options: RunOptions, recipe: Recipe) -> str:
    """The first line printed: which recipe and data, and how to get the other."""
    chosen = "chosen by --recipe" if options.recipe else "the default"
    if recipe.data.source == "digits":
        other = f"ImageNet: --data FOLDER or OFA_DATA, recipe {default_recipe('imagenet')}"
    else:
        other = f"the embedded digits: --recipe {default_recipe(None)} --data digits"
    return f"recipe {recipe.name} ({chosen}) on {recipe.data.source}; for {other}"


def open_run(options: RunOptions, comm: Communicator, trained_with: Optional[Mapping[str, Any]] = None,
             test_alone: bool = False) -> Run:
    """Recipe and data of the options, as a `Run`. test_alone: as of `Lab.open`."""
    if options.name:
        check_name("--name", options.name)  # now, not when the work is done
    if comm.rank == 0:  # which is to write the results
        require_writable(options)
    recipe = choose_recipe(options, trained_with)
    if comm.rank == 0 and not trained_with:
        print(recipe_line(options, recipe), flush=True)
    check_kernels(options, comm)
    lab = Lab.open(recipe, options.seed or 0, comm, test_alone)
    if comm.rank == 0 and not trained_with:
        print(lab.train.summary, flush=True)
    return Run(lab, options.output or default_output(recipe), command_line(), options.kernels,
               options.accept_changes, options.new_head, options.start)


def default_output(recipe: Recipe) -> Path:
    """The folder of a run: named after the recipe, and after its data where the recipe is not."""
    data = re.sub(r"[^\w.+-]", "_", Path(str(recipe.data.source)).resolve().name)
    return Path("runs") / (recipe.name if data in recipe.name.split("_") else f"{recipe.name}-{data}")


def open_network(options: WeightsOptions, comm: Communicator, needs_known: bool = False,
                 test_alone: bool = False) -> Tuple[AnyNetwork, Run]:
    """The network of --weights, and a `Run` on the data and with the seed that it was trained with.

    --image-size, where a command has it, replaces the recipe's valid_sizes. OfaError if network and
    data differ in their classes, unless --new-head. needs_known: as of `Run.adapted`; test_alone: as of
    `Lab.open`.
    """
    if options.image_size:
        try:
            Data(valid_sizes=options.image_size)
        except OfaError as error:
            raise OfaError(f"--image-size: {error}") from error
        sizes = f"data.valid_sizes={list(options.image_size)}"
        options = replace(options, overrides=(*options.overrides, sizes))
    net = load(options.weights, net=options.net)
    if options.seed is None:  # another seed would hold out images that the network has learned from
        options = replace(options, seed=net.info.get("seed", 0))
    run = open_run(replace(options, net=None), comm, net.info.get("recipe"), test_alone)
    net = run.adapted(net, options.weights, needs_known)
    if "recipe" not in net.info:  # another program's: what is made of it says how, as our own files do
        net.info = {**net.info, **run.lab.info(), "space": str(net.space)}
    net.kernels = options.kernels
    return net, run


def check_kernels(options: Options, comm: Communicator) -> None:
    """Say so where the fused CPU functions would serve and cannot; OfaError if they were asked for."""
    reason = fused_functions.unavailable_reason() if options.kernels != "nnabla" else None
    if reason and options.kernels == "fast":
        raise OfaError(f"--kernels fast is not possible: {reason}; use --kernels auto or nnabla")
    if reason and on_cpu() and comm.rank == 0:
        print(f"the fused CPU functions are not usable ({reason}): plain NNabla serves, many times "
              "slower", flush=True)


def require_writable(options: RunOptions) -> None:
    """OfaError, before the work, where --save or --output could not be written."""
    if options.save and options.save.is_dir():
        raise OfaError(f"--save {options.save} is a folder: name a file in it")
    for path in filter(None, (options.save, options.output)):
        above = next(f for f in path.absolute().parents if f.exists())
        folder = path if path.is_dir() else above  # which is to hold the rest
        if not folder.is_dir():
            raise OfaError(f"cannot write {path}: {folder} is a file; choose another folder")
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OfaError(f"cannot write {path}: {error.strerror} (in {folder}); choose another folder, or "
                           "change its permissions") from error
