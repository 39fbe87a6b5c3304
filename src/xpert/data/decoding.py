"""The bytes of one picture file -> a picture in RGB, or an error that says what is wrong with it.

Knows Pillow and colours; does not know where the bytes come from, nor captions.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xpert.data.colours import to_srgb
from xpert.data.regular import open_regular
from xpert.data.transparency import clear_value, grey_alpha, raw_mode
from xpert.errors import DataError

MAX_PIXELS = 64 * 10**6
"""Pixels that one picture may have: a bound against decompression bombs."""

_EIGHT_BITS = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr", "HSV"}
_FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000"),
    *("PPM", "TGA", "ICO", "PSD", "PCX", "SGI", "QOI"),
)
"""What is decoded in this process, by code that opens nothing; EPS, for one, would start Ghostscript."""

_WAY_OUT = "save it again as PNG or JPEG, or take it out"


def decode_picture(content: bytes, where: str) -> Image.Image:
    """A picture in sRGB, 8 bits a channel, upright: EXIF orientation applied, alpha laid over white.

    An ICC profile is honoured, also of CMYK, and so is the gamma of a PNG that has neither profile nor sRGB mark. Grey
    pictures of 16 bits are divided by 257; of an animation the first frame is taken.

    Args:
        content: of a file: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 and some rarer ones.
        where: file and row, for errors.

    Raises:
        DataError: no picture, truncated or damaged, more than `MAX_PIXELS`, or colours that would have to be guessed
            (CMYK without a profile, LAB, floating-point).
    """
    if not content:
        raise DataError(f"{where} is empty: {_WAY_OUT}")
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise _too_large(where, f"{width} x {height} pixels")
            if opened.mode not in _EIGHT_BITS and opened.mode != "CMYK" and not opened.mode.startswith("I"):
                raise _colours(where, opened.mode)
            raw = raw_mode(opened)
            opened.load()
            return _rgb(_layer(ImageOps.exif_transpose(clear_value(opened, raw, content)), where), where)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(where, "far more pixels") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{where} is no picture that can be read: {_WAY_OUT}") from error
    except (
        Exception
    ) as error:  # damage shows as many things: OSError, SyntaxError, ValueError, struct.error, zlib.error
        raise DataError(f"{where} is truncated or damaged ({_short(error)}): {_WAY_OUT}") from error


def read_picture_file(file: Path) -> Image.Image:
    """The picture of a file, as `decode_picture` gives it.

    Raises:
        DataError: there is no such file, or no picture in it.
    """
    try:
        with open_regular(file) as stream:
            content = stream.read()
    except OSError as error:
        raise DataError(f"picture {file} cannot be read ({error.strerror or error}): check path and rights") from error
    return decode_picture(content, f"picture {file}")


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _too_large(where: str, size: str) -> DataError:
    return DataError(f"{where} has {size}, at most {MAX_PIXELS} are read: scale it down")


def _colours(where: str, mode: str) -> DataError:
    return DataError(
        f"{where} is in {mode} colours, which would have to be guessed: convert it to sRGB, 8 bits a channel"
    )


def _layer(picture: Image.Image, where: str) -> Image.Image:
    """The picture in mode L, RGB or CMYK, or in RGBA where some of it is transparent; what it says of itself stays."""
    if picture.mode.startswith("I"):
        layer = _eight_bits(picture, where)
    elif picture.has_transparency_data:
        layer = picture.convert("RGBA")
    elif picture.mode in ("L", "RGB", "CMYK"):
        return picture
    else:
        layer = picture.convert("L" if picture.mode == "1" else "RGB")
    layer.info = {key: value for key, value in picture.info.items() if key != "transparency"}
    return layer


def _rgb(picture: Image.Image, where: str) -> Image.Image:
    """Colours in sRGB, laid over white."""
    colours = picture.convert("RGB") if picture.mode == "RGBA" else picture
    profile, gamma = picture.info.get("icc_profile"), picture.info.get("gamma")
    stated = gamma if isinstance(gamma, float) and "srgb" not in picture.info else None
    found = to_srgb(colours, profile, stated)
    if found is None:
        raise _colours(where, colours.mode)
    if picture.mode != "RGBA":
        return found
    found.putalpha(picture.getchannel("A"))
    white = Image.new("RGBA", found.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, found).convert("RGB")


def _eight_bits(picture: Image.Image, where: str) -> Image.Image:
    """A grey picture of 16 bits as one of 8, 0..65535 as 0..255; with alpha where one value is transparent."""
    values: Any = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise _colours(where, "32-bit grey")
    grey, alpha = Image.fromarray(((values + 128) // 257).astype(np.uint8)), grey_alpha(values, picture)
    if alpha is None:
        return grey
    layer = grey.convert("RGBA")
    layer.putalpha(alpha)
    return layer


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
