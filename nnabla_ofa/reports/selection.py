"""Which of all records a page is of."""

from __future__ import annotations

from typing import Dict, List, Optional

from .protocol import Record, Records


def of_kind(records: Records, kind: str, name: Optional[str] = None) -> List[Record]:
    """The records of a kind.

    Args:
        records: To choose from.
        kind: As in `system.record_rules.KINDS`.
        name: The records' "name"; None: any, or none.

    Returns:
        Those found, in their order.
    """
    return [record for record in records
            if record["kind"] == kind and name in (None, record.get("name"))]


def by_name(records: Records, recipe: str) -> Dict[str, Record]:
    """{name: record} of one benchmark, whose records have its name as their recipe."""
    return {record["name"]: record for record in records if record["recipe"] == recipe}
