"""A picture's colours are those that its file states: profiles, gamma, transparent values of any depth, orientation."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from xpert.data.decoding import decode_picture
from xpert.errors import DataError

# CIE xy of primaries and white (D65); the expectations below follow from them and the transfer curves alone.
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
WHITE = (0.3127, 0.3290)
D50 = (0.9642, 1.0, 0.8249)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xyz(place: tuple[float, float]) -> np.ndarray:
    x, y = place
    return np.array([x / y, 1.0, (1 - x - y) / y])


def to_xyz(primaries: Any) -> np.ndarray:
    """Linear RGB -> XYZ under D65."""
    columns = np.stack([xyz(one) for one in primaries], axis=1)
    return columns * np.linalg.solve(columns, xyz(WHITE))


def encode(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def decode(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def expected(colour: tuple[int, ...], primaries: Any, gamma: float | None) -> np.ndarray:
    """What a colour of a space is in sRGB, by matrices."""
    value = np.array(colour) / 255
    light = decode(value) if gamma is None else value**gamma
    return encode(np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries) @ light) * 255


def under_d50(primaries: Any) -> np.ndarray:
    """Linear RGB -> XYZ under D50, adapted as ICC profiles do."""
    scales = np.diag((BRADFORD @ D50) / (BRADFORD @ xyz(WHITE)))
    return np.linalg.inv(BRADFORD) @ scales @ BRADFORD @ to_xyz(primaries)


def profile(primaries: Any, gamma: float | None, space: bytes = b"RGB ") -> bytes:
    """An ICC profile of version 2 with matrix and curves, written by hand; grey where `space` says so."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def place(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(fixed(value) for value in values)

    steps = np.arange(1024) / 1023
    curve = np.rint((decode(steps) if gamma is None else steps**gamma) * 65535).astype(">u2").tobytes()
    tone = b"curv\0\0\0\0" + struct.pack(">I", 1024) + curve
    adapted = under_d50(primaries)
    text = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"plain\0" + bytes(78)
    tags = [(b"desc", text), (b"wtpt", place(D50)), (b"cprt", b"text\0\0\0\0none\0")]
    if space == b"RGB ":
        tags += [(name, place(adapted[:, n])) for n, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
        tags += [(name, tone) for name in (b"rTRC", b"gTRC", b"bTRC")]
    else:
        tags += [(b"kTRC", tone)]
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s4sI4s4s8xI", 2020, 1, 1, 0, 0, 0, b"acsp", b"APPL", 0, b"none", b"none", 1)
    return (head + b"".join(fixed(value) for value in D50)).ljust(128, b"\0") + table + body


def saved(picture: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **more)
    return stream.getvalue()


def pixel(content: bytes) -> np.ndarray:
    return np.asarray(decode_picture(content, "x"))[0, 0].astype(int)


@pytest.mark.parametrize(
    "colour", [(255, 0, 0), (200, 60, 40), (0, 255, 0), (30, 90, 220), (128, 128, 128), (255,) * 3]
)
@pytest.mark.parametrize(("primaries", "gamma"), [(DISPLAY_P3, None), (ADOBE, 2.19921875)])
def test_colours_of_a_wide_space_become_those_of_srgb(colour: Any, primaries: Any, gamma: float | None) -> None:
    content = saved(Image.new("RGB", (4, 4), colour), icc_profile=profile(primaries, gamma))
    # Colours that sRGB lacks are clipped channel by channel, as by the matrices.
    assert np.abs(pixel(content) - expected(colour, primaries, gamma)).max() <= 2


def test_a_red_of_display_p3_is_another_red() -> None:
    inside = saved(Image.new("RGB", (4, 4), (180, 90, 80)), icc_profile=profile(DISPLAY_P3, None))
    assert np.abs(pixel(inside) - (193, 83, 75)).max() <= 1
    assert list(pixel(saved(Image.new("RGB", (4, 4), (180, 90, 80))))) == [180, 90, 80]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG"])
def test_profiles_are_found_in_every_format(kind: str) -> None:
    more = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    content = saved(Image.new("RGB", (16, 16), (200, 60, 40)), kind, icc_profile=profile(DISPLAY_P3, None), **more)
    assert np.abs(pixel(content) - expected((200, 60, 40), DISPLAY_P3, None)).max() <= 6


def test_a_profile_applies_to_palettes_and_below_transparency() -> None:
    own = profile(DISPLAY_P3, None)
    right = expected((200, 60, 40), DISPLAY_P3, None)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([200, 60, 40])
    assert np.abs(pixel(saved(palette, icc_profile=own)) - right).max() <= 2
    half = pixel(saved(Image.new("RGBA", (2, 2), (200, 60, 40, 128)), icc_profile=own))
    assert np.abs(half - (right * 128 + 255 * 127) / 255).max() <= 3
    assert list(pixel(saved(Image.new("RGBA", (2, 2), (200, 60, 40, 0)), icc_profile=own))) == [255] * 3


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_grey_profile_is_honoured(mode: str) -> None:
    grey = profile(SRGB, 1.0, b"GRAY")
    value = np.full((2, 2), 128 if mode == "L" else 128 * 257, dtype=np.uint8 if mode == "L" else np.uint16)
    found = pixel(saved(Image.fromarray(value), icc_profile=grey))
    assert np.abs(found - encode(np.array(128 / 255)) * 255).max() <= 2


def test_pictures_in_srgb_keep_every_value() -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for one in (own, profile(SRGB, None)):
        assert np.array_equal(np.asarray(decode_picture(saved(Image.fromarray(noise), icc_profile=one), "x")), noise)


@pytest.mark.parametrize(
    "broken",
    [
        b"not a profile",
        bytes(128),
        profile(DISPLAY_P3, None)[:300],
        profile(SRGB, 1.0, b"GRAY"),  # of other colours than the picture
        profile(DISPLAY_P3, None).replace(b"mntr", b"link"),
        b"\xff" * 5000,
        profile(DISPLAY_P3, None)[:128] + b"\xff" * 400,
    ],
)
def test_a_profile_that_says_nothing_is_left_aside(broken: bytes) -> None:
    assert list(pixel(saved(Image.new("RGB", (2, 2), (200, 60, 40)), icc_profile=broken))) == [200, 60, 40]


def test_damaged_profiles_never_crash() -> None:
    whole, chance = profile(DISPLAY_P3, None), np.random.default_rng(2)
    picture = Image.new("RGB", (2, 2), (200, 60, 40))
    for _ in range(150):
        damaged = bytearray(whole)
        for place in chance.integers(0, 400, 4):
            damaged[place] = int(chance.integers(256))
        decode_picture(saved(picture, icc_profile=bytes(damaged)), "x")


def test_cmyk_is_read_where_a_profile_says_what_it_means_and_refused_otherwise() -> None:
    picture = Image.new("CMYK", (8, 8), (0, 200, 200, 0))
    for more in ({}, {"icc_profile": b"broken"}, {"icc_profile": profile(DISPLAY_P3, None)}):
        with pytest.raises(DataError, match="in CMYK colours.*convert it to sRGB"):
            decode_picture(saved(picture, "JPEG", **more), "x")


def ink_profile() -> bytes:
    """A printer's profile with a table of 2 x 2 x 2 x 2 colours: full inks mix as ideal filters do."""
    table = []
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        place = under_d50(SRGB) @ (np.array([1 - c, 1 - m, 1 - y]) * (1 - k)) / D50
        f = np.where(place > 0.008856, np.cbrt(place), 7.787 * place + 16 / 116)
        lab = (116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2]))
        table += [round(lab[0] * 2.55), round(lab[1] + 128), round(lab[2] + 128)]
    straight = bytes(range(256))
    unit = b"".join(struct.pack(">i", 65536 * (n % 4 == 0)) for n in range(9))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + straight * 4 + bytes(table) + straight * 3
    head = struct.pack(">I4sI4s4s4s", 144 + len(lut), b"none", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H4s4sI4s4s8xI", 2020, 1, 1, 0, 0, 0, b"acsp", b"APPL", 0, b"none", b"none", 1)
    white = b"".join(struct.pack(">i", round(value * 65536)) for value in D50)
    return (head + white).ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(lut)) + lut


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
@pytest.mark.parametrize(
    ("inks", "right"), [((0, 255, 255, 0), (255, 0, 0)), ((255, 0, 255, 0), (0, 255, 0)), ((0, 0, 0, 0), (255,) * 3)]
)
def test_inks_become_the_colours_of_their_profile(kind: str, inks: Any, right: Any) -> None:
    content = saved(Image.new("CMYK", (16, 16), inks), kind, icc_profile=ink_profile())
    assert np.abs(pixel(content) - right).max() <= 10  # a step of the table's 8 bits


