"""What the command lines in runners/ share: arguments, choice of recipe and data, errors."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Callable

from .comm import connect
from .errors import OfaError
from .recipe import Recipe, load_recipe
from .stages import Lab, Run

DIGITS, IMAGENET = "xception_digits", "xception_imagenet"


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every runner on data has."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--recipe", help="name under args/ or path of a YAML file (default: "
                   f"{IMAGENET} where data is named, else {DIGITS})")
    p.add_argument("--data", default=os.environ.get("OFA_DATA") or None,
                   help="dataset folder, or digits (default: OFA_DATA, else what the recipe says)")
    p.add_argument("--output", type=Path, help="folder of the run (default: runs/<recipe>)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cpu", help="cpu, cudnn or cudnn:half")
    p.add_argument("--kernels", choices=("auto", "fast", "nnabla"), default="auto",
                   help="fused CPU functions, NNabla's own, or fused where they work")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                   help="override a value of the recipe, for example train.momentum=0.8; repeatable")
    return p


def choose_recipe(args) -> Recipe:
    """The recipe that the arguments mean, its data source filled in."""
    name = args.recipe or (IMAGENET if args.data not in (None, "digits") else DIGITS)
    overrides = list(args.overrides) + ([f"data.source={args.data}"] if args.data else [])
    recipe = load_recipe(name, overrides)
    if recipe.data.source is None:
        raise OfaError(f"recipe {recipe.name} needs a dataset: give --data FOLDER (train/<class>/* and "
                       "val/<class>/*) or set OFA_DATA")
    return recipe


def recipe_line(args, recipe: Recipe) -> str:
    """The first line printed: which recipe and data, and how to get the other."""
    chosen = "chosen by --recipe" if args.recipe else "the default"
    if recipe.data.source == "digits":
        other = f"ImageNet: --data FOLDER or OFA_DATA, recipe {IMAGENET}"
    else:
        other = f"the embedded digits: --recipe {DIGITS} --data digits"
    return f"recipe {recipe.name} ({chosen}) on {recipe.data.source}; for {other}"


def open_run(args, say_recipe: bool = True) -> Run:
    """Communicator, recipe and data of the arguments, as a `Run`."""
    comm = connect(args.device)
    args.comm = comm
    recipe = choose_recipe(args)
    if say_recipe and comm.rank == 0:
        print(recipe_line(args, recipe), flush=True)
    output = args.output or Path("runs") / recipe.name
    command = " ".join(["python", *map(shlex.quote, sys.argv)])
    return Run(Lab(recipe, args.seed, comm), output, command, args.kernels,
               getattr(args, "accept_changes", False))


def run(main: Callable, args) -> None:
    """Call `main(args)`; a user's error becomes one line and exit status 2, on all ranks."""
    try:
        main(args)
    except KeyboardInterrupt:
        fail(args, "interrupted: the same command goes on from the last checkpoint", 130)
    except OfaError as error:
        fail(args, f"error: {error}", 2)
    except Exception:  # a defect: show it whole, but do not leave the other ranks waiting
        traceback.print_exc()
        fail(args, "", 1)


def fail(args, message: str, status: int) -> None:
    """Print `message` and leave; under mpirun stop the other ranks, too."""
    print(message, file=sys.stderr, flush=True)
    comm = getattr(args, "comm", None)
    if comm is not None and comm.size > 1:
        comm.abort()
    sys.exit(status)
