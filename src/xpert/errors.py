"""Every error that a user can meet. One place turns them into text and exit codes: `xpert.cli.app`.

XpertError
 ├─ SettingsError          a value that cannot be used (option, environment, argument)      exit 2
 ├─ DataError              personal data that cannot be read                                exit 3
 ├─ ModelError                                                                              exit 4
 │   ├─ MissingModelError      no such folder or hub name, or a file of it is missing
 │   ├─ DamagedModelError      truncated or lying safetensors, NaN, unreadable configuration
 │   └─ MismatchError          adapter, base, tokenizer or shapes that do not belong together
 ├─ SpaceError             explanations, summarizer and space that do not belong together   exit 5
 ├─ PoolError                                                                               exit 6
 │   ├─ NotInPoolError         a name that the pool does not have
 │   └─ DuplicateError         a name or content that the pool has already
 └─ StorageError           the disk or the database refused; nothing was published          exit 7

An error's text names the value, the rule it breaks and the way out. Whatever it names (a file, a column, what a library
says of a stranger's bytes), `str(error)` holds no character that acts on a terminal.
"""

from __future__ import annotations

from xpert.printing import printable


def extra_install(extra: str) -> str:
    """How an optional part of the package is installed; XPerT is in no package index yet."""
    return f"it comes with the extra {extra!r}: `pip install -e '.[{extra}]'` in XPerT's source folder"


class XpertError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class SettingsError(XpertError, ValueError):
    """A value that cannot be used."""

    exit_code = 2


class DataError(XpertError, ValueError):
    """Personal data that cannot be read; the text names the file and the row."""

    exit_code = 3


class ModelError(XpertError):
    """A model or adapter that cannot be used."""

    exit_code = 4


class MissingModelError(ModelError):
    """No such folder or hub name, or one of its files is missing."""


class DamagedModelError(ModelError):
    """A file that is truncated, lies about its size or holds NaN."""


class MismatchError(ModelError):
    """Adapter, base, tokenizer or tensor shapes that do not belong together."""


class SpaceError(XpertError):
    """Explanations, summarizer and space that do not belong together."""

    exit_code = 5


class PoolError(XpertError):
    """A pool operation that was refused."""

    exit_code = 6


class NotInPoolError(PoolError):
    """A name that the pool does not have."""


class DuplicateError(PoolError):
    """A name or a content that the pool has already."""


class StorageError(XpertError):
    """The disk or the database refused; nothing was published."""

    exit_code = 7
