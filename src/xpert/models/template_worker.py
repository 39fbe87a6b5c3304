"""Renders chat templates in a process of its own, where an endless or huge one costs nobody else anything.

Run by `xpert.models.templates`, as a script; imports jinja2 and nothing of xpert. One JSON object a line comes in,
one goes out:

    {"template", "variables", "conversations"}  ->  {"texts": [...]} or {"error": "..."}

A template is a program of a stranger. It runs in jinja2's sandbox, without network, files or modules; processor time,
memory and length of the text are bounded, and the kernel ends the process where time is up. What changes from day to
day or from run to run is fixed: the date, and whatever is random.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import jinja2.utils

TODAY = datetime(2024, 7, 26)
"""The date that every template sees: a text must not change from one day to the next."""

CPU_SECONDS = 0.5
MOST_CHARACTERS = 2**20
"""What a template may add to the messages."""

_MEMORY_BYTES = 2**29
_compiled: dict[str, jinja2.Template] = {}


class _OverrunError(Exception):
    """More than a template may have."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant says; the text is that of its body."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 has it

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _refuse(message: object = "") -> str:
    raise jinja2.exceptions.TemplateError(str(message))


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Namespace(jinja2.utils.Namespace):
    """A namespace that no name with an underscore in front can be put into, as in transformers."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        given = dict(*rest, **kwargs)
        for name in given:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError("a namespace holds no names that start with an underscore")


def _environment() -> jinja2.Environment:
    """What transformers gives to a template, except the date."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["namespace"] = _Namespace
    environment.globals["strftime_now"] = lambda form: TODAY.strftime(form)
    return environment


def _render(environment: jinja2.Environment, asked: dict[str, Any]) -> list[str]:
    source = asked["template"]
    if source not in _compiled:
        _compiled[source] = environment.from_string(source)
    texts = []
    for messages in asked["conversations"]:
        random.seed(0)
        pieces, left = [], MOST_CHARACTERS + 2 * len(json.dumps(messages))
        for piece in _compiled[source].generate(messages=messages, **asked["variables"]):
            left -= len(piece)
            if left < 0:
                raise _OverrunError(f"its text is longer than {MOST_CHARACTERS} characters")
            pieces.append(piece)
        texts.append("".join(pieces))
    return texts


def _answer(environment: jinja2.Environment, line: str) -> dict[str, Any]:
    asked = json.loads(line)
    _allow(CPU_SECONDS)
    try:
        return {"texts": _render(environment, asked)}
    except _OverrunError as error:
        return {"error": str(error), "overrun": True}
    except MemoryError:
        return {"error": "it wants too much memory", "overrun": True}
    except RecursionError:
        return {"error": "it calls itself too often", "overrun": True}
    except Exception as error:  # anything may come out of a stranger's program
        # The message may hold what was asked, which is the person's.
        told = str(error) if asked.get("tells") else ""
        return {"error": f"{type(error).__name__}: {told}".rstrip(": ")[:300]}
    finally:
        _allow(0)


def _allow(seconds: float) -> None:
    """From now on so much processor time; then the kernel ends the process, in whatever code it is."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _bound_resources() -> None:
    """No more memory than enough, and no file, socket or other process beside those that are open."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in (("RLIMIT_AS", _MEMORY_BYTES), ("RLIMIT_CORE", 0), ("RLIMIT_NOFILE", 3), ("RLIMIT_NPROC", 0)):
        with suppress(AttributeError, OSError, ValueError):  # macOS lacks some
            resource.setrlimit(getattr(resource, kind), (most, most))


def _import_the_rest(environment: jinja2.Environment) -> None:
    """What jinja2 imports only when a template fails, while files can still be opened."""
    filters = "{{ 'a <b>' | striptags | wordwrap | urlize | indent | pprint }}{{ lipsum(1) }}{{ strftime_now('%c') }}"
    for source in ("{% if %}", "{{ raise_exception('x') }}", filters):
        with suppress(Exception):
            environment.from_string(source).render()


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    environment = _environment()
    _import_the_rest(environment)
    _bound_resources()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(environment, line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
