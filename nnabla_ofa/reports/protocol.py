"""What a record is here, and what a module of pages has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Protocol, Sequence

if TYPE_CHECKING:  # at run time only where pictures are drawn: it takes a second to import
    from matplotlib.figure import Figure

Record = Dict[str, Any]  # one run, as system/record_rules.py describes it
Row = Dict[str, Any]  # one of a record's "results" or "history"
Cells = Dict[str, Any]  # one row of a table: {title of the column: what `str` shows}
Rows = Sequence[Row]
Records = Sequence[Record]
Table = List[Cells]


class PageModule(Protocol):
    """A module that makes pages of results/, and their pictures, from records alone."""

    COMMANDS: Dict[str, str]
    """{file name of a page: the command that makes its records}, of pages that do not show it."""

    def pages(self, records: Records) -> Dict[str, str]:
        """{file name: Markdown}. The first line is the title. Empty without records of this kind."""

    def figures(self, records: Records) -> Dict[str, Figure]:
        """{file name: picture}, of all pictures that the pages show."""
