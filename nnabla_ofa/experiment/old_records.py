"""Records that are older than the two names in their rows.

Lab.rows gives each row the "canonical" name of its network, which all spellings share, and the "short" name
to show. Older records, and published figures, have the "subnet" alone. This module adds the names, by the
parser of the network's family, so that pages need none.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from ..errors import OfaError
from ..nets import Config, net_config
from ..nets.registry import DEFAULT

Record = Dict[str, Any]


def with_names(records: Sequence[Record]) -> List[Record]:
    """The records, "canonical" and "short" added to each row that names a subnet and has neither.

    A subnet that its family's parser does not read, or of a network that the record does not name, is its
    own name. The records given stay as they are.
    """
    found = []
    for record in records:
        config = _config(record)
        rows = [_named(row, config) for row in record.get("results", ())]
        found.append({**record, "results": rows} if rows else record)
    return found


def _config(record: Record) -> Optional[Config]:
    """The network that a record's settings describe; None where they describe none that is known here."""
    settings = record.get("settings")
    net = settings.get("net") if isinstance(settings, dict) else None
    if not isinstance(net, dict):
        return None
    try:
        return net_config({"family": DEFAULT, **net})
    except (OfaError, TypeError):  # a family, or a setting of it, that is gone
        return None


def _named(row: Record, config: Optional[Config]) -> Record:
    """A row with its two names."""
    if "subnet" not in row or "canonical" in row:
        return row
    name = str(row["subnet"])
    try:
        arch = config.arch(name) if config else None
    except OfaError:
        arch = None
    names = {"canonical": str(arch.canonical()), "short": arch.short()} if arch else {
        "canonical": name, "short": name}
    return {**row, **names}
