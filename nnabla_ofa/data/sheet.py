"""Contact sheets: images with their labels in a grid, to look at."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_LINE = 14  # pixels of a caption
_GAP = 4


def contact_sheet(images: np.ndarray, captions: Sequence[str], columns: int) -> Image.Image:
    """A grid of `images`, uint8 (n, S, S, 3), each above its caption; small ones are enlarged."""
    enlarged = max(1, 96 // images.shape[1])
    side = images.shape[1] * enlarged
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (side + _GAP) + _GAP, rows * (side + _LINE + _GAP) + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for i, (image, caption) in enumerate(zip(images, captions)):
        x, y = _GAP + i % columns * (side + _GAP), _GAP + i // columns * (side + _LINE + _GAP)
        sheet.paste(Image.fromarray(image).resize((side, side), Image.NEAREST), (x, y))
        while draw.textlength(caption, font=font) > side and len(caption) > 1:
            caption = caption[:-1]
        draw.text((x, y + side + 1), caption, fill="black", font=font)
    return sheet
