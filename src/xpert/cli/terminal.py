"""Where things go: results to stdout, progress and remarks to stderr, one JSON document with --json.

Knows streams and Rich; nothing of models.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpert.printing import escaped_json, printable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType

    from xpert.cli.progress import Progress


@dataclass(frozen=True)
class Terminal:
    """The way out of a command.

    Args:
        json: results as one JSON document, everything else silent.
        quiet: results, and no progress.
    """

    json: bool = False
    quiet: bool = False

    def show(self, *renderables: RenderableType) -> None:
        """Print a result for people; with --json nothing."""
        if self.json:
            return
        from xpert.cli.consoles import HarmlessConsole

        console = HarmlessConsole(highlight=False, markup=False)
        for renderable in renderables:
            console.print(renderable, soft_wrap=isinstance(renderable, str))

    def emit(self, value: BaseModel | Mapping[str, Any]) -> None:
        """Print a result for programs; without --json nothing."""
        if self.json:
            whole = value if isinstance(value, Mapping) else value.model_dump(mode="json")
            text = json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False, default=_plain)
            print(escaped_json(text), flush=True)

    def note(self, text: str) -> None:
        """A remark on stderr; silent with --json and --quiet."""
        if not (self.json or self.quiet):
            print(printable(text), file=sys.stderr)

    @contextmanager
    def progress(self, *, libraries: bool = True, pictures: bool = False) -> Iterator[Progress]:
        """Bars on stderr while the block runs, and libraries that keep quiet.

        Args:
            libraries: False where transformers may be missing.
            pictures: True where diffusers is used, too.
        """
        from xpert.cli.progress import Progress
        from xpert.models.preparing import preparing

        _quiet_libraries()
        with Progress(silent=self.json or self.quiet) as progress:
            if libraries:
                _quiet_transformers()
            if pictures:
                _quiet_diffusers()
            with preparing(progress.stage):
                yield progress


def _plain(value: Any) -> Any:
    """What JSON does not know: records and paths."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else str(value)


def _quiet_libraries() -> None:
    """Keep bars and warnings of the libraries below off the terminal; XPERT_DEBUG=1 lets them speak."""
    if os.environ.get("XPERT_DEBUG"):
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    for name in ("transformers", "peft", "huggingface_hub", "sentence_transformers", "datasets", "torch", "diffusers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _quiet_transformers() -> None:
    """The same for what transformers does by itself; imports it."""
    if os.environ.get("XPERT_DEBUG"):
        return
    from transformers.utils import logging as speech

    speech.set_verbosity_error()  # type: ignore[no-untyped-call]
    speech.disable_progress_bar()  # type: ignore[no-untyped-call]


def _quiet_diffusers() -> None:
    """The same for diffusers; imports it."""
    if os.environ.get("XPERT_DEBUG"):
        return
    from diffusers.utils import logging as speech

    speech.set_verbosity_error()
    speech.disable_progress_bar()
