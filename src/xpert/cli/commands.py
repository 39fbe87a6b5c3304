"""Commands that are printed, so that they can be run again as they stand. Knows texts only."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

_USUAL: Mapping[str, object] = {
    "device": "auto",
    "samples": 50,
    "image_column": "image",
    "caption_column": "text",
    "split": "train",
    "format": "auto",
}


def command_line(*words: object, **options: object) -> str:
    """A command for a shell: the words, then the options that say something, such as `num_sample=8`.

    What is None, False or the usual value is left out; True is an option without a value, a list one that is repeated.
    """
    parts = ["xpert", *(str(word) for word in words)]
    for name, value in ((name, one) for name, all_ in options.items() for one in _each(all_)):
        if value is None or value is False or value == _USUAL.get(name):
            continue
        parts.append("--" + name.replace("_", "-"))
        if value is not True:
            parts.append(str(value))
    return shlex.join(parts)


def _each(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]
