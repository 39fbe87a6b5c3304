"""Chats with a language model, in JSON and JSONL: every way to spell a turn, and turns that are wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from fuzz import samples
from fuzz.cases import Case
from fuzz.guard import Bait
from fuzz.mutations import dumps, hostile, misspell, mutate_bytes, mutate_json
from fuzz.samples import mark, mine, read_twice, theirs, words

_USERS, _OTHERS = ("user", "human", "User", " user "), ("assistant", "gpt", "model", "bot", "ASSISTANT")
_SILENT = ("system", "developer", "tool")


def prepare(room: Path) -> None:
    """Nothing is shared; what is imported late is imported."""
    read_twice(Case(samples.write(room / "first.json", '[{"messages": [{"role": "user", "content": "a"}]}]'), "first"))


def make(rng: random.Random, folder: Path, _shared: Any, _bait: Bait) -> Case:
    """A file of chats."""
    spelling = rng.randrange(6)
    own: list[str] = []
    chats: Any = [_chat(rng, spelling, own) for _ in range(rng.randrange(1, 4))]
    how, sound = f"chats ({spelling})", rng.random() < 0.4
    if not sound:
        chats = mutate_json(rng, chats)
        if rng.random() < 0.15:
            chats = _roles_of_people(rng)
            how += ": people for roles"
    shape = rng.randrange(5)
    if shape == 0 and isinstance(chats, list):
        text, name = "\n".join(dumps(chat) for chat in chats), "me.jsonl"
    elif shape == 1 and isinstance(chats, list) and len(chats) == 1 and isinstance(chats[0], dict):
        text, name = dumps(next(iter(chats[0].values()), [])), "me.json"  # the turns alone
    elif shape == 2 and isinstance(chats, list) and chats and all(isinstance(chat, dict) for chat in chats):
        keys = [*chats[0]]
        text, name = dumps({key: [chat.get(key) for chat in chats] for key in keys}), "me.json"  # a dict of lists
    else:
        text, name = dumps(chats), "me.json"
    content: Any = text
    if not sound and rng.random() < 0.3:
        content, how = misspell(rng, text), f"{how}: spelling"
    elif not sound and rng.random() < 0.2:
        content = mutate_bytes(rng, text.encode("utf-8", "surrogatepass"))
    facts = {"authors": sound, "own": own if sound else ()}
    return Case(samples.write(folder / name, content), f"{how}{' sound' if sound else ''} ({shape})", facts)


def _chat(rng: random.Random, spelling: int, own: list[str]) -> dict[str, Any]:
    turns = []
    for number in range(rng.randrange(1, 6)):
        person = number % 2 == 0
        text = mine(rng) if person else theirs(rng)
        if person:
            own.append(mark(text))
        role = rng.choice(_USERS if person else _OTHERS)
        turns.append(_turn(rng, spelling, role, text))
        if rng.random() < 0.2:
            turns.insert(0, _turn(rng, spelling, rng.choice(_SILENT), theirs(rng)))
    key = rng.choice(("messages", "conversations", "conversation", "Messages"))
    extra = {"id": rng.randrange(9), "model": "x"} if rng.random() < 0.3 else {}
    return {**extra, key: turns}


def _turn(rng: random.Random, spelling: int, role: str, text: str) -> dict[str, Any]:
    parts: list[Any] = [{"type": "text", "text": text}]
    if rng.random() < 0.3:
        parts.insert(rng.randrange(2), rng.choice(({"type": "image_url", "image_url": {"url": "http://127.0.0.1/x"}},
                                                   {"type": "tool_call", "name": "x"},
                                                   {"type": "step-start"})))  # fmt: skip
    turn: dict[str, Any]
    match spelling:
        case 0:
            turn = {"role": role, "content": text}
        case 1:
            turn = {"from": role, "value": text}
        case 2:
            turn = {"role": role, "content": parts}
        case 3:
            turn = {"role": role, "text": text}
        case 4:
            turn = {"id": "x", "role": role, "parts": parts}
        case _:
            turn = {"role": role, rng.choice(("content", "text")): text, "name": None, "tool_calls": []}
    if rng.random() < 0.2:
        turn |= {"timestamp": 1.5, "metadata": {"x": [words(rng)]}}
    return turn


def _roles_of_people(rng: random.Random) -> Any:
    """Names, or whole sentences, where a role belongs; and messages of no role."""
    sentences = [f"{text} and so on till the evening came" for text in (mine(rng), theirs(rng))]
    roles = rng.choice((["Anna", "Ben"], sentences, [hostile(rng), hostile(rng)], ["user", "Anna"]))
    texts = [mine(rng), theirs(rng)]
    return [{"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]}]


def read(case: Case, _shared: Any) -> None:
    """As `samples.read_twice`."""
    read_twice(case)
