"""What the command lines in runners/ share: arguments, choice of recipe and data, errors."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Callable, Optional, Tuple

from . import interrupt, kernels, ops
from .comm import connect
from .errors import OfaError
from .loading import load
from .recipe import Recipe, from_settings, load_recipe, recipe_names
from .records import check_name
from .stages import Lab, Run
from .supernet import Network

DIGITS, IMAGENET = "xception_digits", "xception_imagenet"


def at_least(minimum: int) -> Callable[[str], int]:
    """The type of an argument that is an integer, `minimum` or more."""
    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text} is not an integer of {minimum} or more")
        return int(text)
    return integer


def base_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every runner has."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--seed", type=at_least(0), help="of everything drawn (default: 0, or as --weights)")
    p.add_argument("--device", default="auto",
                   help="cpu, cudnn, cudnn:half, or auto (default): cudnn where there is a GPU")
    p.add_argument("--kernels", choices=("auto", "fast", "nnabla"), default="auto",
                   help="fused CPU functions, NNabla's own, or fused where they work")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                   help="override a value of the recipe, for example train.momentum=0.8; repeatable")
    return p


def parser(description: str, output: str = "") -> argparse.ArgumentParser:
    """A parser with the arguments that every runner on data has.

    output: what the file of a required --output is; else that is the folder of the run.
    """
    p = base_parser(description)
    p.add_argument("--recipe", help="name under args/ or path of a YAML file (default: that of the data, "
                   f"as xception_cifar10 of cifar10, else {IMAGENET}; without data {DIGITS})")
    p.add_argument("--data", help="dataset folder, or digits (default: what the recipe or the weights say, "
                   "else OFA_DATA)")
    p.add_argument("--output", type=Path, required=bool(output),
                   help=output or "folder of the run (default: runs/<recipe>)")
    return p


def command_line() -> str:
    """This command as a record names it."""
    return " ".join(["python", *map(shlex.quote, sys.argv)])


def choose_recipe(args, trained_with: Optional[dict] = None) -> Recipe:
    """The recipe that the arguments mean, its data source filled in.

    trained_with: settings inside a weights file, which serve where no recipe is named.
    """
    if args.recipe or not trained_with:
        recipe = load_recipe(args.recipe or default_recipe(args.data or data_of_environment()),
                             args.overrides)
    else:
        recipe = from_settings(trained_with, args.overrides, "the recipe in the weights file")
    source = args.data or recipe.data.source or data_of_environment()
    if source is None:
        raise OfaError(f"recipe {recipe.name} needs a dataset: give --data FOLDER (train/<class>/* and "
                       "val/<class>/*) or set OFA_DATA")
    return replace(recipe, data=replace(recipe.data, source=source))


def data_of_environment() -> Optional[str]:
    """What the variable OFA_DATA names, None where it is unset or empty."""
    return os.environ.get("OFA_DATA") or None


def default_recipe(data: Optional[str]) -> str:
    """The recipe where none is named: that of the data's name, else ImageNet's; without data the digits'."""
    if data is None:
        return DIGITS
    own = f"xception_{Path(data).name}"
    return own if own in recipe_names() else IMAGENET


def recipe_line(args, recipe: Recipe) -> str:
    """The first line printed: which recipe and data, and how to get the other."""
    chosen = "chosen by --recipe" if args.recipe else "the default"
    if recipe.data.source == "digits":
        other = f"ImageNet: --data FOLDER or OFA_DATA, recipe {IMAGENET}"
    else:
        other = f"the embedded digits: --recipe {DIGITS} --data digits"
    return f"recipe {recipe.name} ({chosen}) on {recipe.data.source}; for {other}"


def open_run(args, trained_with: Optional[dict] = None) -> Run:
    """Communicator, recipe and data of the arguments, as a `Run`."""
    if getattr(args, "name", None):
        check_name("--name", args.name)  # now, not when the work is done
    args.comm = connect(args.device)
    if getattr(args, "save", None) and args.comm.rank == 0:  # which is to write it
        require_writable(args.save.parent)
    recipe = choose_recipe(args, trained_with)
    if args.comm.rank == 0 and not trained_with:
        print(recipe_line(args, recipe), flush=True)
    check_kernels(args)
    output = args.output or Path("runs") / recipe.name
    return Run(Lab(recipe, args.seed or 0, args.comm), output, command_line(), args.kernels,
               getattr(args, "accept_changes", False))


def check_kernels(args) -> None:
    """Say so where the fused CPU functions would serve and cannot; OfaError if they were asked for."""
    reason = kernels.unavailable_reason() if args.kernels != "nnabla" else None
    if reason and args.kernels == "fast":
        raise OfaError(f"--kernels fast is not possible: {reason}; use --kernels auto or nnabla")
    if reason and ops.on_cpu() and args.comm.rank == 0:
        print(f"the fused CPU functions are not usable ({reason}): plain NNabla serves, many times "
              "slower", flush=True)


def open_network(args) -> Tuple[Network, Run]:
    """The network of --weights, and a `Run` on the data and with the seed that it was trained with.

    --image-size, where a runner has it, replaces the recipe's valid_sizes. OfaError if network and
    data differ in their classes.
    """
    if getattr(args, "image_size", None):
        args.overrides.append(f"data.valid_sizes={args.image_size}")
    net = load(args.weights)
    if args.seed is None:  # another seed would hold out images that the network has learned from
        args.seed = net.info.get("seed", 0)
    run = open_run(args, net.info.get("recipe"))
    classes, learned = list(run.lab.classes), list(net.info.get("classes", run.lab.classes))
    if net.config.classes != len(classes) or learned != classes:
        raise OfaError(f"{args.weights} has {net.config.classes} classes ({', '.join(learned[:3])}, ...), "
                       f"{run.recipe.data.source} has {len(classes)} ({', '.join(classes[:3])}, ...): name "
                       "the data it was trained on with --data")
    net.kernels = args.kernels
    return net, run


def require_writable(folder: Path) -> None:
    """OSError, before the work, where its result could not be written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def run(main: Callable, args) -> None:
    """Call `main(args)`; a user's error becomes one line and exit status 2, on all ranks."""
    try:
        with interrupt.between_functions():
            main(args)
    except KeyboardInterrupt:
        fail(args, "interrupted: training and search go on when their command is repeated", 130)
    except OfaError as error:
        fail(args, f"error: {error}", 2)
    except OSError as error:  # a file or folder that cannot be read or written
        fail(args, f"error: {error.filename or 'writing'}: {error.strerror or error}", 2)
    except Exception:  # a defect: show it whole, but do not leave the other ranks waiting
        fail(args, traceback.format_exc(), 1)


def fail(args, message: str, status: int) -> None:
    """Print `message` and leave; under mpirun stop the other ranks, too."""
    comm = getattr(args, "comm", None)
    if comm is not None:  # ranks that fail alike: the first says so, and stops the others meanwhile
        time.sleep(min(comm.rank, 5))
    print(message, file=sys.stderr, flush=True)
    if comm is not None and comm.size > 1:
        comm.abort(status)
    sys.exit(status)
