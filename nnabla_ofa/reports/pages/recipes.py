"""A page a recipe: runs, accuracies of its stages' subnets, published ones beside them; its pictures.

Runs of one recipe and stage that differ in their seed become "mean ± standard deviation (n)".
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Dict, List, Optional, Sequence

from .accuracies import KINDS, STAGES, Key, canonical, collect, main_split, of_recipe, read_published
from .markdown import accuracy, count, duration, run_facts, table

PUBLISHED_RECIPE = "xception_imagenet"  # what results/published/ofa_xception.csv was trained with
PUBLISHED = Path(__file__).resolve().parents[3] / "results/published/ofa_xception.csv"
FINETUNING = {None: "-", "before": "before", "after": "after", "scratch": "none, from scratch"}  # of "when"
TITLE = "# Results of `"
Figures = Dict[Key, Dict[int, dict]]


def pages(records: Sequence[dict], published: Optional[Sequence[dict]] = None) -> Dict[str, str]:
    """A page a recipe. published: rows as `read_published` gives them (default: those of PUBLISHED),
    shown on the page of PUBLISHED_RECIPE, which then exists even if nothing of ours was run."""
    published = read_published(PUBLISHED) if published is None else published
    recipes = set(recipes_of(records)) | ({PUBLISHED_RECIPE} if published else set())
    return {f"{recipe}.md": recipe_page(records, recipe, published if recipe == PUBLISHED_RECIPE else ())
            for recipe in sorted(recipes)}


def figures(records: Sequence[dict]) -> dict:
    """The pictures that the pages name."""
    from ..plots import accuracy_macs_figure, epochs_figure
    return {name: (epochs_figure if name.endswith("-epochs.png") else accuracy_macs_figure)(records, recipe)
            for recipe in recipes_of(records) for name in pictures(records, recipe)}


def recipes_of(records: Sequence[dict]) -> List[str]:
    """The recipes that there are accuracies of."""
    return sorted({record["recipe"] for record in records if record["kind"] in KINDS})


def recipe_page(records: Sequence[dict], recipe: str, published: Sequence[dict]) -> str:
    """The whole page of one recipe: runs, summary, pictures, a section a stage."""
    runs = of_recipe(records, recipe, *KINDS)
    figures = collect(records, recipe)
    parts = [f"{TITLE}{recipe}`", run_facts(runs) if runs else
             "Not run here yet: the figures below are the published ones alone."]
    trained = of_recipe(records, recipe, "train")
    if trained:
        parts.append(summary(trained, figures))
    parts += [f"![{caption}]({name})" for name, caption in pictures(records, recipe).items()]
    others = sorted({key.stage for key in figures} - set(STAGES))
    for stage in list(STAGES) + others:
        theirs = [row for row in published if row["stage"] == stage]
        if theirs or any(key.stage == stage for key in figures):
            parts.append(stage_section(stage, figures, theirs))
    return "\n\n".join(parts)


def pictures(records: Sequence[dict], recipe: str) -> Dict[str, str]:
    """{file name: caption} of the pictures that one recipe's records are enough for."""
    names = {}
    if any(record["history"] for record in of_recipe(records, recipe, "train")):
        names[f"{recipe}-epochs.png"] = "Loss and accuracy over epochs, stage after stage"
    if any(key.stage != "finetune" for key in collect(records, recipe)):
        names[f"{recipe}-accuracy-macs.png"] = "Accuracy against MACs of the validated subnets"
    return names


# -- sections of a page ----------------------------------------------------------------------------

def summary(trained: Sequence[dict], figures: Figures) -> str:
    """A row a stage: how long, how fast (means over seeds), how accurate at both ends."""
    rows = []
    for stage, space in dict.fromkeys((record["stage"], record["space"]) for record in trained):
        runs = [r for r in trained if (r["stage"], r["space"]) == (stage, space)]
        epochs = [row for run in runs for row in run["history"]]
        rows.append({
            "Stage": STAGES.get(stage, stage), "Space": f"`{space}`",
            "Seeds": _distinct(run["seed"] for run in runs),
            "Epochs": _distinct(len(run["history"]) for run in runs),
            "Learning rate": _distinct(f"{base_rate(run):g}" for run in runs if run["history"]),
            "Time": duration(mean(run["seconds"] for run in runs)),
            "Images/s": f"{mean(row['images_per_second'] for row in epochs):,.0f}"
                        if epochs else "-",
            **extremes(figures, stage)})
    return "\n\n".join([
        "## Summary", table(rows, left=2),
        "The full network is the validated subnet of most MACs, the smallest the one of fewest; "
        "both at the\nlargest image size, on the test split where it was evaluated."])


