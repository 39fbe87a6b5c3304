"""Picture files: what Pillow writes in many formats and modes, PNGs made by hand, each damaged, too large or lying."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import samples
from fuzz.cases import CANARY, BrokenLawError, Case
from fuzz.guard import Bait
from fuzz.mutations import mutate_bytes

_PNG = b"\x89PNG\r\n\x1a\n"
_FORMATS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("PNG", ".png", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")), ("JPEG", ".jpg", ("L", "RGB", "CMYK", "YCbCr")),
    ("WEBP", ".webp", ("RGB", "RGBA", "L")), ("GIF", ".gif", ("L", "P", "RGB", "RGBA")), ("BMP", ".bmp", ("1", "L",
    "P", "RGB", "RGBA")),
    ("TIFF", ".tif", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "LAB", "YCbCr")), ("TIFF", ".tiff",
    ("RGB", "L")),
    ("PPM", ".png", ("RGB", "L", "1")), ("ICO", ".png", ("RGBA", "RGB")), ("TGA", ".jpg", ("RGB", "RGBA")), ("PCX",
    ".bmp", ("RGB", "L")),
    ("SGI", ".png", ("RGB", "L")), ("IM", ".png", ("RGB", "F", "I")), ("DDS", ".png", ("RGBA", "RGB")), ("EPS", ".jpg",
    ("RGB", "L")),
    ("PDF", ".jpg", ("RGB",)), ("JPEG2000", ".jpg", ("RGB", "RGBA", "L")), ("ICNS", ".png", ("RGBA",)), ("AVIF",
    ".png", ("RGB", "RGBA")),
    ("SPIDER", ".tif", ("F",)), ("MPO", ".jpg", ("RGB",)), ("QOI", ".png", ("RGB", "RGBA")), ("XBM", ".png", ("1",)),
)  # fmt: skip


def prepare(room: Path) -> None:
    """Pillow's plugins in memory."""
    from PIL import Image

    Image.init()
    read(Case(samples.write(room / "first.png", _by_hand(random.Random(0))[1]), "first"), None)


def make(rng: random.Random, folder: Path, _shared: Any, _bait: Bait) -> Case:
    """One file."""
    name, content, how = make_picture(rng)
    return Case(samples.write(folder / name, content), how)


def make_picture(rng: random.Random) -> tuple[str, bytes, str]:
    """A name, bytes, and how they were made."""
    kind = rng.choices((_by_pillow, _png, _large, _tiff, _jpeg, _noise), (45, 25, 6, 8, 12, 4))[0]
    name, content, how = kind(rng)
    if rng.random() < 0.45:
        content, how = mutate_bytes(rng, content), f"{how}: bytes"
    return name, content, how


def _by_pillow(rng: random.Random) -> tuple[str, bytes, str]:
    from PIL import Image

    kind, suffix, modes = rng.choice((*_FORMATS[:6], *_FORMATS))
    mode = rng.choice(modes)
    size = (rng.choice((1, 2, 7, 16, 33)), rng.choice((1, 3, 16, 40)))
    picture = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
    picture = Image.new("I;16", size, rng.randrange(65536)) if mode == "I;16" else _converted(picture, mode)
    options: dict[str, Any] = {}
    if kind in ("GIF", "WEBP", "TIFF", "PNG") and rng.random() < 0.3:
        options = {"save_all": True, "append_images": [picture.copy()] * rng.choice((1, 3)), "duration": 0}
    if kind in ("PNG", "JPEG", "WEBP", "TIFF") and rng.random() < 0.3:
        options["icc_profile"] = rng.choice((_srgb(), _srgb()[:100], mutate_bytes(rng, _srgb()), b"", b"x" * 5000))
    if kind in ("PNG", "JPEG", "WEBP") and rng.random() < 0.3:
        exif = Image.Exif()
        exif[0x0112] = rng.choice((1, 3, 6, 8, 9, 0, 65535))
        exif[0x010E] = CANARY
        options["exif"] = exif.tobytes() if rng.random() < 0.6 else mutate_bytes(rng, exif.tobytes())
    if kind in ("PNG", "GIF") and mode in ("P", "L", "1", "RGB") and rng.random() < 0.4:
        options["transparency"] = (
            rng.choice((0, 255, b"\x00\x80", (1, 2, 3))) if mode == "P" else 0 if mode != "RGB" else (1, 2, 3)
        )
    if kind == "TIFF":
        options["compression"] = rng.choice((None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"))
    stream = io.BytesIO()
    for chosen in (options, {}):
        try:
            picture.save(stream, kind, **chosen)
            break
        except Exception:  # Pillow does not write these together, or is built without the format
            stream = io.BytesIO()
    else:
        return "me" + suffix, _by_hand(rng)[1], "PNG"
    return "me" + suffix, stream.getvalue(), f"{kind} {mode}"


def _converted(picture: Any, mode: str) -> Any:
    if mode == "LAB":
        from PIL import ImageCms

        return ImageCms.profileToProfile(
            picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    return picture.convert(mode)


def _srgb() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def chunk(name: bytes, content: bytes, check: int | None = None) -> bytes:
    """One chunk of a PNG."""
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content) if check is None else check)
    )


