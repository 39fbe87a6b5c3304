"""The CSV files of exports: rows by the names of their columns.

Knows commas and quotes; does not know programs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from xpert.errors import DataError


class Table:
    """A CSV text whose first line names the columns.

    Args:
        path: of the file, for errors.
        text: its content.
    """

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text
        header = text.partition("\n")[0][:1000]
        self._delimiter = ";" if ";" in header and "," not in header else ","
        try:
            names = next(csv.reader([header.strip()], delimiter=self._delimiter), [])
        except csv.Error:
            names = []
        self._names = [name.strip().casefold() for name in names]

    @property
    def columns(self) -> frozenset[str]:
        """The names of the columns in lower case."""
        return frozenset(self._names)

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each row with its place; fields that a row lacks are "".

        Raises:
            DataError: unclosed quotes or the like.
        """
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True)
        number = 0
        try:
            next(reader, None)
            for fields in reader:
                if not any(fields):
                    continue
                number += 1
                filled = [*fields, *[""] * (len(self._names) - len(fields))]
                yield f"{self._path}, row {number}", dict(zip(self._names, filled, strict=False))
        except csv.Error as error:
            raise DataError(
                f"{self._path}, row {number + 1} (line {reader.line_num}): broken CSV ({error}): the export is "
                "damaged, export it again"
            ) from error
