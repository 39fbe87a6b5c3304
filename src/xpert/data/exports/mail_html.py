"""The HTML of a mail -> its text, with a line ">" for each quote, and without signatures.

Knows tags and the marks that mail programs put on quotes; opens nothing that the HTML names. Written on `html.parser`,
because a tree of a hostile mail takes time in the square of its depth.
"""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

_MOST_CHARACTERS = 256 * 1024  # the parser takes time in the square of what is broken on purpose
_INLINE_DATA = re.compile(r"data:[^\"'\s>]{200,}")
_DECLARATION = re.compile(r"<[!?][^<>]{0,500}>")
_SILENT = frozenset({"script", "style", "head", "title", "template", "noscript", "svg", "object"})
_SIGNATURES = frozenset(
    {"gmail_signature", "moz-signature", "signature", "ms-outlook-mobile-signature", "protonmail_signature_block"}
)
_QUOTES = frozenset({"gmail_attr", "yahoo_quoted", "protonmail_quote", "mail-editor-reference-message-container"})
_REST = frozenset({"divrplyfwdmsg", "x_divrplyfwdmsg", "appendonsend", "olk_src_body_section"})
_BLOCKS = frozenset(
    "address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr "
    "html li main nav ol pre section table tr ul".split()
)
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_BLOCK, _PARAGRAPH, _BREAK = "\ue000", "\ue001", "\ue002"
_MARKS = f"{_BLOCK}{_PARAGRAPH}{_BREAK}"
_GAP = re.compile(f"[ {_MARKS}]*[{_MARKS}][ {_MARKS}]*")


def html_text(html: str) -> str:
    """The text as a browser lays it out, line by line."""
    reader = _Reader()
    reader.feed(_cleaned(html))
    reader.close()
    return _GAP.sub(_line_breaks, "".join(reader.pieces)).replace("\xa0", " ").strip()


def _cleaned(html: str) -> str:
    """Without comments, declarations and pictures in the text, on which the parser fails or spends its time."""
    start, *others = html.split("<!--")
    html = start + "".join(other.partition("-->")[2] for other in others)
    html = _DECLARATION.sub("", _INLINE_DATA.sub("", html)).replace("<![", "").replace("<!", "").replace("<?", "")
    return html.translate({ord(mark): None for mark in _MARKS})[:_MOST_CHARACTERS]


class _Reader(HTMLParser):
    """Collects text; what stands in a quote, a signature or a script is skipped."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self._counts: Counter[str] = Counter()
        self._passed_over = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mark(tag)
        if tag in _VOID:
            self.pieces += [_BREAK] if tag == "br" and not self._passed_over else []
            return
        marks = {word for name, value in attrs if name in ("class", "id") for word in (value or "").lower().split()}
        quote = tag == "blockquote" or not marks.isdisjoint(_QUOTES)
        if quote and not self._passed_over:
            self.pieces.append(f"{_BLOCK}>{_BLOCK}")
        if not marks.isdisjoint(_REST) and not self._passed_over:
            self.pieces.append(f"{_BLOCK}-----Original Message-----{_BLOCK}")
        silent = quote or tag in _SILENT or not marks.isdisjoint(_SIGNATURES)
        self._open.append((tag, silent))
        self._counts[tag] += 1
        self._passed_over += silent

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._counts[tag]:
            closed, silent = self._open.pop()
            self._counts[closed] -= 1
            self._passed_over -= silent
            if closed == tag:
                break
        self._mark(tag)

    def handle_data(self, data: str) -> None:
        if self._passed_over:
            return
        if self._counts["pre"]:
            self.pieces.append(data.replace("\n", _BREAK).replace(" ", "\xa0"))
        else:
            self.pieces.append(re.sub(r"[ \t\r\n\f]+", " ", data))

    def _mark(self, tag: str) -> None:
        if not self._passed_over and (tag == "p" or tag in _BLOCKS):
            self.pieces.append(_PARAGRAPH if tag == "p" else _BLOCK)


def _line_breaks(found: re.Match[str]) -> str:
    """One line break between blocks, two between paragraphs; a break right before the end of a block adds none."""
    run = found[0].replace(" ", "")
    breaks = run.count(_BREAK)
    if run[0] != _BREAK:
        breaks += 1
    elif run[-1] != _BREAK:
        breaks = max(1, breaks)
    return "\n" * min(2, max(breaks, 2 if _PARAGRAPH in run else 1))