def _by_hand(rng: random.Random) -> tuple[str, bytes]:
    bits, colour, channels = rng.choice(
        (
            (8, 2, 3),
            (8, 6, 4),
            (8, 0, 1),
            (16, 0, 1),
            (16, 2, 3),
            (16, 6, 4),
            (16, 4, 2),
            (1, 0, 1),
            (4, 3, 1),
            (8, 3, 1),
        )
    )
    width, height = rng.choice((1, 5, 16)), rng.choice((1, 4, 16))
    line = (width * bits * channels + 7) // 8
    rows = b"".join(bytes([rng.randrange(5)]) + rng.randbytes(line) for _ in range(height))
    said = (width, height, bits, colour, 0, 0, rng.choice((0, 0, 0, 1)))
    if rng.random() < 0.15:
        said = rng.choice(((0, height, *said[2:]), (2**31 - 1, 2**31 - 1, *said[2:]), (width, 60000, *said[2:]),
        (width, height, 3, colour, 0, 0, 0),
                           (width, height, bits, 5, 0, 0, 0), (width, height, bits, colour, 9, 9, 9), (2**32 - 1, 1,
                           *said[2:])))  # fmt: skip
    middle: list[bytes] = []
    extras: tuple[Callable[[], bytes], ...] = (
        lambda: chunk(
            b"tRNS", rng.choice((b"\x00\x10", b"\x00\x01\x00\x02\x00\x03", rng.randbytes(rng.randrange(300)), b""))
        ),
        lambda: chunk(b"gAMA", struct.pack(">I", rng.choice((45455, 0, 1, 2**32 - 1, 100000)))),
        lambda: chunk(
            b"iCCP",
            b"icc\0\0" + zlib.compress(rng.choice((_srgb(), b"", bytes(20_000_000), mutate_bytes(rng, _srgb())))),
        ),
        lambda: chunk(
            b"eXIf",
            rng.choice(
                (
                    b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
                    rng.randbytes(30),
                    b"II*\0" + b"\xff" * 40,
                )
            ),
        ),
        lambda: chunk(b"tEXt", b"Comment\0" + CANARY.encode() * rng.choice((1, 5000))),
        lambda: chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(rng.choice((10, 50_000_000))))),
        lambda: chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(30_000_000))),
        lambda: chunk(b"cHRM", rng.randbytes(32)),
        lambda: chunk(b"sRGB", bytes([rng.randrange(256)])),
        lambda: chunk(b"acTL", struct.pack(">II", rng.choice((0, 2, 2**31)), 0)),
        lambda: chunk(b"XXXX", rng.randbytes(9)),
        lambda: chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 3, 8, 2, 0, 0, 0)),
        lambda: chunk(b"IEND", b""),
    )
    for _ in range(rng.choice((0, 1, 1, 2))):
        middle.append(rng.choice(extras)())
    palette = (
        chunk(b"PLTE", rng.randbytes(rng.choice((48, 768, 3, 2, 0)))) if colour == 3 or rng.random() < 0.05 else b""
    )
    data = zlib.compress(rows if rng.random() < 0.85 else rng.choice((rows[:-3], rows * 3, b"", bytes(40_000_000))))
    check = rng.choice((None, None, None, None, 0))
    return "me.png", _PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", *said)) + palette + b"".join(middle) + chunk(
        b"IDAT", data, check
    ) + chunk(b"IEND", b"")


def _png(rng: random.Random) -> tuple[str, bytes, str]:
    return (*_by_hand(rng), "PNG by hand")


