"""Whether a model folder needs code of its own, which is never run: a name of a model may come from a stranger.

Knows small JSON files; imports nothing that they name. Whoever loads passes `trust_remote_code=False` besides.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xpert.errors import DamagedModelError

_KEY = "auto_map"


def refuse_code(folder: Path) -> None:
    """Refuse a folder that cannot be read without Python code of its own.

    `auto_map` names that code. It may stand beside a type that transformers has itself (Phi-3 is published so); then
    transformers' own class is read.

    Raises:
        DamagedModelError: config.json or tokenizer_config.json names code, and transformers has nothing in its place.
    """
    config, tokenizer = folder / "config.json", folder / "tokenizer_config.json"
    if _KEY in (stated := _stated(config)) and not _is_type(stated.get("model_type")):
        raise _refused(config, "type", stated.get("model_type"))
    if _KEY in (stated := _stated(tokenizer)) and not _is_class(stated.get("tokenizer_class")):
        raise _refused(tokenizer, "tokenizer", stated.get("tokenizer_class"))


def _stated(file: Path) -> dict[str, Any]:
    """What a file says; nothing where it is missing or damaged; loading says so."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_type(name: object) -> bool:
    from transformers import CONFIG_MAPPING

    return isinstance(name, str) and name in CONFIG_MAPPING


def _is_class(name: object) -> bool:
    import transformers

    return isinstance(name, str) and "Tokenizer" in name and hasattr(transformers, name)


def _refused(file: Path, what: str, name: object) -> DamagedModelError:
    return DamagedModelError(
        f"{file} names Python code to run ({_KEY}) for its {what} {str(name)[:100]!r}, which transformers does not "
        "have itself; code that comes with a model is not run: give a model that transformers knows, or install a "
        "newer transformers"
    )
