"""What a model writes while it thinks, which is no part of its answer. Knows texts only: no model, no torch.

Models mark their thoughts in many ways: `<think>...</think>`, `[THINK]...[/THINK]`, `<|channel|>analysis<|message|>`. A
thought that never ends is one up to the end of the text; one whose start is missing began before the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

_NAMES = r"think(?:ing)?|thoughts?|reasoning(?:_content)?|reflection|scratchpad"
_OPEN = re.compile(
    rf"(?<![`'\"“‘\\])(?:<(?P<tag>(?:\w+:)?(?:{_NAMES}))(?:\s[^<>\n]*)?>|\[(?P<square>{_NAMES})\]"
    rf"|<\|(?:start_of_|begin_of_|start_|begin_)?(?P<pipe>{_NAMES})(?:_start|_begin)?\|>|◁(?P<triangle>{_NAMES})▷)",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    rf"(?<![`'\"“‘\\])(?:</(?:\w+:)?(?:{_NAMES})\s*>|\[/(?:{_NAMES})\]"
    rf"|<\|(?:/|end_of_|end_)(?:{_NAMES})\|>|<\|(?:{_NAMES})_end\|>|◁/(?:{_NAMES})▷)",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"<\|channel\|?>\s*(?P<name>\w+)[^<]*(?:<\|message\|>|\n|(?=<)|\Z)")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>|<channel\|>|(?=<\|channel\|?>)")
_FINAL = frozenset(("final", "response", "answer"))
_TOLD = re.compile(
    r"\A\s*Here(?:'s| is) my (?:thought process|thinking|reasoning)[^:\n]{0,40}:"
    r"(?:.*?Here(?:'s| is) my (?:final )?(?:response|answer)[^:\n]{0,40}:|.*\Z)",
    re.DOTALL | re.IGNORECASE,
)
_REST = re.compile(
    r"<\|(?:start|end|return|call|message|constrain|channel)\|>(?:assistant\b)?|</?(?:answer|response)>"
    r"|<\|(?:START|END|begin_of|end_of)_(?:RESPONSE|TEXT|solution|ACTION)\|>",
    re.IGNORECASE,
)
_MARKER = re.compile(rf"channel|<\|(?:message|start|end|return|call)\|>|{_NAMES}|RESPONSE|solution", re.IGNORECASE)


def without_thoughts(answer: str) -> str:
    """An answer without what its model thought before it; other answers stay as they are, to the letter."""
    text, cut = _without_channels(answer), answer
    text = _TOLD.sub("", text)
    while (opened := _OPEN.search(text)) is not None:
        closed = _CLOSED.search(text, opened.end())
        before = _CLOSED.search(text, 0, opened.start())
        if before is not None:
            text = text[before.end() :]
            continue
        text = text[: opened.start()] + ("" if closed is None else _behind(text, opened.end(), closed))
    for closed in reversed(list(_CLOSED.finditer(text))):
        text = text[closed.end() :]
        break
    if text == cut:
        return answer
    return _REST.sub("", text).strip()


def _behind(text: str, start: int, closed: re.Match[str]) -> str:
    """The text behind a thought; one that holds others ends where the last of them does."""
    depth, place = 1, start
    while depth:
        end = _CLOSED.search(text, place)
        if end is None:
            return text[closed.end() :]
        depth += sum(1 for _ in _OPEN.finditer(text, place, end.start())) - 1
        place, closed = end.end(), end
    return text[closed.end() :]


def _without_channels(text: str) -> str:
    """Only the final channel, where the text is parted into channels."""
    found = _CHANNEL.search(text)
    if found is None:
        return text
    kept, place = [text[: found.start()]], found.start()
    while (found := _CHANNEL.search(text, place)) is not None:
        end = _CHANNEL_END.search(text, found.end())
        stop = len(text) if end is None else end.start()
        if found["name"].lower() in _FINAL:
            kept.append(text[found.end() : stop])
        place = stop if end is None else end.end()
        following = _CHANNEL.search(text, place)
        if following is None and end is not None and text[end.start() : end.end()] == "<channel|>":
            kept.append(text[place:])
    return "".join(kept)


def thinking_off(text: str) -> str:
    """The text up to where an answer starts; where it starts inside a thought, that thought is closed, empty."""
    bare = text.rstrip()
    opened = next((found for found in _OPEN.finditer(bare) if found.end() == len(bare)), None)
    if opened is None:
        return text
    space = text[len(bare) :] or "\n"
    return f"{bare}{space}{_closing(opened)}\n\n"


def _closing(opened: re.Match[str]) -> str:
    if opened["tag"]:
        return f"</{opened['tag']}>"
    if opened["square"]:
        return f"[/{opened['square']}]"
    if opened["triangle"]:
        return f"◁/{opened['triangle']}▷"
    whole = opened[0]
    for start, end in (("start_of", "end_of"), ("begin_of", "end_of"), ("start", "end"), ("begin", "end")):
        for one, other in ((start, end), (start.upper(), end.upper())):
            if one in whole:
                return whole.replace(one, other)
    return whole.replace("<|", "<|/")


def answer_text(
    ids: Sequence[int], specials: Collection[int], name: Callable[[int], str], decode: Callable[[Sequence[int]], str]
) -> str:
    """The text of an answer, without special tokens and without thoughts.

    Args:
        ids: tokens of the answer.
        specials: which tokens are special.
        name: text of a special token.
        decode: tokens -> text, without special tokens.
    """
    marks = {i: name(i) for i in set(ids) if i in specials}
    marks = {i: text for i, text in marks.items() if _MARKER.search(text)}
    if not marks:
        return without_thoughts(decode(ids)).strip()
    pieces, run = list[str](), list[int]()
    for token in ids:
        if token in marks:
            pieces += [decode(run) if run else "", marks[token]]
            run = []
        else:
            run.append(token)
    whole = "".join([*pieces, decode(run) if run else ""])
    kept = without_thoughts(whole)
    return (decode(ids) if kept == whole else kept).strip()