def _large(rng: random.Random) -> tuple[str, bytes, str]:
    """Far more pixels than bytes: some at the bound, some beyond."""
    width, height = rng.choice(
        ((20_000, 20_000), (65_535, 65_535), (3000, 3000), (100_000, 2000), (1, 2**20), (8001, 8001), (200_000, 1))
    )
    if width * height > 10**8:
        data = zlib.compress(bytes(10_000_000))
    else:
        data = zlib.compress(bytes(((width + 7) // 8 + 1) * height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return "me.png", _PNG + head + chunk(b"IDAT", data) + chunk(b"IEND", b""), f"a large PNG, {width} x {height}"


def _tiff(rng: random.Random) -> tuple[str, bytes, str]:
    """A TIFF by hand: tags of any type, number and offset."""
    tags = [
        (256, 4, 1, 8),
        (257, 4, 1, 8),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 200),
        (277, 3, 1, 1),
        (278, 4, 1, 8),
        (279, 4, 1, 64),
    ]
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(len(tags))
        tag, kind, count, value = tags[at]
        tags[at] = rng.choice(((tag, kind, count, rng.choice((0, 2**31, 2**32 - 1, 65535, 8, 7, 5, 34712, 50001))),
        (tag, rng.randrange(20), count, value),
                               (tag, kind, rng.choice((0, 2, 2**31, 2**32 - 1)), value), (rng.choice((330, 34665,
                               34675, 347, 320, 700)), kind, count, value)))  # fmt: skip
    body = (
        struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + struct.pack("<I", rng.choice((0, 0, 8, 2**32 - 1)))
    )
    return "me.tif", (b"II*\0\x08\0\0\0" + body).ljust(200, b"\0") + rng.randbytes(64), "TIFF by hand"


def _jpeg(rng: random.Random) -> tuple[str, bytes, str]:
    """A JPEG with segments put in, or with other sizes in its head."""
    from PIL import Image

    stream = io.BytesIO()
    Image.frombytes("RGB", (16, 16), rng.randbytes(768)).save(
        stream, "JPEG", progressive=rng.random() < 0.3, quality=rng.choice((1, 50, 95))
    )
    raw = stream.getvalue()
    marker, content = rng.choice(((0xE1, b"Exif\0\0" + rng.randbytes(40)), (0xE2,
    b"ICC_PROFILE\0\x01\x01" + _srgb()[:3000]), (0xE2, b"ICC_PROFILE\0\x09\x03x"),
                                  (0xE2, b"MPF\0" + rng.randbytes(30)), (0xFE, CANARY.encode()), (0xEE,
                                  b"Adobe\0d\0\0\0\0\x02"), (0xED,
                                  b"Photoshop 3.0\08BIM" + rng.randbytes(20))))  # fmt: skip
    raw = (
        raw[:2]
        + struct.pack(">BBH", 0xFF, marker, rng.choice((len(content) + 2, len(content) + 2, 2, 0, 65535)))
        + content
        + raw[2:]
    )
    at = raw.find(b"\xff\xc0")
    if at > 0 and rng.random() < 0.3:
        raw = (
            raw[: at + 5]
            + struct.pack(">HH", rng.choice((0, 1, 65535, 17)), rng.choice((0, 1, 65535, 17)))
            + raw[at + 9 :]
        )
    return "me.jpg", raw, "JPEG by hand"


def _noise(rng: random.Random) -> tuple[str, bytes, str]:
    starts = (
        _PNG,
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"BM",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"II*\0",
        b"",
        b"%!PS-Adobe",
        b"\0\0\1\0",
        b"8BPS",
        b"qoif",
        b"<svg>",
    )
    return (
        rng.choice(("me.png", "me.jpg", "me.gif", "me.webp")),
        rng.choice(starts) + rng.randbytes(rng.randrange(200)),
        "noise",
    )


def check_picture(picture: Any) -> None:
    """RGB, of a size that is bounded."""
    from xpert.data.decoding import MAX_PIXELS

    if picture.mode != "RGB":
        raise BrokenLawError("gives a picture that is not RGB", picture.mode)
    if not 0 < picture.width * picture.height <= MAX_PIXELS:
        raise BrokenLawError("gives a picture without bound", f"{picture.width} x {picture.height}")


def read(case: Case, _shared: Any) -> None:
    """Decode a picture twice."""
    from xpert.data.decoding import read_picture_file

    first = read_picture_file(case.source)
    check_picture(first)
    if read_picture_file(case.source).tobytes() != first.tobytes():
        raise BrokenLawError("decodes otherwise the second time", case.how)
