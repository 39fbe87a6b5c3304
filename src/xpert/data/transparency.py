"""Transparency of PNGs that name one transparent value, at the depth that the file has. Knows the tRNS chunk only.

Pillow brings grey of 2 and 4 bits to 8, and colours of 16 bits, but compares them with the value as it stands.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_GREY_STEPS = {"L;2": (3, 85), "L;4": (15, 17), "L": (255, 1)}
_DEEP, _DEEP_LOW = "RGB;16B", "RGB;16L"


def raw_mode(opened: Image.Image) -> str:
    """How the values of an opened picture lie in its file, empty where that is not known; asked before `load`."""
    tiles = getattr(opened, "tile", None) or []
    args = tiles[0][3] if len(tiles) == 1 else None
    found = args[0] if isinstance(args, tuple) and args else args
    return found if isinstance(found, str) else ""


def clear_value(picture: Image.Image, raw: str, content: bytes) -> Image.Image:
    """A picture whose transparent value has the depth of its own values.

    Args:
        picture: loaded.
        raw: what `raw_mode` said of it.
        content: the bytes of its file.

    Returns:
        The picture; of grey of 16 bits, and of colours of 16 bits, with alpha in place of the value.
    """
    value = picture.info.get("transparency")
    if picture.format != "PNG" or value is None or isinstance(value, bytes):
        return picture
    if picture.mode == "L" and isinstance(value, int) and raw in _GREY_STEPS:
        most, step = _GREY_STEPS[raw]
        picture.info["transparency"] = (value & most) * step
    elif picture.mode == "RGB" and raw == _DEEP:
        values = np.asarray(picture).astype(np.uint16) << 8 | _low_bytes(content)
        return _with_alpha(picture, (values != np.array(value, dtype=np.uint16)).any(axis=2))
    elif picture.mode == "RGB" and isinstance(value, tuple):
        picture.info["transparency"] = tuple(one & 255 for one in value)
    return picture


def grey_alpha(values: np.ndarray, picture: Image.Image) -> Image.Image | None:
    """The alpha of a grey picture of 16 bits, by its own values; None where all of it is opaque."""
    value = picture.info.get("transparency")
    if not isinstance(value, int):
        return None
    return Image.fromarray(np.where(values == value, 0, 255).astype(np.uint8))


def _with_alpha(picture: Image.Image, opaque: np.ndarray) -> Image.Image:
    picture.info.pop("transparency")
    layer = picture.copy()
    layer.putalpha(Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8)))
    return layer


def _low_bytes(content: bytes) -> np.ndarray:
    """The low bytes of a PNG with colours of 16 bits; Pillow keeps the high ones."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as again:
        again.tile = [tile._replace(args=_DEEP_LOW) for tile in again.tile]
        again.load()
        return np.asarray(again).astype(np.uint16)
