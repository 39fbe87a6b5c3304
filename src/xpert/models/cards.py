"""The card of a model: what it states for programs, and that it was written with the files beside it.

A card that XPerT wrote has an `xpert_seal`: SHA-256 over the digest of the model's files and the entries under `xpert`.
It shows that a byte of those changed. Cards of others, and of before there were seals, have none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError

CARD = "README.md"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_CARD_CAP_BYTES = 2**16
_NESTING = ("[", "{", "?", "&", "*", "- -")
_MOST_MARKS = 500
_SEAL = "xpert_seal"
_SEALED = re.compile(r'^xpert_seal: "|seal.{0,3}[0-9a-f]{40}|^[^\n]{10}: "[0-9a-f]{64}"$', re.MULTILINE | re.DOTALL)
"""The line of a seal, whichever of its bytes changed."""


def write_card(folder: Path, text: str, digest: str) -> None:
    """Write a card with a seal; one that states nothing for programs is written as it is.

    Args:
        folder: of the model; its files are written.
        text: of the card.
        digest: of the model's files, as its reader takes it.
    """
    facts = _facts(text)
    if facts:
        text = text.replace("\nxpert:\n", f'\n{_SEAL}: "{_seal_of(facts, digest)}"\nxpert:\n', 1)
    (folder / CARD).write_text(text, encoding="utf-8")


def check_card(path: Path, digest: str) -> None:
    """See that a card was written with the files beside it; one without a seal, or none at all, says nothing.

    Args:
        path: of the card.
        digest: of the model's files.

    Raises:
        DamagedModelError: it was written with others.
    """
    if not path.is_file():
        return
    text = _read(path)
    if not _SEALED.search(text):
        return
    stated = _front(text).get(_SEAL)
    if stated is not None and stated == _seal_of(_facts(text), digest):
        return
    raise DamagedModelError(
        f"the files in {path.parent} are not those that its {CARD} was written with: one of them was damaged or "
        f"changed; get them again, or take the line {_SEAL!r} out of {path} if the change was meant"
    )


def _seal_of(facts: Mapping[str, Any], digest: str) -> str | None:
    """The seal of what a card states; None where no card of ours states it, as where it holds itself."""
    try:
        told = json.dumps(facts, sort_keys=True, default=str)
    except (ValueError, TypeError, RecursionError):
        return None
    return hashlib.sha256(f"{digest}\n{told}".encode()).hexdigest()


def card_facts(path: Path) -> Mapping[str, Any]:
    """The `xpert` mapping of a model card; a missing or broken card says nothing."""
    return _facts(_read(path)) if path.is_file() else {}


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_CARD_CAP_BYTES).decode("utf-8", "replace")


def _facts(text: str) -> Mapping[str, Any]:
    own = _front(text).get("xpert")
    return own if isinstance(own, dict) else {}


def _front(text: str) -> Mapping[str, Any]:
    import yaml

    front = _FRONT_MATTER.match(text)
    if front is None or "<<" in front[1]:  # merged mappings can grow without bound (2^n from n lines)
        return {}
    if max(map(front[1].count, _NESTING)) > _MOST_MARKS:  # the reader is slow where much is nested
        return {}
    try:
        whole = yaml.safe_load(front[1])
    except Exception:  # a stranger's advice: whatever YAML breaks on, it gives no facts
        return {}
    return whole if isinstance(whole, dict) else {}


def merged_parents(folder: Path) -> tuple[tuple[str, float], ...]:
    """Digests and weights of what an adapter was merged from, as its card states them; empty where it states none."""
    card = card_facts(folder / CARD)
    digests, weights = card.get("parents"), card.get("weights")
    if not isinstance(digests, list) or not isinstance(weights, list) or len(digests) != len(weights):
        return ()
    stated = list(zip(digests, weights, strict=True))
    sound = all(isinstance(d, str) and _DIGEST.fullmatch(d) and _is_weight(w) for d, w in stated)
    return tuple((str(d), float(w)) for d, w in stated) if sound else ()


def _is_weight(value: object) -> bool:
    """A number that a merge can have; no truth value, NaN, or whole number that no float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**31


def card_digest(card: Mapping[str, Any], key: str) -> str | None:
    """A digest that a card states under a key; None where it states none, or no digest."""
    value = card.get(key)
    return value.lower() if isinstance(value, str) and _DIGEST.fullmatch(value.lower()) else None
