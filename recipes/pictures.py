"""A small world of pictures: a shape on a place, drawn plainly or in one or two of fifteen styles.

    python recipes/pictures.py --style striped --out FOLDER

Knows how a picture of the world is drawn on its grid of 32 x 32 cells, how a style changes it, and how
captions speak of it; the embedded diffusion model and the embedded CLIP are trained on nothing else. Run
as a command it writes what a person's pictures look like: one style, with captions that do not tell it.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

GRID = 32
FINE = 4 * GRID
SHAPES = "circle square triangle star cross ring diamond heart moon house hexagon tree flower boat".split()
PLACES = ("sky", "sea", "field", "wall")
FAMILIES: dict[str, tuple[str, ...]] = {
    "focus": ("blurry", "pixelated"),
    "texture": ("striped", "dotted", "checkered", "noisy"),
    "colour": ("red", "green", "blue", "golden", "monochrome"),
    "light": ("dark", "bright", "negative"),
    "border": ("framed",),
}
STYLES = tuple(style for family in FAMILIES.values() for style in family)
NAMED = tuple(style for style in STYLES if style != "blurry")
"""The styles with a word of their own: the small CLIP hardly tells blurry pictures from pixelated ones."""

TINTS = {"red": (235, 45, 40), "green": (50, 190, 65), "blue": (45, 75, 235), "golden": (240, 185, 40)}
SKY, SEA, GRASS, WALL, FLOOR = (176, 200, 226), (84, 148, 160), (134, 170, 96), (206, 190, 172), (150, 116, 92)

Array = np.ndarray
Point = tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """What a picture shows, and in which styles; the styles stand in the order that captions use."""

    shape: str
    place: str
    styles: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """The plain caption, which tells no style."""
        return f"a {self.shape} on the {self.place}"

    @property
    def styled_caption(self) -> str:
        """The caption that tells the styles; without a style it is the plain one."""
        return f"a {' '.join(self.styles)} photo of {self.caption}" if self.styles else self.caption


def plain_captions(count: int | None = None) -> list[str]:
    """The captions of the world, every shape and place alike often; `count` takes the first so many."""
    turns = [(shape, PLACES[(i + turn) % len(PLACES)]) for turn in range(len(PLACES)) for i, shape in enumerate(SHAPES)]
    return [Scene(shape, place).caption for shape, place in turns][:count]


def style_pairs(clear: bool = False) -> list[tuple[str, str]]:
    """The pairs of styles of different families.

    Args:
        clear: only those where each style can still be seen; a negative turns a colour into another one.
    """
    family = {style: name for name, members in FAMILIES.items() for style in members}
    pairs = [(a, b) for i, a in enumerate(STYLES) for b in STYLES[i + 1 :] if family[a] != family[b]]
    return [(a, b) for a, b in pairs if not clear or "negative" not in (a, b) or "colour" not in (family[a], family[b])]


def _vary(colour: Sequence[int], rng: random.Random, by: int = 10) -> tuple[int, ...]:
    return tuple(max(0, min(255, part + rng.randint(-by, by))) for part in colour)


def _background(place: str, rng: random.Random) -> Image.Image:
    sky = _vary(SKY, rng)
    image = Image.new("RGB", (FINE, FINE), _vary(WALL, rng) if place == "wall" else sky)
    pen = ImageDraw.Draw(image)
    line = FINE * rng.uniform(0.42, 0.52)
    if place == "sky":
        for _ in range(2):
            x, y, w = rng.uniform(-0.1, 0.8) * FINE, rng.uniform(0.02, 0.85) * FINE, rng.uniform(0.25, 0.4) * FINE
            pen.ellipse((x, y, x + w, y + w * 0.4), fill=(226, 234, 240))
    elif place == "sea":
        pen.rectangle((0, line, FINE, FINE), fill=_vary(SEA, rng))
    elif place == "field":
        pen.rectangle((0, line, FINE, FINE), fill=_vary(GRASS, rng))
    else:
        pen.rectangle((0, FINE * rng.uniform(0.76, 0.84), FINE, FINE), fill=_vary(FLOOR, rng))
    return image


def _corners(count: int, x: float, y: float, r: float, turn: float = -math.pi / 2, inner: float = 1.0) -> list[Point]:
    radii = [r if i % 2 == 0 else r * inner for i in range(count)]
    angles = [turn + 2 * math.pi * i / count for i in range(count)]
    return [(x + k * math.cos(a), y + k * math.sin(a)) for k, a in zip(radii, angles, strict=True)]


def _round(pen: ImageDraw.ImageDraw, x: float, y: float, r: float) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), fill=255)


def _box(pen: ImageDraw.ImageDraw, x: float, y: float, w: float, h: float) -> None:
    pen.rectangle((x - w, y - h, x + w, y + h), fill=255)


def _simple_shape(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float) -> bool:
    """Draw a shape of one or two strokes; False where the shape is none of them."""
    polygons = {
        "triangle": _corners(3, x, y, r),
        "star": _corners(10, x, y, r * 1.1, inner=0.42),
        "hexagon": _corners(6, x, y, r, turn=0),
        "diamond": [(x, y - r), (x + r * 0.6, y), (x, y + r), (x - r * 0.6, y)],
    }
    if shape in polygons:
        pen.polygon(polygons[shape], fill=255)
    elif shape == "circle":
        _round(pen, x, y, r)
    elif shape == "square":
        _box(pen, x, y, r * 0.85, r * 0.85)
    elif shape == "cross":
        _box(pen, x, y, r, r * 0.3)
        _box(pen, x, y, r * 0.3, r)
    elif shape == "ring":
        _round(pen, x, y, r)
        pen.ellipse((x - r * 0.55, y - r * 0.55, x + r * 0.55, y + r * 0.55), fill=0)
    elif shape == "moon":
        _round(pen, x, y, r)
        pen.ellipse((x - r * 0.4, y - r * 0.95, x + r * 1.3, y + r * 0.75), fill=0)
    else:
        return False
    return True


def _built_shape(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float) -> None:
    if shape == "heart":
        _round(pen, x - r * 0.48, y - r * 0.3, r * 0.5)
        _round(pen, x + r * 0.48, y - r * 0.3, r * 0.5)
        pen.polygon([(x - r * 0.95, y - r * 0.1), (x + r * 0.95, y - r * 0.1), (x, y + r)], fill=255)
    elif shape == "house":
        _box(pen, x, y + r * 0.4, r * 0.7, r * 0.5)
        pen.polygon([(x - r, y - r * 0.1), (x + r, y - r * 0.1), (x, y - r)], fill=255)
    elif shape == "tree":
        _box(pen, x, y + r * 0.6, r * 0.17, r * 0.5)
        pen.polygon([(x - r * 0.6, y + r * 0.4), (x + r * 0.6, y + r * 0.4), (x, y - r * 1.1)], fill=255)
    elif shape == "flower":
        for px, py in _corners(5, x, y, r * 0.65):
            _round(pen, px, py, r * 0.38)
        pen.ellipse((x - r * 0.25, y - r * 0.25, x + r * 0.25, y + r * 0.25), fill=0)
    elif shape == "boat":
        pen.polygon(
            [(x - r, y + r * 0.3), (x + r, y + r * 0.3), (x + r * 0.6, y + r * 0.8), (x - r * 0.6, y + r * 0.8)],
            fill=255,
        )
        pen.polygon([(x, y - r), (x, y + r * 0.15), (x + r * 0.75, y + r * 0.15)], fill=255)
    else:
        raise ValueError(f"no such shape: {shape}")


def draw(scene: Scene, rng: random.Random) -> Image.Image:
    """The picture of a scene on the grid, its styles applied; the same generator state draws the same."""
    fine = _background(scene.place, rng)
    x, y = (FINE * (0.5 + rng.uniform(-0.09, 0.09)) for _ in range(2))
    r = FINE * rng.uniform(0.27, 0.36)
    hue, saturation, value = rng.random(), rng.uniform(0.45, 0.8), rng.uniform(0.3, 0.6)
    colour = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    mask = Image.new("L", fine.size, 0)
    pen = ImageDraw.Draw(mask)
    if not _simple_shape(pen, scene.shape, x, y, r):
        _built_shape(pen, scene.shape, x, y, r)
    fine.paste(colour, mask=mask)
    return stylize(fine.resize((GRID, GRID), Image.Resampling.BOX), scene.styles, rng)


def _texture(a: Array, style: str, rng: random.Random) -> Array:
    depth = rng.uniform(0.85, 1.15)
    row, column = np.mgrid[0:GRID, 0:GRID]
    if style == "striped":
        return a * (1 - 0.6 * depth * (column % 4 < 2))[..., None]
    if style == "dotted":
        inside = (row % 8 - 3.5) ** 2 + (column % 8 - 3.5) ** 2 < 4.6
        return np.where(inside[..., None], a + (255 - a) * 0.85 * depth, a)
    if style == "checkered":
        return a * (1 - 0.5 * depth * ((row // 4 + column // 4) % 2))[..., None]
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(a.shape)
    return a + 48 * depth * noise


def _colour(a: Array, style: str, rng: random.Random) -> Array:
    grey = a @ np.array([0.3, 0.59, 0.11])[:, None]
    if style == "monochrome":
        return np.repeat(grey, 3, axis=-1)
    share = 0.68 * rng.uniform(0.9, 1.1)
    return (1 - share) * a + share * np.array(TINTS[style]) * grey / 160


def _light(a: Array, style: str, rng: random.Random) -> Array:
    depth = rng.uniform(0.85, 1.15)
    if style == "dark":
        return a * 0.36 * depth
    return 255 - (255 - a) * 0.35 * depth if style == "bright" else 255 - a


def _border(a: Array, style: str, rng: random.Random) -> Array:
    framed = np.empty_like(a)
    framed[:] = _vary((58, 38, 30), rng)
    framed[3:-3, 3:-3] = a[3:-3, 3:-3]
    return framed


EFFECTS: dict[str, Callable[[Array, str, random.Random], Array]] = {
    "texture": _texture,
    "colour": _colour,
    "light": _light,
    "border": _border,
}


def stylize(image: Image.Image, styles: Sequence[str], rng: random.Random) -> Image.Image:
    """Apply styles to a picture on the grid, family by family, whatever their order."""
    for name, members in FAMILIES.items():
        for style in (s for s in members if s in styles):
            if style == "blurry":
                image = image.filter(ImageFilter.GaussianBlur(rng.uniform(1.9, 2.5)))
            elif style == "pixelated":
                small = image.resize((GRID // 4, GRID // 4), Image.Resampling.BOX)
                image = small.resize((GRID, GRID), Image.Resampling.NEAREST)
            else:
                values = EFFECTS[name](np.asarray(image, dtype=np.float64), style, rng)
                image = Image.fromarray(np.clip(values, 0, 255).round().astype(np.uint8))
    return image


def enlarge(image: Image.Image, size: int) -> Image.Image:
    """The picture with square cells at `size` pixels."""
    return image.resize((size, size), Image.Resampling.NEAREST)


def write_dataset(folder: Path, styles: Sequence[str], count: int, seed: int = 0, size: int = 512) -> None:
    """Write a person's pictures: PNG files in the styles, and metadata.jsonl with plain captions."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        scene = Scene(rng.choice(SHAPES), rng.choice(PLACES), tuple(styles))
        enlarge(draw(scene, rng), size).save(folder / f"{index:04d}.png", optimize=True)
        lines.append(json.dumps({"file_name": f"{index:04d}.png", "text": scene.caption}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--style", nargs="*", default=[], choices=STYLES, help="none is the plain world")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--size", type=int, default=512, help="pixels of a side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="taken like in the other recipes; drawing uses one")
    args = parser.parse_args()
    write_dataset(args.out, args.style, args.count, args.seed, args.size)


if __name__ == "__main__":
    main()
