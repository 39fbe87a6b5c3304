"""Mail -> conversations: an mbox, one mail (.eml, .emlx), a Maildir, or a folder of mails.

A thread is read as the chain of its answers, so that the prompt of a mail is the mail that it answers. Quotes,
signatures, attachments and automatic mails are left out. The author is the address; the name beside it names it too.
A mailbox with one sender may well be what that sender wrote to the person, so the person is asked for, except where its
name says that it holds sent mails.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterable, Iterator
from email import policy
from email.message import Message
from pathlib import Path

from xpert.data.exports.authors import Author, Export, export_of
from xpert.data.exports.folders import file_at, files_in, folder_at
from xpert.data.exports.mail_bodies import body_text
from xpert.data.exports.mail_bytes import MAX_HEADER, read_mail_bytes, split_mbox
from xpert.data.exports.mail_headers import date_of, header, is_automatic, message_ids, recipients, sender
from xpert.data.exports.mail_quotes import own_words
from xpert.data.exports.mail_threads import Mail, threads
from xpert.errors import DataError
from xpert.printing import printable

_SUFFIXES = (".eml", ".emlx", ".mbox", ".mbx")
_OTHER_SUFFIXES = tuple(".json .jsonl .ndjson .csv .tsv .tab .js .html .htm .mht .mhtml .xml .parquet".split())
_MBOX = re.compile(rb"From [^\n]{0,500}\n>?[!-9;-~]{1,80}:")
_SAVED_PAGE = re.compile(rb"^From: ?[\"<]{0,2}Saved by ", re.IGNORECASE | re.MULTILINE)
_HEADER = re.compile(rb"([!-9;-~]{1,80}):")
_OFTEN = frozenset({b"to", b"subject", b"date", b"message-id", b"received", b"mime-version", b"return-path", b"cc"})
_TECHNICAL = frozenset({b"message-id", b"received", b"mime-version", b"return-path"})
_NESTED = re.compile(rb"^content-type:\s*multipart/", re.IGNORECASE | re.MULTILINE)
_SENT = re.compile(
    r"(?:\.|inbox[./])?"
    r"(?:sent(?:[ _-]?(?:items|mails?|messages?))?|gesendet(?:e (?:objekte|elemente|nachrichten|mails))?|"
    r"(?:éléments |messages |courriers )?envoyés|(?:correo |elementos |mensajes |mensagens |itens )?enviad[oa]s|"
    r"(?:posta |elementi )?inviat[ai]|verzonden(?: (?:items|berichten))?|skickat|sendt|wysłane|отправленные|"
    r"已发送|送信済み)(?:[ _.(-]*\d{1,6}\)?)?",
    re.IGNORECASE,
)
"""Names of the folder of sent mails, as mail programs give them, also of copies and parts: "Sent-1", "Sent (2)"."""

_INNER = frozenset({"cur", "new", "mbox"})
"""Files and folders that a mailbox consists of, and that do not bear its name."""

_MOST_NESTED = 100
_START = 65536


def read_mail(path: Path, text: str | None) -> Export | None:
    """The mails of one file; None where it holds none.

    Args:
        path: of the file.
        text: its content where it is UTF-8, else None; mail often is not, and the bytes are read then.

    Raises:
        DataError: a mail that cannot be taken apart.
    """
    suffix = path.suffix.casefold()
    if suffix in _OTHER_SUFFIXES or (suffix == ".gz" and text is None):
        return None
    start = read_mail_bytes(path, _START) if text is None else text[:_START].encode("utf-8", "replace")
    if not _is_mail(start, suffix):
        return None
    content = read_mail_bytes(path) if text is None else text.encode("utf-8", "replace")
    return _export([(path, content)])


def read_mail_folder(folder: Path) -> Export | None:
    """The mails of a Maildir or of the mail files in a folder; None for other folders.

    Raises:
        DataError: a mail that cannot be taken apart.
    """
    boxes = [box for name in ("cur", "new") if (box := folder_at(folder, name))]
    if len(boxes) == 2:
        found = [file for box in boxes for file in files_in(box)]
    else:
        found = [file for file in files_in(folder) if file.suffix.casefold() in _SUFFIXES]
        found += [file for file in files_in(folder) if not file.suffix and file_at(folder, f"{file.name}.msf")]
        apple = file_at(folder, "mbox") if folder.suffix.casefold() == ".mbox" else None
        found += [apple] if apple and apple not in found else []
    mails = [file for file in found if _is_mail(read_mail_bytes(file, _START), file.suffix.casefold() or ".eml")]
    return _export((file, read_mail_bytes(file)) for file in mails) if mails else None


def _is_mail(content: bytes, suffix: str) -> bool:
    start = content[:_START].replace(b"\r\n", b"\n").lstrip()
    if suffix == ".emlx":
        start = start.partition(b"\n")[2]
    if _MBOX.match(start):
        return True
    names: set[bytes] = set()
    for line in start.split(b"\n"):
        found = _HEADER.match(line)
        if found:
            names.add(found[1].lower())
        elif not line[:1].isspace():
            break
    if b"snapshot-content-location" in names or _SAVED_PAGE.search(start):
        return False
    if b"from" not in names:
        return suffix in _SUFFIXES and len(names & _OFTEN) > 1
    # A text under another name may begin like a mail; then only what programs write there tells.
    needed = _OFTEN if suffix in _SUFFIXES else _TECHNICAL
    return bool(names & needed)


def _is_sent(path: Path) -> bool:
    """Whether a mailbox bears one of the names that programs give to the folder of sent mails."""
    while path.name.casefold() in _INNER or path.parent.name.casefold() in _INNER:
        path = path.parent
    if path.suffix.casefold() == ".gz":
        path = path.with_suffix("")
    if path.suffix.casefold() in (".eml", ".emlx"):
        path = path.parent
    return any(_SENT.fullmatch(name) for name in (path.name, path.stem))


def _export(files: Iterable[tuple[Path, bytes]]) -> Export:
    mails: list[Mail] = []
    others: list[Author] = []
    for file, content in files:
        path, sent = str(file), _is_sent(file)
        pieces = split_mbox(content)
        for number, piece in enumerate(pieces, start=1):
            for mail, to in _mail(f"{printable(path)}, mail {number}" if len(pieces) > 1 else printable(path), piece):
                mails.append(mail)
                others += [] if sent else to
    others += [mail.author for mail in mails if not mail.text]
    return export_of("mail", threads(mails), others=others)


def _mail(where: str, content: bytes) -> Iterator[tuple[Mail, list[Author]]]:
    """The mail and who received it; nothing where no person wrote it."""
    if MAX_HEADER.search(content) or len(_NESTED.findall(content)) > _MOST_NESTED:
        raise DataError(f"{where}: parts or headers beyond what mail programs write: take the mail out")
    try:
        message: Message = email.message_from_bytes(content, policy=policy.compat32)
        if is_automatic(message):
            return
        text = own_words(body_text(message))
        mail = Mail(
            id=next(iter(message_ids(message, "Message-ID")), ""),
            answers=(*message_ids(message, "In-Reply-To"), *reversed(message_ids(message, "References"))),
            subject=header(message, "Subject"),
            date=date_of(message),
            author=sender(message),
            text=text,
            where=where,
        )
        received = recipients(message)
    except Exception as error:  # damage shows as many things: the parser of `email` raises whatever it meets
        raise DataError(
            f"{where} cannot be taken apart ({type(error).__name__}): take the mail out, or export it again"
        ) from error
    yield mail, received
