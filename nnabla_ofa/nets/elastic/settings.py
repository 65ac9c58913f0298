"""What the configurations of all elastic families check alike."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from ...errors import require


def require_settings(config: Any, family: str, own: Dict[str, Tuple[bool, str]]) -> None:
    """OfaError that names the first setting out of range.

    Args:
        config: The configuration.
        family: The only name that it may have.
        own: Rules of the family's own settings, as `errors.require` takes them.
    """
    require(config, "net", {
        "family": (config.family == family, family),
        "classes": (config.classes >= 1, "1 or more"),
        **own,
        "dropout": (0 <= config.dropout < 1, "in [0, 1)"),
        "bn_eps": (config.bn_eps > 0, "positive"),
        "bn_decay": (0 <= config.bn_decay < 1, "in [0, 1)")})
