"""What chat and mail programs export, as `exported_chats` and `exported_texts` write it.

Each is written with known authors. Where one was not spoiled, nobody else's words may become the person's, with the
person named and without, and no text of the person may get lost.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from fuzz import samples
from fuzz.cases import Case
from fuzz.exported_chats import ME, NAMES, discord, messenger, slack, telegram, whatsapp
from fuzz.exported_texts import chatgpt, claude, eml, mbox, table, tagged
from fuzz.guard import Bait
from fuzz.mutations import mutate_bytes
from fuzz.samples import mark, mine, read_twice, theirs


def prepare(room: Path) -> None:
    """Nothing is shared; what is imported late is imported."""
    read_twice(Case(samples.write(room / "first.jsonl", '{"prompt": "p", "response": "r"}'), "first"))


def make(rng: random.Random, folder: Path, _shared: Any, _bait: Bait) -> Case:
    """One export, sound or spoiled."""
    writer = rng.choice(
        (whatsapp, whatsapp, telegram, discord, slack, chatgpt, claude, messenger, mbox, eml, table, tagged)
    )
    turns = [
        (ME, mine(rng)) if rng.random() < 0.5 else (rng.choice(NAMES[: rng.randrange(1, 6)]), theirs(rng))
        for _ in range(rng.randrange(1, 9))
    ]
    if rng.random() < 0.8:
        turns += [(NAMES[0], theirs(rng)), (ME, mine(rng))]
    sound, name = rng.random() < 0.5, writer.__name__
    files = writer(rng, turns, sound)
    how = f"{name}{' sound' if sound else ''}"
    if not sound and rng.random() < 0.5:
        spoiled = rng.choice(list(files))
        content = files[spoiled]
        files[spoiled] = mutate_bytes(
            rng, content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        )
        how += ": bytes"
    for file, content in files.items():
        samples.write(folder / "export" / file, content)
    source = folder / "export" if len(files) > 1 or rng.random() < 0.15 else folder / "export" / next(iter(files))
    me = rng.choice((ME, ME, None, ME.upper(), "Nobody", "")) if name not in ("chatgpt", "claude") else None
    own = [mark(text) for author, text in turns if author == ME]
    facts: dict[str, Any] = {"options": {} if me is None else {"me": me}, "authors": sound, "own": own if sound else ()}
    return Case(source, f"{how} ({'me' if me else 'nobody'} named)", facts)


def read(case: Case, _shared: Any) -> None:
    """As `samples.read_twice`."""
    read_twice(case)
