"""Valid input -> input that strangers send: JSON changed in its structure, JSON written wrongly, bytes changed.

Knows values and bytes; nothing of what they mean. Everything is drawn from the generator that is given.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

PLANTED_MODULE = "xpert_fuzz_planted_module"
"""A name that hostile files give for code; importing it is a fault."""

TEXTS = (
    "", " ", "x", "0", "null", "NaN", "a" * 3000, "é" * 50, "日本語のテキスト", "👩‍👩‍👧‍👦" * 3, "\u202egnp.exe",
    "\x1b[31mred\x1b[0m\x07",
    "\u2028line\u2029", "\ufeffbom", "a\nb\r\nc\rd", '"quoted", and; more\t', "{{ 7 * 7 }}", "{% for x in range(99) %}",
    "../../etc/hostname", "/etc/hostname", "/dev/zero", "file:///etc/hostname", "ftp://127.0.0.1/x", "=1+1", "%s%n",
    "\\", "\x7f",
    "<script>alert(1)</script>", "-" * 80, "a\u0301" * 40, PLANTED_MODULE, f"{PLANTED_MODULE}.Thing",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**400,
           0.0, -0.0, 0.5, 7.5, 1e-320, 1e-45, 1e38, 1e308, -1e308)  # fmt: skip
_DEPTHS = (3, 50, 900, 5000, 100_000)


class Literal(str):
    """Text that `dumps` writes as it stands: what JSON has no value for."""


LITERALS = tuple(
    map(
        Literal,
        ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "01", "1_000", "'x'", "undefined", "True", "None",
         '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', "1" * 5000, "[" * 2000 + "]" * 2000,
         '{"a":' * 500 + "1" + "}" * 500),
    )
)  # fmt: skip


def hostile(rng: random.Random, depth: int = 0) -> Any:
    """A value of any kind."""
    kind = rng.randrange(11)
    if kind < 3:
        return rng.choice(TEXTS)
    if kind < 6:
        return rng.choice(NUMBERS)
    if kind < 8:
        return rng.choice((None, True, False, [], {}))
    if kind == 8 or depth > 2:
        return rng.choice(LITERALS)
    if kind == 9:
        return [hostile(rng, depth + 1) for _ in range(rng.randrange(1, 4))]
    return {rng.choice(TEXTS): hostile(rng, depth + 1) for _ in range(rng.randrange(1, 4))}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a JSON value, but for its own."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in inner:
        found += [(*path, key), *places(item, (*path, key))]
    return found


def mutate_json(rng: random.Random, value: Any, times: int | None = None) -> Any:
    """A copy with values replaced, removed, doubled, renamed, wrapped, unwrapped or swapped."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 5)) if times is None else times):
        paths = places(value)
        if not paths:
            return hostile(rng)
        _mutate_at(rng, value, rng.choice(paths), paths)
    return value


def _mutate_at(rng: random.Random, whole: Any, path: tuple[Any, ...], paths: list[tuple[Any, ...]]) -> None:
    parent = _at(whole, path[:-1])
    key = path[-1]
    match rng.randrange(10):
        case 0 | 1 | 2 | 3:
            parent[key] = hostile(rng)
        case 4:
            del parent[key]
        case 5:
            parent[key] = rng.choice(([parent[key]], {"value": parent[key]}, str(parent[key]), [parent[key]] * 50))
        case 6 if isinstance(parent, dict):
            parent[_renamed(rng, str(key))] = parent.pop(key)
        case 6 | 7 if isinstance(parent, list):
            parent.insert(rng.randrange(len(parent) + 1), rng.choice((parent[key], hostile(rng))))
        case 7:
            parent[rng.choice(TEXTS)] = hostile(rng)
        case 8:
            parent[key] = copy.deepcopy(_at(whole, rng.choice(paths)))
        case _ if isinstance(parent[key], str):
            parent[key] = spoil_text(rng, parent[key])
        case _:
            parent[key] = rng.choice(NUMBERS)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _renamed(rng: random.Random, name: str) -> str:
    return rng.choice((name.upper(), f" {name}", name[:-1], f"{name}s", name.replace("o", "\u043e"), f"{name}\u200b"))


def spoil_text(rng: random.Random, text: str) -> str:
    """The same text with something odd in it."""
    at = rng.randrange(len(text) + 1)
    odd = rng.choice(
        (*TEXTS[2:], "\n\n", "\n", "\r", "\t", "\x00", "\x85", "\u00a0", ",", ";", '"', "'", "---", "\ufffd")
    )
    return rng.choice((text[:at] + odd + text[at:], odd + text, text + odd, text[:at], text * 3))


def dumps(value: Any) -> str:
    """JSON, with every `Literal` as it stands."""
    found: list[str] = []

    def marked(item: Any) -> Any:
        if isinstance(item, Literal):
            found.append(str(item))
            return f"\ue000{len(found) - 1}\ue001"
        if isinstance(item, dict):
            return {key: marked(inner) for key, inner in item.items()}
        return [marked(inner) for inner in item] if isinstance(item, list) else item

    try:
        text = _plain_dumps(marked(value))
    except RecursionError:  # a mutation of something that was nested deeply before
        return "[" * 5000 + "]" * 5000
    for number, literal in enumerate(found):
        text = text.replace(f'"\ue000{number}\ue001"', literal)
    return text


def _plain_dumps(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except ValueError:  # whole numbers of more digits than Python prints
        return json.dumps(value, ensure_ascii=False, default=str)


def misspell(rng: random.Random, text: str) -> bytes:
    """JSON text -> bytes that say nearly the same, in a way that some parsers take and others do not."""
    raw = text.encode("utf-8", "surrogatepass")
    ways: list[Callable[[], bytes]] = [
        lambda: b"\xef\xbb\xbf" + raw,
        lambda: text.encode("utf-16", "surrogatepass"),
        lambda: text.encode("utf-16-le", "surrogatepass"),
        lambda: text.encode("latin-1", "replace"),
        lambda: b"// comment\n" + raw,
        lambda: raw.replace(b"}", b",}", 1),
        lambda: raw.replace(b'"', b"'"),
        lambda: raw + b"\x00",
        lambda: raw + raw,
        lambda: raw + b" trailing",
        lambda: b"",
        lambda: b" \n\t ",
        lambda: raw.replace(b"{", b'{"__proto__": 1, "__proto__": 2, ', 1),
        lambda: b"[" * (deep := rng.choice(_DEPTHS)) + raw + b"]" * deep,
        lambda: b'{"a":' * (deep := rng.choice(_DEPTHS)) + raw + b"}" * deep,
        lambda: b" " * 2_000_000 + raw,
        lambda: mutate_bytes(rng, raw),
        lambda: mutate_bytes(rng, raw),
    ]
    return rng.choice(ways)()


def mutate_bytes(rng: random.Random, raw: bytes, times: int | None = None) -> bytes:
    """A copy with bits flipped, bytes cut, doubled, inserted or set to extremes."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16)) if times is None else times):
        if not data:
            return bytes(rng.randbytes(rng.randrange(64)))
        at, span = rng.randrange(len(data)), rng.choice((1, 1, 2, 4, 8, 64, 512))
        match rng.randrange(9):
            case 0 | 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22))
            case 3:
                del data[at:]
            case 4:
                del data[at : at + span]
            case 5:
                data[at:at] = data[at : at + span]
            case 6:
                data[at:at] = rng.randbytes(span)
            case 7:
                data[at : at + span] = bytes([rng.choice((0, 0xFF))]) * span
            case _:
                other = rng.randrange(len(data))
                data[at : at + span] = data[other : other + span]
    return bytes(data)
