"""Contact sheets: pictures that show many images in a grid, each with a caption."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_LINE = 14  # height of a caption, in pixels
_GAP = 4    # between images, in pixels


def contact_sheet(images: np.ndarray, captions: Sequence[str], columns: int) -> Image.Image:
    """A grid of images. Those below 96 pixels are enlarged by a whole number.

    Args:
        images: uint8 (n, S, S, 3), RGB.
        captions: n texts, each above its image. A caption is cut off where the next one of its row
            begins; "" leaves its room to the one before.
        columns: the number of images in a row, from 1.
    """
    enlarged = max(1, 96 // images.shape[1])
    side, font = images.shape[1] * enlarged, ImageFont.load_default(size=10)
    width, height = side + _GAP, side + _LINE + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, -(-len(images) // columns) * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, caption) in enumerate(zip(images, captions)):
        x, y = _GAP + i % columns * width, _GAP + i // columns * height
        sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST), (x, y + _LINE))
        others = captions[i + 1:(i // columns + 1) * columns]
        room = side + width * next((n for n, other in enumerate(others) if other), len(others))
        while draw.textlength(caption, font=font) > room:
            caption = caption[:-1]
        draw.text((x, y), caption, fill="black", font=font)
    return sheet
