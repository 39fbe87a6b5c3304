"""Columns and keys that say who wrote a text -> the author of a row or turn. Knows names only.

A table whose column may hold an author is never taken for the texts of one person: a name that is not in a list is told
by its words ("Speaker Label", "fromUserName", "author_id"), in the languages in which programs export.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from xpert.data.contents import bare, kind_of
from xpert.errors import DataError

SENDERS = (
    "role from author sender speaker fromname sendername authorname fromuser who username user screenname displayname "
    "name nickname nick handle by writer participant postedby sentby messageauthor messagesender contact contactname "
    "address phone phonenumber"
).split()
"""Usual names, the best first, as `bare` gives them."""

NAMELESS = "(no name)"

_CORE = frozenset(
    """
    from sender author speaker writer user username who by participant poster commenter member
    person contact creator actor agent party talker character initiator interlocutor account
    nickname nick fullname firstname lastname screenname role email absender von verfasser autor
    autorin auteur expéditeur expediteur remitente emisor mittente autore remetente afzender nadawca
    отправитель автор имя от gönderen kimden avsändare avsender afsender lähettäjä odesílatel
    odosielateľ feladó expeditor pengirim gửi người nome nombre nom المرسل שולח 发送者 发件人 发送人 發送者 寄件者
    寄件人 傳送者 作者 昵称 差出人 送信者 名前 보낸사람 보낸 사람 발신자 이름
    """.split()
)
_BEFORE = frozenset(
    "msg message chat tweet post comment sms mail sent posted written created display full first".split()
)
_BEHIND = frozenset(
    "id ids uid name label email mail number no address handle phone key tag role display full first last".split()
)
_NAMES = (
    "role name username displayname globalname fullname nickname nick firstname handle login email address id uid "
    "userid"
).split()
_INSIDE = ("user", "account", "profile", "contact", "author", "sender", "from", "application")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|[\W_]+")
_DEEPEST = 3


@lru_cache(maxsize=4096)
def is_sender(column: str) -> bool:
    """Whether the name of a column or key says that it holds who wrote a text."""
    return bare(column) in SENDERS or _by_words(column)


def sender(values: Mapping[str, Any], *, strict: str | None = None) -> str | None:
    """The author that a row or turn names; None where no column of it may name one, "(no name)" where it is empty.

    Args:
        values: the row or turn; names are compared as `bare` gives them, an earlier spelling wins.
        strict: file and row, for an error where a column should name the author and holds no name.

    Raises:
        DataError: as `strict` says.
    """
    empty, strange = None, None
    for name in _in_order(tuple(values)):
        value = values[name]
        found = _name(value)
        if found:
            return found
        if value is None or isinstance(value, str):
            empty = NAMELESS if bare(name) != "role" else empty
        else:
            strange = kind_of(value)
    if strict is not None and strange is not None:
        raise DataError(
            f"{strict}: the column that says who wrote the text is {strange}, not a name: write the name as text, or "
            "take the column out, if all texts are yours"
        )
    return empty


@lru_cache(maxsize=1024)
def _in_order(columns: tuple[str, ...]) -> list[str]:
    """The columns that may name the author, the best first; ids come last."""
    usual = {bare(name): name for name in reversed(columns)}
    others = [name for name in columns if bare(name) not in SENDERS and is_sender(name)]
    others.sort(key=lambda name: bare(name).endswith(("id", "number", "email")))
    return [*(usual[name] for name in SENDERS if name in usual), *others]


def _name(value: Any, depth: int = 0) -> str | None:
    """The name in a value: text, a number, or an object or list of one that holds such a thing."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and depth < _DEEPEST:
        inner = {bare(key): part for key, part in value.items()}
        found = (_name(inner[key], depth + 1) for key in (*_NAMES, *_INSIDE) if inner.get(key))
        return next((name for name in found if name), None)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def _by_words(column: str) -> bool:
    words = [word.casefold() for word in _WORDS.split(column.strip()) if word]
    if "".join(words) in _CORE:
        return True
    while len(words) > 1 and words[0] in _BEFORE:
        words = words[1:]
    while len(words) > 1 and words[-1] in _BEHIND:
        words = words[:-1]
    return bool(words) and all(word in _CORE for word in words)
