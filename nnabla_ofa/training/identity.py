"""What an earlier result must share with the run that takes it up: settings, seed, classes, images."""

from __future__ import annotations

import json
from typing import Dict, Mapping

from ..errors import OfaError

# Of these only that they differ can be shown.
CHECKSUMS = {"data.labels": "labels", "data.class_names": "class names",
             "data.content": "images (names and sizes)", "start weights": "start weights",
             "teacher": "teacher"}
# These follow from the seed: which images are held out, and new weights.
SEEDED = ("data.labels", "data.content", "start weights")


def refuse_changes(what: str, before: Mapping[str, object], now: Mapping[str, object],
                   unknown: Mapping[str, object]) -> None:
    """OfaError in one line, naming what differs, if an earlier result belongs to another run.

    Args:
        what: The earlier result, as the error begins.
        before, now: What it was made with, and what this run has, by name. A name that only one of
            them has differs.
        unknown: What `before` would say, of a result that is older than the name.
    """
    now, unknown = _flat(now), _flat(unknown)
    before = {**{key: unknown[key] for key in unknown if key in now}, **_flat(before)}
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    shown = [_shown(key, before.get(key), now.get(key)) for key in changed
             if "seed" not in changed or key not in SEEDED]
    if shown:
        raise OfaError(f"{what} with other settings ({'; '.join(shown)}): undo the change, choose "
                       "another --output, or say --accept-changes")


def _flat(values: Mapping[str, object]) -> Dict[str, object]:
    """As a file has them, the keys of nested mappings joined by dots."""
    found: Dict[str, object] = {}
    for key, value in json.loads(json.dumps(values)).items():
        found.update({f"{key}.{inner}": own for inner, own in _flat(value).items()}
                     if isinstance(value, dict) else {key: value})
    return found


def _shown(key: str, before: object, now: object) -> str:
    return f"other {CHECKSUMS[key]}" if key in CHECKSUMS else f"{key}: {before} -> {now}"
