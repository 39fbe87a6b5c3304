"""The bytes of one picture file -> a picture in RGB, or an error that says what is wrong with it.

Knows Pillow and colours; does not know where the bytes come from, nor captions.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from xpert.errors import DataError

MAX_PIXELS = 64 * 10**6
"""Pixels that one picture may have: a bound against decompression bombs."""

_EIGHT_BITS = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr", "HSV"}
_WAY_OUT = "save it again as PNG or JPEG, or take it out"


def decode_picture(content: bytes, where: str) -> Image.Image:
    """A picture in RGB, 8 bits a channel, upright: EXIF orientation applied, alpha laid over white.

    Grey pictures of 16 bits are divided by 257; of an animation the first frame is taken.

    Args:
        content: of a file in any format that Pillow reads.
        where: file and row, for errors.

    Raises:
        DataError: no picture, truncated or damaged, more than `MAX_PIXELS`, or colours that would have to be guessed
            (CMYK, LAB, floating-point).
    """
    if not content:
        raise DataError(f"{where} is empty: {_WAY_OUT}")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise _too_large(where, f"{width} x {height} pixels")
            if opened.mode not in _EIGHT_BITS and not opened.mode.startswith("I"):
                raise _colours(where, opened.mode)
            opened.load()
            return _rgb(ImageOps.exif_transpose(opened), where)
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
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"picture {file} cannot be read ({error.strerror or error}): check path and rights") from error
    return decode_picture(content, f"picture {file}")


def _too_large(where: str, size: str) -> DataError:
    return DataError(f"{where} has {size}, at most {MAX_PIXELS} are read: scale it down")


def _colours(where: str, mode: str) -> DataError:
    return DataError(
        f"{where} is in {mode} colours, which would have to be guessed: convert it to sRGB, 8 bits a channel"
    )


def _rgb(picture: Image.Image, where: str) -> Image.Image:
    if picture.mode.startswith("I"):
        picture = _eight_bits(picture, where)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _eight_bits(picture: Image.Image, where: str) -> Image.Image:
    """A grey picture of 16 bits as one of 8: 0..65535 becomes 0..255."""
    import numpy as np

    values: Any = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise _colours(where, "32-bit grey")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
