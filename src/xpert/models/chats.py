"""What a model reads before it answers: the prompt inside its chat template, the same on any day.

Knows tokenizers and texts; never sees a model. A chat template is a program of whoever made the model; what it makes of
one user turn is almost always prefix + prompt + suffix. It is asked for that frame once, and what it says of a few
prompts is compared; then the frame is used, here and on a device. A template that drops or changes a prompt is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from xpert.errors import DamagedModelError
from xpert.models.templates import TemplateError, TemplateOverrunError, refuse_halves, render_template
from xpert.models.thoughts import thinking_off

_MARK, _SAID = "Xpert7Mark", "Xpert7Said"
TRIED = (
    "  with space around \n",
    "two\nlines {{ braces }}",
    "ünïcödé 语 🙂",
    "a",
    '<b>"It\'s" & that</b>',
    "Upper  lower,\ttwice \\n %s [x] `code`",
    "one of many words " * 100 + "is the last",
)
"""Prompts that a template must leave as they are, except the space around them."""

_ROLES = ("assistant", "model", "bot", "gpt", "response")
THINKING_OFF = {"enable_thinking": False, "thinking": False}
"""Answers are wanted, not thoughts: names by which templates are told so."""


@dataclass(frozen=True, slots=True)
class Frame:
    """From a prompt to the text that the model reads.

    Attributes:
        prefix: before the prompt.
        suffix: after it, up to where the answer starts.
        strip: whether white space around the prompt is taken off.
        empty: the whole text where nothing is asked.
    """

    prefix: str
    suffix: str
    strip: bool
    empty: str

    def around(self, prompt: str) -> str:
        """The whole text."""
        if not prompt:
            return self.empty
        return self.prefix + (prompt.strip() if self.strip else prompt) + self.suffix


def render_chat(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str | None = None) -> str:
    """The text up to where the answer starts.

    With a chat template: a user turn, after a system turn where one is given (models whose template knows no system
    turn, or drops it, get it in front of the prompt). Without: `{system}\\n\\n{prompt}\\n\\n`.

    Raises:
        DamagedModelError: the template fails, never ends, or drops or changes what is asked.
    """
    return render_chats(tokenizer, [prompt], system)[0]


def render_chats(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], system: str | None = None) -> list[str]:
    """`render_chat` of each prompt."""
    refuse_halves((*prompts, system or ""))
    template = chat_template(tokenizer)
    if template is None:
        return ["".join(f"{part}\n\n" for part in (system, prompt) if part) for prompt in prompts]
    chat = _chat(template, _variables(tokenizer), system or None)
    asked = [f"{system}\n\n{prompt}" for prompt in prompts] if system and not chat.hears_system else prompts
    if chat.frame is not None:
        return [chat.frame.around(prompt) for prompt in asked]
    texts = chat.texts(asked)
    for prompt, text in zip(asked, texts, strict=True):
        if prompt.strip() not in text:
            raise DamagedModelError(
                "the chat template drops or changes a prompt that is asked: give the base a plainer chat_template"
            )
    return texts


def chat_frame(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """The frame around every prompt, without a system turn.

    Raises:
        DamagedModelError: the template makes something else of a prompt than prefix + prompt + suffix.
    """
    template = chat_template(tokenizer)
    if template is None:
        return Frame("", "\n\n", False, "")
    chat = _chat(template, _variables(tokenizer), None)
    if chat.frame is None:
        raise _changed(TRIED, chat.texts(TRIED))
    return chat.frame


def chat_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template in use: of several the one named "default", or the only one that needs no tools or documents.

    Raises:
        DamagedModelError: there are several and none is the default.
    """
    given: Any = tokenizer.chat_template
    if given is None or isinstance(given, str):
        return given or None
    if isinstance(given, dict):
        plain = [name for name in given if name not in ("tool_use", "rag")]
        name = "default" if "default" in given else plain[0] if len(plain) == 1 else None
        if name is not None and isinstance(given[name], str):
            return str(given[name])
    raise DamagedModelError(
        "the tokenizer has several chat templates and none that is a text and named 'default': leave one in its "
        "tokenizer_config.json"
    )


def _variables(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[str, Any], ...]:
    """What a template may use beside the messages, as a value that can be a key."""
    special: dict[str, Any] = tokenizer.special_tokens_map
    named = {
        key: tuple(map(str, text)) if isinstance(text, list | tuple) else str(text) for key, text in special.items()
    }
    return tuple(sorted(named.items()))


@dataclass(frozen=True, slots=True)
class _Chat:
    """One way to ask through a template: the form of its messages, and what is added behind."""

    template: str
    variables: Mapping[str, Any]
    form: _Form
    system: str | None
    header: str
    hears_system: bool
    frame: Frame | None

    def texts(self, prompts: Iterable[str]) -> list[str]:
        """What the template makes of prompts, each finished."""
        return _finished(self.template, self.variables, self.form, self.system, self.header, list(prompts), tells=False)


@dataclass(frozen=True, slots=True)
class _Form:
    """How messages are written: content as a text or as a list of parts; with an empty system turn or without."""

    parts: bool
    empty_system: bool

    def messages(self, prompt: str, system: str | None = None) -> list[dict[str, Any]]:
        """A user turn, after a system turn where one is given or needed."""
        turns = [("user", prompt)]
        if system is not None or self.empty_system:
            turns.insert(0, ("system", system or ""))
        return [self.turn(role, text) for role, text in turns]

    def turn(self, role: str, text: str) -> dict[str, Any]:
        """One message."""
        return {"role": role, "content": [{"type": "text", "text": text}] if self.parts else text}


