"""A page a recipe: runs, accuracies of its stages' subnets, published ones beside them; its pictures.

Runs of one recipe and stage that differ in their seed become "mean ± standard deviation (n)".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Sequence

from ..accuracies import KINDS, STAGES, Figures, collect, is_fixed, of_recipe
from ..protocol import Records, Rows
from ..published import published_rows
from ..selection import of_kind
from . import baselines, fixed_networks
from .accuracy_tables import by_split
from .markdown import run_facts, table
from .summaries import extremes, training_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMANDS: Dict[str, str] = {}  # the commands of a recipe's runs are on its page
TITLE = "# Results of `"


def pages(records: Records) -> Dict[str, str]:
    """A page a recipe that accuracies were measured or published of."""
    measured = (name for name in baselines.tables_of(records) if baselines.section(records, name))
    published = (record["recipe"] for record in of_kind(records, "published"))
    recipes = {*recipes_of(records), *published, *measured}
    return {f"{recipe}.md": recipe_page(records, recipe) for recipe in sorted(recipes)}


def figures(records: Records) -> Dict[str, Figure]:
    """The pictures that the pages show."""
    from ..plots.accuracy_macs import accuracy_macs_figure  # here: see pages/__init__.py
    from ..plots.epochs import epochs_figure
    found = {}
    for recipe in recipes_of(records):
        makers = {f"{recipe}-epochs.png": epochs_figure, f"{recipe}-accuracy-macs.png": accuracy_macs_figure}
        found.update({name: makers[name](records, recipe) for name in pictures(records, recipe)})
        found.update(fixed_networks.figures(records, recipe))
    return found


def recipes_of(records: Records) -> List[str]:
    """The recipes that there are accuracies of."""
    return sorted({record["recipe"] for record in records if record["kind"] in KINDS})


def recipe_page(records: Records, recipe: str) -> str:
    """The whole page of one recipe: runs, summary, pictures, a section a stage, one of fixed networks."""
    runs, trained = of_recipe(records, recipe, *KINDS), of_recipe(records, recipe, "train")
    found, published = collect(records, recipe), published_rows(records, recipe)
    shown = {**pictures(records, recipe), **fixed_networks.pictures(records, recipe)}
    stages = [stage for stage in STAGES if any(row["stage"] == stage for row in published)
              or any(key.stage == stage for key in found)]
    stages += sorted({key.stage for key in found if not key.fixed} - set(STAGES))
    parts = [f"{TITLE}{recipe}`", run_facts(runs) if runs else
             "Not run here yet: the accuracies below are the published ones alone.",
             summary([run for run in trained if not is_fixed(run)], found),
             fixed_networks.summary([run for run in trained if is_fixed(run)], found),
             *(f"![{caption}]({name})" for name, caption in shown.items()),
             *(stage_section(stage, found, published) for stage in stages),
             fixed_networks.section(found, published), baselines.section(records, recipe)]
    return "\n\n".join(part for part in parts if part)


def pictures(records: Records, recipe: str) -> Dict[str, str]:
    """{file name: caption} of the pictures that the records of one recipe's stages are enough for."""
    names = {}
    if any(run["history"] and not is_fixed(run) for run in of_recipe(records, recipe, "train")):
        names[f"{recipe}-epochs.png"] = "Loss and accuracy over epochs, stage after stage"
    if any(key.stage != "finetune" and not key.fixed for key in collect(records, recipe)):
        names[f"{recipe}-accuracy-macs.png"] = "Accuracy against MACs of the validated subnets"
    return names


# -- sections of a page ----------------------------------------------------------------------------

def summary(trained: Records, found: Figures) -> str:
    """A row a stage: how long, how fast (means over seeds), how accurate at both ends."""
    rows = []
    for stage, space in dict.fromkeys((record["stage"], record["space"]) for record in trained):
        runs = [run for run in trained if (run["stage"], run["space"]) == (stage, space)]
        rows.append({"Stage": STAGES.get(stage, stage), "Space": f"`{space}`", **training_cells(runs),
                     **extremes(found, stage)})
    return "\n\n".join([
        "## Summary", table(rows, left=2),
        "The full network is the validated subnet of most MACs, the smallest the one of fewest; "
        "both at the\nlargest image size, on the test split where it was evaluated."]) if rows else ""


def stage_section(stage: str, found: Figures, published: Rows) -> str:
    """Heading, what was published, and a table a split.

    Args:
        stage: Its name.
        found: The accuracies of all stages.
        published: The published rows of all stages.
    """
    theirs = [row for row in published if row["stage"] == stage]
    own = {key: by_seed for key, by_seed in found.items() if key.stage == stage and not key.fixed}
    return "\n\n".join([f"## {STAGES.get(stage, f'Stage {stage}')}", *published_runs(theirs),
                        *by_split(own, theirs)])


def published_runs(published: Rows) -> Sequence[str]:
    """How long the published networks of one stage were trained, in a sentence, where there are any."""
    runs = dict.fromkeys((row["space"], row["epochs"], row["train_hours_4xV100"])
                         for row in published if row["epochs"] != "0")
    text = "; ".join(f"`{space}`, {epochs} epochs" + (f", {hours} h on 4 V100 GPUs" if hours else "")
                     for space, epochs, hours in runs)
    return [f"Published runs: {text}."] if published else []
