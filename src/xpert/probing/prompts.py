"""The probe prompts, versioned by their digest. Fifty of our own; any list of texts can take their place."""

from __future__ import annotations

from importlib.resources import files

VERSION = "v1"


def default_prompts() -> tuple[str, ...]:
    """The fifty prompts that every pLLM is asked."""
    text = files("xpert.probing").joinpath(f"prompts_{VERSION}.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line.strip())