def base_rate(run: dict) -> float:
    """The stage's learning rate in the recipe, before its schedule; else that of the first epoch."""
    rates = {stage["name"]: stage["lr"] for stage in run["settings"].get("stages", ())}
    return rates.get(run["stage"], run["history"][0]["lr"])


def extremes(figures: Figures, stage: str) -> Dict[str, str]:
    """Top-1 of one stage's validated subnets of most and of fewest MACs, as two cells."""
    own = [key for key in figures if key.stage == stage]
    own = [key for key in own if key.split == main_split(own)]
    size = max((key.image_size for key in own), default=None)
    seeds = sorted((list(figures[key].values()) for key in own if key.image_size == size),
                   key=lambda rows: rows[0]["macs"]) or [[]]
    return {"Top-1, full network": accuracy([row["top1"] for row in seeds[-1]]),
            "Top-1, smallest subnet": accuracy([row["top1"] for row in seeds[0]])}


def stage_section(stage: str, figures: Figures, published: Sequence[dict]) -> str:
    """Heading, what the figures are of, and a table a split (the test set's first)."""
    figures = {key: by_seed for key, by_seed in figures.items() if key.stage == stage}
    parts = [f"## {STAGES.get(stage, f'Stage {stage}')}"]
    if published:
        runs = dict.fromkeys((row["space"], row["epochs"], row["train_hours_4xV100"])
                             for row in published if row["epochs"] != "0")
        parts.append("Published runs: " + "; ".join(
            f"`{space}`, {epochs} epochs" + (f", {hours} h on 4 V100 GPUs" if hours else "")
            for space, epochs, hours in runs) + ".")
    if not figures:
        return "\n\n".join(parts + [result_table({}, published)])
    first = main_split(figures)
    for split in sorted({key.split for key in figures}, key=lambda split: (split != first, split)):
        part = {key: list(by_seed.values()) for key, by_seed in figures.items()
                if key.split == split}
        images = sorted({row["images"] for rows in part.values() for row in rows})
        parts.append(f"Split `{split}`, {' or '.join(f'{n:,}' for n in images)} images:")
        parts.append(result_table(part, published if split == first else ()))
    return "\n\n".join(parts)


def result_table(figures: Dict[Key, List[dict]], published: Sequence[dict]) -> str:
    """Subnets x image sizes of one stage and split; published top-1 beside ours, a column a source.

    `figures` holds one result row a seed for each key.
    """
    ours = {(key.subnet, key.when, key.image_size): rows for key, rows in figures.items()}
    theirs = {(canonical(row["subnet"]), row["when"], size, row["source"]): [top1]
              for row in published for size, top1 in row["top1"].items()}
    sources = list(dict.fromkeys(row["source"] for row in published))
    sizes = sorted({key[2] for key in [*ours, *theirs]})
    names = {(canonical(row["subnet"]), row["when"]): row["subnet"] for row in published}
    for key, rows in ours.items():
        names.setdefault(key[:2], rows[0]["subnet"])
    subnets = [subnet for subnet, _ in names]
    rows = []
    for subnet, when in sorted(names, key=lambda key: (subnets.index(key[0]), [*FINETUNING].index(key[1]))):
        found = {size: ours.get((subnet, when, size), []) for size in sizes}
        known = next((result[0] for result in found.values() if result), {})
        row = {"Subnet": f"`{short_name(names[subnet, when])}`", "Fine-tuning": FINETUNING[when],
               "Parameters": count(known.get("parameters"))}
        row.update({f"MACs, {size} px": count(result[0]["macs"] if result else None)
                    for size, result in found.items()})
        for size, result in found.items():
            row[f"Top-1, {size} px"] = accuracy([r["top1"] for r in result])
            row.update({f"published [{i}], {size} px":
                        accuracy(theirs.get((subnet, when, size, source), []))
                        for i, source in enumerate(sources, 1)})
        row.update({f"Top-5, {size} px": accuracy([r["top5"] for r in result])
                    for size, result in found.items()})
        rows.append(row)
    text = table(rows, left=1 if rows[0]["Fine-tuning"] == "-" else 2)
    notes = "; ".join(f"[{i}] {source}" for i, source in enumerate(sources, 1))
    return f"{text}\n\nPublished figures: {notes}." if notes else text


def _distinct(values) -> str:
    """The values that runs have, each once, as "0, 1, 2"."""
    return ", ".join(dict.fromkeys(str(value) for value in values)) or "-"


def short_name(subnet: str) -> str:
    """`8 x XP1 7x7 3` where all blocks are equal, else all of them."""
    blocks = [block.strip() for block in subnet.split(",")]
    equal = len(blocks) > 1 and len(set(blocks)) == 1
    return f"{len(blocks)} x {blocks[0]}" if equal else ", ".join(blocks)
