"""Pairs of pictures on a page, small and inside the page itself, so that it needs nothing from elsewhere.

Knows files of pictures; never sees who painted them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from xpert.records import PicturePair
from xpert.reporting.markup import Markup, element

_SIDE = 160
MOST = 12


def gallery(pairs: Sequence[PicturePair], *, labels: tuple[str, str], most: int = MOST) -> Markup:
    """The first pairs side by side, each over its caption.

    Args:
        pairs: reference and response.
        labels: what the two are called, such as ("base", "personalized").
        most: so many pairs at most.
    """
    figures = [
        element(
            "figure",
            element("div", _picture(pair, labels, 0), _picture(pair, labels, 1), class_="two"),
            element("figcaption", pair.prompt),
            class_="pair",
        )
        for pair in pairs[:most]
    ]
    legend = element("p", f"left: {labels[0]}, right: {labels[1]}", class_="quiet")
    left = len(pairs) - most
    more = [element("p", f"and {left} more pairs", class_="quiet")] if left > 0 else []
    return element("div", legend, element("div", *figures, class_="gallery"), *more, class_="panel")


def _picture(pair: PicturePair, labels: tuple[str, str], side: int) -> Markup:
    from PIL import Image

    file = (pair.reference, pair.response)[side]
    with Image.open(file) as opened:
        small = opened.convert("RGB")
        small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
        buffer = io.BytesIO()
        small.save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return element("img", src=f"data:image/png;base64,{data}", alt=f"{labels[side]}: {pair.prompt}", loading="lazy")
