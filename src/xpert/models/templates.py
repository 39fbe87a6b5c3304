"""What a chat template makes of messages, computed in a process that can be ended.

Knows a process and JSON; nothing of tokenizers or models. See `template_worker` for the bounds.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xpert.errors import DataError, ModelError
from xpert.models.template_worker import CPU_SECONDS

Message = Mapping[str, Any]
_WORKER = Path(__file__).with_name("template_worker.py")
_START_SECONDS = 30.0
_HAS_TIMER = os.name == "posix"
_WALL_SECONDS = 10.0 if _HAS_TIMER else 1.0
"""Where the kernel counts processor time, the clock on the wall is only for a process that hangs otherwise."""


class TemplateError(ModelError):
    """A template that raises, never ends, or makes too much."""


class TemplateOverrunError(TemplateError):
    """One that wants more time, memory or text than it may have."""


class _Worker:
    """One process; started when first asked, again after it was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the worker says.

        Raises:
            TemplateOverrunError: its time was up.
        """
        with self._lock:
            process = self._started()
            told = self._exchange(process, json.dumps(request), _WALL_SECONDS)
            if not told:
                self._end()
                raise TemplateOverrunError(f"it does not come to an end within {CPU_SECONDS} seconds of processor time")
            answer: dict[str, Any] = json.loads(told)
            return answer

    def _started(self) -> subprocess.Popen[str]:
        # A child of `fork` must not talk to its parent's worker.
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env={**os.environ, "TZ": "UTC", "PYTHONHASHSEED": "0"},
            )
            ready = {"template": "", "variables": {}, "conversations": [[]]}
            if not self._exchange(self._process, json.dumps(ready), _START_SECONDS):
                self._end()
                raise ModelError(
                    "the process that renders chat templates does not start: install jinja2 3.1.6 or newer"
                )
        return self._process

    @staticmethod
    def _exchange(process: subprocess.Popen[str], line: str, seconds: float) -> str:
        """The answer to a line; empty where the process ended, or was ended when its time was up."""
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline()
        except (OSError, ValueError):
            return ""
        finally:
            timer.cancel()

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None

    def close(self) -> None:
        """End the process; asking again starts one."""
        with self._lock:
            self._end()


_WORKER_HERE = _Worker()
atexit.register(_WORKER_HERE.close)


def render_template(
    template: str, conversations: Sequence[Sequence[Message]], variables: Mapping[str, Any], *, tells: bool = True
) -> list[str]:
    """The text of each conversation.

    Args:
        template: jinja2, as transformers understands it.
        conversations: messages of each.
        variables: what the template may use besides.
        tells: the error may say what the template says, because nothing personal is in the conversations.

    Raises:
        TemplateError: the text of the error is the reason only; the caller knows whose template it is.
    """
    if not isinstance(template, str):
        raise TemplateError(f"it is a {type(template).__name__}, not a text")
    answer = _WORKER_HERE.ask(
        {
            "template": template,
            "conversations": [[dict(message) for message in messages] for messages in conversations],
            "variables": dict(variables),
            "tells": tells,
        }
    )
    if "error" in answer:
        raise (TemplateOverrunError if answer.get("overrun") else TemplateError)(answer["error"])
    texts: list[str] = answer["texts"]
    if any(map(_half, texts)):
        raise TemplateError("its text holds half a character")
    return texts


def refuse_halves(texts: Iterable[str]) -> None:
    """Refuse what no tokenizer reads: half a character, as text that is no UTF-8 becomes in Python.

    Raises:
        DataError: one holds some.
    """
    for found in filter(None, map(_half, texts)):
        raise DataError(
            f"a prompt holds half a character (U+{ord(found):04X}, a lone surrogate): give whole characters, as UTF-8"
        )


def _half(text: str) -> str | None:
    """The first half of a character that stands alone."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return text[error.start]
    return None
