"""results/ablations.md: what each decision of training and calibration changes.

A record (benchmarks/ablations.py), one a seed, has a row a subnet: comparison, variant, which one
(a key of SUBNETS), train_seconds where it was trained, and the keys of any result. The first variant of a
comparison is the recipe as it is. A study that is not done yet lacks the last variants.
"""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING, Dict, List

from ..cells import accuracy, duration, spread
from ..protocol import Record, Records, Table
from ..selection import of_kind
from .markdown import run_facts, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS = {"ablations.md": "python benchmarks/ablations.py --data cifar10, and with --study tricks"}
SUBNETS = {"largest": "largest", "smallest": "smallest", "random": "random ones", "narrowest": "narrowest"}
# What each comparison of benchmarks/ablations.py is about; one of another name has no text.
HEADINGS = {
    "sorting alone": "The narrower widths of the network that the expand stages start from, before any "
                     "training in them.",
    "sorting": "Sorting channels before the expand stages. Bare permutation forgets that a layer which ends "
               "its block\nat a smaller depth must give its channels in the trunk's order.",
    "subnets a step": "Subnets that share an update. They cost less than one by one: two thirds of "
                      "the passes\nof one subnet a step take about as long as all of two.",
    "schedule": "Shrinking in stages, or all choices at once; the sandwich rule trains the largest, the "
                "smallest and one\nrandom subnet in every update.",
    "distillation": "Soft targets of the frozen full network in the elastic stages.",
    "full network": "The full network alone. Each row leaves out one of the recipe's tricks, or has "
                    "another one in its\nplace.",
    "elastic stage": "From the full network to all widths, in about as many operations.",
    "calibration": "Training images that the BN statistics of an extracted subnet are taken from."}


def pages(records: Records) -> Dict[str, str]:
    """{"ablations.md": Markdown of all ablations in `records`}, {} where there is none."""
    found = of_kind(records, "benchmark", "ablations")
    if not found:
        return {}
    parts = ["# What each decision pays", run_facts(found), _NOTE]
    for recipe, seeds in by_recipe(found).items():
        parts += [f"## `{recipe}`", f"![Top-1 of every variant and seed]({picture(recipe)})"]
        parts += [f"### {comparison.capitalize()}\n\n{HEADINGS.get(comparison, '')}\n\n"
                  + table(lines(seeds, comparison)) for comparison in comparisons(seeds)]
    return {"ablations.md": "\n\n".join(parts)}


_NOTE = """Top-1 on the test images, mean ± standard deviation over seeds. The first row of each table is the
recipe as it is (of the last one, the fewest images). *Change*, in points of top-1, is the difference
from that row, seed by seed: what the variants of a seed have in common (full network, held-out images)
cancels. All variants of a comparison train equally many subnets on equally many images, or take about as
many operations, unless their name says otherwise. The time is that of the elastic stages; of full networks,
their own."""


def by_recipe(records: Records) -> Dict[str, List[Record]]:
    """The records of each recipe, one a seed."""
    found: Dict[str, List[Record]] = {}
    for record in records:
        found.setdefault(record["recipe"], []).append(record)
    return found


def comparisons(records: Records) -> List[str]:
    """The comparisons in the order of their rows."""
    return list(dict.fromkeys(row["comparison"] for record in records for row in record["results"]))


def top1(record: Record, comparison: str) -> Dict[str, Dict[str, float]]:
    """{variant: {key of SUBNETS: top-1, the mean of several}} of one seed."""
    found: Dict[str, Dict[str, List[float]]] = {}
    for row in record["results"]:
        if row["comparison"] == comparison:
            found.setdefault(row["variant"], {}).setdefault(row["which"], []).append(row["top1"])
    return {variant: {which: mean(values) for which, values in own.items()}
            for variant, own in found.items()}


def lines(seeds: Records, comparison: str) -> Table:
    """The table of one comparison: a row a variant."""
    by_seed = [own for own in (top1(record, comparison) for record in seeds) if own]
    base = next(iter(by_seed[0]))
    found = []
    for variant in dict.fromkeys(variant for own in by_seed for variant in own):
        done = [own for own in by_seed if variant in own]
        seconds = [row["train_seconds"] for record in seeds for row in record["results"]
                   if (row["comparison"], row["variant"]) == (comparison, variant)
                   and row.get("train_seconds")]
        line = {"Variant": variant, "Time": duration(mean(seconds)) if seconds else "-"}
        for which, label in SUBNETS.items():
            if which in by_seed[0][base]:
                line[f"Top-1, {label}"] = accuracy([own[variant][which] for own in done])
                line[f"Change, {label}"] = "-" if variant == base else spread(
                    [100 * (own[variant][which] - own[base][which]) for own in done], 1)
        found.append(line)
    return found


def picture(recipe: str) -> str:
    """The file name of a recipe's picture."""
    return f"ablations-{recipe}.png"


def figures(records: Records) -> Dict[str, Figure]:
    """A panel a comparison: top-1 of every variant, seed and kind of subnet."""
    from ..plots.variants import variants_figure  # here: see pages/__init__.py
    return {picture(recipe): variants_figure(
        {comparison: [own for own in (top1(record, comparison) for record in seeds) if own]
         for comparison in comparisons(seeds)},
        SUBNETS) for recipe, seeds in by_recipe(of_kind(records, "benchmark", "ablations")).items()}