@lru_cache(maxsize=256)
def _chat(template: str, variables: tuple[tuple[str, Any], ...], system: str | None) -> _Chat:
    """How to ask through a template; found out once."""
    given = {**dict(variables), **THINKING_OFF, "add_generation_prompt": True, "tools": None, "documents": None}
    form = _form(template, given)
    hears = system is not None and _hears(template, given, form, system)
    heard = system if hears else None
    header = _header(template, given, form)

    def texts(prompts: Sequence[str]) -> list[str]:
        return _finished(template, given, form, heard, header, prompts, tells=heard is None)

    return _Chat(template, given, form, heard, header, hears, _frame(texts))


def _rendered(template: str, variables: Mapping[str, Any], chats: Sequence[Any], tells: bool = True) -> list[str]:
    try:
        return render_template(template, chats, variables, tells=tells)
    except TemplateError as error:
        raise DamagedModelError(
            f"the chat template of the model cannot be used ({error}): give the base a plainer chat_template"
        ) from error


def _form(template: str, variables: Mapping[str, Any]) -> _Form:
    """The first form of messages in which the prompt comes through."""
    failure: TemplateError | None = None
    made = ""
    for form in (_Form(parts, empty_system) for parts in (False, True) for empty_system in (False, True)):
        try:
            text = render_template(template, [form.messages(_MARK)], variables)[0]
        except TemplateError as error:
            failure = failure or error
            if isinstance(error, TemplateOverrunError):
                break
            continue
        if _MARK in text:
            return form
        made = made or text
    if failure is None:
        raise _changed([_MARK], [made])
    raise DamagedModelError(
        f"the chat template of the model cannot be used ({failure}): give the base a plainer chat_template"
    ) from failure


def _hears(template: str, variables: Mapping[str, Any], form: _Form, system: str) -> bool:
    """Whether a system turn comes through, and the prompt with it."""
    try:
        text = render_template(template, [form.messages(_MARK, system)], variables, tells=False)[0]
    except TemplateOverrunError as error:
        raise DamagedModelError(f"the chat template of the model cannot be used ({error})") from error
    except TemplateError:
        return False  # many raise where there is a system turn
    return _MARK in text and system.strip() in text


def _header(template: str, variables: Mapping[str, Any], form: _Form) -> str:
    """What stands before an answer of a template that does not write it when asked to; mostly nothing.

    Taken from what it writes before an answer that is there, where that names a role.
    """
    plain = {**variables, "add_generation_prompt": False}
    try:
        asked = render_template(template, [form.messages(_MARK)], variables)[0]
        if render_template(template, [form.messages(_MARK)], plain)[0] != asked:
            return ""
        said = render_template(template, [[*form.messages(_MARK), form.turn("assistant", _SAID)]], plain)[0]
    except TemplateError:
        return ""
    head, found, _ = said.removeprefix(asked).partition(_SAID)
    fits = bool(found) and said.startswith(asked) and any(role in head.lower() for role in _ROLES)
    return head if fits else ""


def _finished(
    template: str,
    variables: Mapping[str, Any],
    form: _Form,
    system: str | None,
    header: str,
    prompts: Sequence[str],
    *,
    tells: bool,
) -> list[str]:
    """Texts of prompts: one first token where two were written, and no thought left open."""
    bos = variables.get("bos_token") or ""
    texts = _rendered(template, variables, [form.messages(prompt, system) for prompt in prompts], tells)
    done = []
    for text in texts:
        while bos and text.startswith(bos + bos):
            text = text.removeprefix(bos)
        done.append(thinking_off(text + header))
    return done


def _frame(texts: Callable[[Sequence[str]], list[str]]) -> Frame | None:
    """The frame that a template puts around prompts; None where it is none, but keeps the prompts.

    Raises:
        DamagedModelError: it changes prompts.
    """
    whole, *made = texts([_MARK, *TRIED])
    prefix, _, suffix = whole.partition(_MARK)
    for strip in (False, True):
        wanted = [prefix + (prompt.strip() if strip else prompt) + suffix for prompt in TRIED]
        if made == wanted and whole.count(_MARK) == 1:
            return Frame(prefix, suffix, strip, _empty(texts, prefix + suffix))
    if any(prompt.strip() not in text for prompt, text in zip(TRIED, made, strict=True)):
        raise _changed(TRIED, made)
    return None


def _empty(texts: Callable[[Sequence[str]], list[str]], otherwise: str) -> str:
    """What is made of no prompt; some templates raise then."""
    try:
        return texts([""])[0]
    except DamagedModelError:
        return otherwise


def _changed(prompts: Sequence[str], made: Sequence[str]) -> DamagedModelError:
    found = ((prompt, text) for prompt, text in zip(prompts, made, strict=True) if prompt.strip() not in text)
    prompt, text = next(found, (prompts[0], made[0]))
    return DamagedModelError(
        f"the chat template is not prefix + prompt + suffix: of {prompt[:60]!r} it makes {text[:200]!r}: give the base "
        "a plainer chat_template"
    )
