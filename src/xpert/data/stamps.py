"""How programs write the moment of a message, as parts of regular expressions. Knows no names and no texts."""

from __future__ import annotations

MARKS = "\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
"""Characters that only turn the direction of text, for a class of characters."""

EDGES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + "".join(
    chr(code) for code in (0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
)
"""White space and such characters, for `str.strip`."""

M = f"[{MARKS}]*"
_S = rf"[\s{MARKS}]*"
_MONTH = r"[^\W\d_]{3,10}\.?"

DATE = (
    rf"(?:\d{{1,4}}{M}\s?[./-]{M}\s?\d{{1,2}}{M}\s?[./-]{M}\s?\d{{1,4}}{M}\.?"
    r"|\d{4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日일]"
    rf"|\d{{1,2}}\.?[\s-](?:de\s)?{_MONTH},?[\s-](?:del?\s)?\d{{2,4}}"
    rf"|(?:{_MONTH},?\s)?{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s\d{{4}})"
)
"""A date with its year, in any order: 12/31/24, 31.12.2024, 2024-12-31, 2024年12月31日, 31 Dec 2024, Dec 31, 2024."""

TIME = (
    r"(?:\d{1,2}\s?h\s?\d{2}(?:\s?min(?:\s?\d{2}\s?s)?)?\b|"
    rf"\d{{1,2}}{M}[:.٫]{M}\d{{2}}(?:{M}[:.٫]{M}\d{{2}}(?:[.,]\d{{1,6}})?)?(?:{_S}[AaPp]{_S}\.?{_S}[Mm]\b\.?)?)"
)
"""A time of day: 21:05, 9:05:00 PM, 9.05 p. m., 21 h 05."""

_WORD = r"(?:[^\W\d_][^\d\[\]():<>\n]{0,11})"
MOMENT = (
    rf"(?:{DATE}{_S}[,،]?{_S}{_WORD}?{_S}{TIME}(?:{_S}{_WORD})?"
    rf"|\d{{4}}-\d{{2}}-\d{{2}}T\d{{2}}:\d{{2}}(?::\d{{2}}(?:\.\d+)?)?(?:Z|[+-]\d{{2}}:?\d{{2}})?"
    rf"|{TIME}{_S}[,،]{_S}(?:{DATE}|\d{{1,2}}\s{_MONTH}))"
)
"""A date and a time, with a word between or after them where a language has one: "um", "下午", "ص", "UTC"."""
