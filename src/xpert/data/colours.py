"""Colours as a picture states them -> sRGB: by its ICC profile, or by the gamma of a PNG.

Knows colour spaces; does not know where a picture comes from. A profile that is broken, of a device that shows nothing,
or of other colours than the picture has says nothing and is left aside, as browsers do.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_CLASSES = frozenset(("scnr", "mntr", "prtr", "spac"))
_LARGEST_PROFILE = 8 * 2**20
_USUAL_GAMMA = 1 / 2.2
_GAMMA_SLACK = 0.02
_STEPS = 17


@dataclass(frozen=True)
class _Profile:
    """How colours of one mode become sRGB; `same`: they are sRGB already, to one step of 255."""

    transform: Any
    same: bool


def to_srgb(picture: Image.Image, profile: bytes | None, gamma: float | None) -> Image.Image | None:
    """Colours in sRGB; None where they would have to be guessed.

    Relative colorimetric with black point compensation; colours that sRGB lacks become the nearest that lcms finds.

    Args:
        picture: in mode L, RGB or CMYK.
        profile: ICC profile that came with it.
        gamma: exponent that a PNG states instead of a profile, 1/2.2 for usual pictures.
    """
    known = _known(bytes(profile), picture.mode) if profile and len(profile) <= _LARGEST_PROFILE else None
    if known is None and picture.mode == "CMYK":
        return None
    if known is not None and not known.same:
        changed = ImageCms.applyTransform(picture, known.transform)
        return changed if changed is not None else picture.convert("RGB")
    if known is None and gamma is not None and 0.05 < gamma < 5 and abs(gamma - _USUAL_GAMMA) > _GAMMA_SLACK:
        table = _gamma_table(gamma)
        return picture.point(table * len(picture.getbands())).convert("RGB")
    return picture.convert("RGB")


@lru_cache(maxsize=16)
def _known(profile: bytes, mode: str) -> _Profile | None:
    """What a profile says of colours of a mode; None: nothing."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        stated = opened.profile
        if stated.xcolor_space.strip() != _SPACES[mode] or stated.device_class not in _CLASSES:
            return None
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        return _Profile(transform, mode != "CMYK" and _is_srgb(transform, mode))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError, MemoryError):
        return None


def _is_srgb(transform: Any, mode: str) -> bool:
    """Whether a transform leaves colours as they are, so that pictures in sRGB keep every value."""
    if mode == "L":
        values = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(values[..., None], 3, axis=2)
    else:
        steps = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
        values = expected = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    found = np.asarray(ImageCms.applyTransform(Image.fromarray(values), transform), dtype=np.int16)
    return bool(np.abs(found - expected).max() <= 1)


def _gamma_table(gamma: float) -> list[int]:
    """Values 0..255 of a picture with another gamma, as sRGB encodes the same light (IEC 61966-2-1)."""
    light = (np.arange(256) / 255) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return [int(value) for value in np.rint(encoded * 255)]
