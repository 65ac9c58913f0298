"""Pictures of records, a file each. They are drawn without pyplot, which has global state."""

from .predictions import agreement_figure
from .style import png, save

__all__ = ["agreement_figure", "png", "save"]
