"""One self-contained HTML page a search: what was asked, pictures, the front, what to do with it.

The page is a function of the search's record and of pictures as PNG. Style and pictures are inside
it, there are no scripts, and its content security policy lets no browser fetch anything else: it
can be mailed, archived and opened offline.
"""

from __future__ import annotations

import base64
import shlex
from html import escape
from typing import Dict, Mapping, Protocol, Sequence

from ..nets import Arch, Space
from ..system.record_rules import UNITS
from .cells import count, duration
from .plots.fronts import choices_figure, front_figure
from .plots.style import png

COLUMNS = {"macs": ("MACs", count), "parameters": ("Parameters", count),
           "latency_ms": ("Latency, ms", "{:.3g}".format),
           "valid_top1": ("Top-1, held-out", "{:.2%}".format), "top1": ("Top-1, test", "{:.2%}".format)}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 66rem; margin: 2rem auto }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap }
th { border-bottom: 2px solid #555 } td { border-bottom: 1px solid #ddd }
th.text, td.text { text-align: left } td.text { font: 13px/1.4 ui-monospace, monospace; white-space: normal }
figure { margin: 1rem 0 } img { max-width: 100% } figcaption, footer { color: #555; font-size: .9rem }
pre { background: #f5f5f5; padding: .7rem; overflow-x: auto } summary { cursor: pointer }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(record: dict, pictures: Dict[str, bytes]) -> str:
    """The HTML of a search's record (see runners/search.py); pictures: caption -> PNG."""
    asked = record["search"]
    body = [
        facts(record),
        "<h2>The front</h2>",
        f"<p>Subnets that no other one evaluated beats in both cost and held-out top-1. They were chosen on "
        f"{asked['held_out_images']} images held out of training; the test images were looked at once, for "
        "these subnets only.</p>",
        front_table(record["results"]),
        *(figure(caption, picture) for caption, picture in pictures.items()),
        "<h2>What to do with a subnet</h2>",
        *(f"<details{' open' if number == len(record['results']) else ''}><summary>Subnet {number}</summary>"
          f"<pre>{escape(commands(number, row['subnet'], asked))}</pre></details>"
          for number, row in enumerate(record["results"], 1)),
        provenance(record)]
    return PAGE.format(title=escape(f"Search of {record['recipe']}, {limits_text(asked)}"), style=STYLE,
                       body="\n".join(body))


class Tried(Protocol):
    """A subnet that a search tried, as `search.problem.Found`."""

    arch: Arch
    costs: Mapping[str, float]
    top1: float
    generation: int


def pictures(asked: dict, space: Space, found: Sequence[Tried], front: Sequence[Tried],
             by_hand: Sequence[Tried]) -> Dict[str, bytes]:
    """Caption -> PNG of a search.

    Args:
        asked: The record's `search`.
        space: What was searched.
        found: All that it tried.
        front: Those that no other one beats.
        by_hand: Subnets to show beside them.
    """
    cost = asked["objective"]
    tried = {"random": [one for one in found if one.generation == 0],
             "bred": [one for one in found if one.generation > 0], "validated by hand": by_hand}
    points = {label: [(one.costs[cost], one.top1) for one in some]
              for label, some in {**tried, "front": front}.items() if some}
    lines = {"front": [points.pop("front")]}
    chosen = [list(map(str, one.arch.blocks)) for one in front]
    choices = [list(map(str, block.distinct())) for block in space.blocks]
    source = "predicted" if asked["predictor"] else "held-out images"
    return {
        "Top-1 against cost: the front, all that was tried on the way, and the recipe's hand-made subnets":
            png(front_figure(lines, points, cost, source)),
        "How many subnets of the front make each choice, block by block":
            png(choices_figure(chosen, choices))}


def limits_text(asked: dict) -> str:
    """ "at most 30M MACs and 5 ms of latency", or "no limits". """
    parts = [f"{count(limit) if name != 'latency_ms' else format(limit, 'g')} {UNITS[name]}"
             for name, limit in asked["limits"].items()]
    return f"at most {' and '.join(parts)}" if parts else "no limits"


def facts(record: dict) -> str:
    """What was asked, as a sentence."""
    asked = record["search"]
    text = (f"{asked['method']}, {asked['evaluated']} distinct subnets of "
            f"<code>{escape(record['space'])}</code> at {asked['image_size']} pixels, fewest "
            f"{UNITS[asked['objective']]}, {limits_text(asked)}, seed {asked['search_seed']}; weights "
            f"<code>{escape(asked['weights'])}</code>.")
    if asked["predictor"]:
        text += (f" Top-1 came from the predictor <code>{escape(asked['predictor'])}</code>; the subnets "
                 "of its front were then evaluated: those shown are the front of these evaluations.")
    if asked["latency_table"]:
        text += f" Latency is the sum of the operations in <code>{escape(asked['latency_table'])}</code>."
    return f"<p>{text}</p>"


def front_table(rows: Sequence[dict]) -> str:
    """A row a subnet of the front, cheapest first."""
    columns = {key: column for key, column in COLUMNS.items() if key in rows[0]}
    titles = "".join(f"<th>{title}</th>" for title, _ in columns.values())
    lines = [f"<tr><th>#</th><th class=text>Subnet</th>{titles}</tr>"]
    for number, row in enumerate(rows, 1):
        cells = "".join(f"<td>{text(row[key])}</td>" for key, (_, text) in columns.items())
        lines.append(f"<tr><td>{number}</td><td class=text>{escape(row['subnet'])}</td>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def figure(caption: str, picture: bytes) -> str:
    """A picture inside the page."""
    data = base64.b64encode(picture).decode()
    return (f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")


def commands(number: int, subnet: str, asked: dict) -> str:
    """Command lines that evaluate, fine-tune and export one subnet of the front."""
    chosen = f"--weights {shlex.quote(asked['weights'])} --subnet {shlex.quote(subnet)}"
    return "\n".join([
        f"python runners/evaluate.py {chosen} --image-size {asked['image_size']}",
        f"python runners/finetune.py {chosen} --save subnet-{number}.h5",
        f"python runners/export.py {chosen} --image-size {asked['image_size']} "
        f"--format onnx --output subnet-{number}.onnx"])


def provenance(record: dict) -> str:
    """How to make the page again, and on what it was made."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (f"<footer><pre>{escape(record['command'])}</pre><p>{escape(record['date'])}, commit "
            f"{escape(str(record['commit']))}, {duration(record['seconds'])} on {escape(machine['cpu'])}, "
            f"{machine['cores']} cores, {escape(machine['gpu'] or 'no GPU')}, "
            f"{record['ranks']} process{'es' * (record['ranks'] > 1)}; {escape(versions)}</p></footer>")