@pytest.mark.parametrize(("gamma", "changed"), [(1.0, True), (0.45455, False), (1 / 1.8, True), (0.0, False)])
def test_the_gamma_of_a_png_counts_where_nothing_else_is_stated(gamma: float, changed: bool) -> None:
    chunk = gamma_chunk(gamma)
    right = round(float(encode((np.array(128) / 255) ** (1 / gamma))) * 255) if changed else 128
    assert list(pixel(png(8, 2, [bytes([128, 128, 128])], chunk))) == [right] * 3
    assert list(pixel(png(8, 2, [bytes([128, 128, 128])], chunk + one("sRGB", b"\0")))) == [128] * 3


def gamma_chunk(gamma: float) -> bytes:
    return one("gAMA", struct.pack(">I", round(gamma * 100_000)))


def one(name: str, body: bytes) -> bytes:
    kind = name.encode()
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(depth: int, colours: int, rows: list[bytes], more: bytes = b"", width: int = 1) -> bytes:
    header = one("IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colours, 0, 0, 0))
    data = one("IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + more + data + one("IEND", b"")


GREY, COLOUR, PALETTE, GREY_ALPHA = 0, 2, 3, 4
W = [255, 255, 255]


@pytest.mark.parametrize(
    ("depth", "colours", "row", "transparent", "right"),
    [
        (16, GREY, struct.pack(">3H", 1000, 1001, 257 * 9), struct.pack(">H", 1000), [W, [4] * 3, [9] * 3]),
        (16, GREY, struct.pack(">3H", 0, 257, 65535), struct.pack(">H", 0), [W, [1] * 3, W]),
        (8, GREY, bytes([10, 11, 0]), struct.pack(">H", 10), [W, [11] * 3, [0] * 3]),
        (4, GREY, bytes([0x34, 0x00]), struct.pack(">H", 3), [W, [68] * 3, [0] * 3]),
        (2, GREY, bytes([0b01100000]), struct.pack(">H", 1), [W, [170] * 3, [0] * 3]),
        (1, GREY, bytes([0b01000000]), struct.pack(">H", 0), [W, W, W]),
        (1, GREY, bytes([0b01000000]), struct.pack(">H", 1), [[0] * 3, W, [0] * 3]),
        (8, COLOUR, bytes([1, 2, 3, 1, 2, 4, 0, 0, 0]), struct.pack(">3H", 1, 2, 3), [W, [1, 2, 4], [0] * 3]),
        (
            16,
            COLOUR,
            struct.pack(">9H", 1000, 2000, 3000, 1001, 2000, 3000, 0, 0, 0),
            struct.pack(">3H", 1000, 2000, 3000),
            [W, [3, 7, 11], [0] * 3],
        ),
        (8, PALETTE, bytes([0, 1, 2]), bytes([0, 255, 128]), [W, [0, 80, 0], [127, 127, 207]]),
    ],
)
def test_a_transparent_value_is_white_and_all_others_stay(
    depth: int, colours: int, row: bytes, transparent: bytes, right: list[list[int]]
) -> None:
    palette = one("PLTE", bytes([80, 0, 0, 0, 80, 0, 0, 0, 160])) if colours == PALETTE else b""
    content = png(depth, colours, [row], palette + one("tRNS", transparent), width=3)
    found = np.asarray(decode_picture(content, "x"))[0].astype(int)
    assert np.abs(found - right).max() <= (1 if colours == PALETTE else 0)


def test_deep_grey_with_alpha_and_deep_colours() -> None:
    grey = png(16, GREY_ALPHA, [struct.pack(">4H", 257 * 40, 65535, 257 * 40, 0)], width=2)
    assert np.asarray(decode_picture(grey, "x"))[0].tolist() == [[40] * 3, W]
    assert list(pixel(png(16, COLOUR, [struct.pack(">3H", 257 * 9, 65535, 0)]))) == [9, 255, 0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_pictures_of_every_format_are_turned_upright(kind: str) -> None:
    lying = Image.new("RGB", (16, 8), (0, 0, 255))
    lying.paste((255, 0, 0), (0, 0, 8, 8))
    exif = lying.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top
    found = decode_picture(saved(lying, kind, exif=exif), "x")
    assert found.size == (8, 16) and found.getpixel((4, 2))[0] > 200 and found.getpixel((4, 13))[2] > 200


def test_formats_that_start_other_programs_are_no_pictures() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n%%EOF\n"
    with pytest.raises(DataError, match="x is no picture that can be read"):
        decode_picture(eps, "x")
