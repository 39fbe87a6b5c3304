"""The bytes of mail files: bounded reading, and an mbox cut into its mails.

Knows bytes; does not know what a mail says.
"""

from __future__ import annotations

import re
from pathlib import Path

from xpert.data import files
from xpert.errors import DataError

MAX_HEADER = re.compile(rb"(?im)^content-[a-z-]{1,30}:(?:[^\n]|\n[ \t]){5000}")
"""A header about content that is longer than any real one; the parser takes time in its square."""

_FROM_LINE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]{0,500}\n(?=>?[!-9;-~]{1,80}:)")
_ESCAPED_FROM = re.compile(rb"(?m)^>(>*From )")
_LENGTH = re.compile(rb"\s*(\d{1,12})\s*\n")


def read_mail_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a file of mail, or its first `most` bytes.

    Raises:
        DataError: no regular file, unreadable, or more than `files.MAX_TEXT_BYTES`.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path} is no regular file: give a file of mail or a folder")
        with path.open("rb") as stream:
            content = stream.read(files.MAX_TEXT_BYTES + 1 if most is None else most)
    except OSError as error:
        raise files.unreadable(path, error) from error
    if len(content) > files.MAX_TEXT_BYTES:
        raise DataError(
            f"{path} holds more than {files.MAX_TEXT_BYTES} bytes, the most that is read from one file: split it into "
            "smaller files in one folder"
        )
    return content


def split_mbox(content: bytes) -> list[bytes]:
    """The mails of an mbox; content without its separator lines is one mail."""
    content = content.lstrip()
    starts = [(found.start(), found.end()) for found in _FROM_LINE.finditer(content)]
    if not starts:
        length = _LENGTH.match(content)  # .emlx: the length, the mail, and a property list after it
        return [content[length.end() :][: int(length[1])] if length else content]
    ends = [start for start, _ in starts[1:]] + [len(content)]
    return [_ESCAPED_FROM.sub(rb"\1", content[start:end]) for (_, start), end in zip(starts, ends, strict=True)]
