"""A text -> what it is, where it is not the prose of a person: a page, contacts, subtitles, mail, code, a table.

Knows how such files look; a prose text is none of them. Errors never quote the text itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from xpert.data.contents import bare
from xpert.data.senders import is_sender

_ROWS = 'as JSONL, one {"text": "..."} or {"prompt": "...", "response": "..."} on a line'
_PROSE = f"take your own texts out and give them as .txt, or {_ROWS}"
_WAYS = {
    "a web page": f"save what you wrote of it as .txt, or give it {_ROWS}; of a messenger or assistant, export JSON",
    "XML": f"export it as JSON or CSV, or give it {_ROWS}",
    "contacts (vCard)": "they hold no texts of yours, leave them out",
    "a calendar (iCalendar)": _PROSE,
    "subtitles": "they are somebody else's words; " + _PROSE,
    "an e-mail": "name it .eml, or many of them .mbox, and say with --me which address is yours",
    "program code": _PROSE,
    "the log of a program": _PROSE,
    "LaTeX source": "export it as plain text (for example with `pandoc -t plain`) and name that .txt",
    "a rich text document (RTF)": "save it as .txt",
    "YAML": f"give it as JSON, or {_ROWS}",
    "JSON": "give it the suffix .json, or --format json (in Python format='json')",
    "JSONL": "give it the suffix .jsonl, or --format jsonl (in Python format='jsonl')",
    "a table": "give it the suffix .csv or .tsv, or --format csv or tsv (in Python format='csv')",
}
_BY_SUFFIX = {
    **dict.fromkeys((".html", ".htm", ".xhtml", ".mht", ".mhtml"), "a web page"),
    **dict.fromkeys((".xml", ".opml", ".rss", ".atom", ".kml", ".plist", ".svg", ".fb2"), "XML"),
    **dict.fromkeys((".vcf", ".vcard"), "contacts (vCard)"),
    **dict.fromkeys((".ics", ".ical", ".ifb"), "a calendar (iCalendar)"),
    **dict.fromkeys((".srt", ".vtt", ".ass", ".ssa", ".sub", ".sbv", ".lrc", ".ttml"), "subtitles"),
    **dict.fromkeys((".eml", ".mbox", ".mbx", ".emlx"), "an e-mail"),
    **dict.fromkeys((".log", ".out", ".err"), "the log of a program"),
    **dict.fromkeys((".tex", ".latex", ".bib", ".sty", ".cls"), "LaTeX source"),
    **dict.fromkeys((".rtf",), "a rich text document (RTF)"),
    **dict.fromkeys(
        ".py .js .mjs .cjs .ts .tsx .jsx .css .scss .c .h .cc .cpp .hpp .cs .java .kt .go .rs .rb .php .pl .lua .r .jl "
        ".swift .scala .sh .bash .zsh .ps1 .bat .cmd .sql .ipynb .yaml .yml .toml .ini .cfg .conf .diff .patch".split(),
        "program code",
    ),
}
_SAVED_PAGE = re.compile(
    r"(?:[\w-]+:.*\r?\n|[ \t].*\r?\n){0,20}(?:snapshot-content-location:|from: ?[\"<]{0,2}saved by )", re.I
)
_STARTS = (
    (re.compile(r"(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|frameset)\b", re.I | re.S), "a web page"),
    (re.compile(r"<\?xml\b|<!DOCTYPE\b|<(?:svg|rss|feed|smses|plist|kml|opml|calls)\b", re.I), "XML"),
    (re.compile(r"BEGIN:VCARD\b", re.I), "contacts (vCard)"),
    (re.compile(r"BEGIN:V(?:CALENDAR|EVENT|TODO|JOURNAL)\b", re.I), "a calendar (iCalendar)"),
    (re.compile(r"WEBVTT\b|\[Script Info\]|\[V4\+? Styles\]"), "subtitles"),
    (re.compile(r"\{\\rtf\d"), "a rich text document (RTF)"),
    (
        re.compile(
            r"#!\s*/|<\?php\b|<\?=|(?:window|self|globalThis|module|(?:var|let|const)\s)[\w.$\[\]\"' ]*=\s*[\[{(]"
        ),
        "program code",
    ),
    (re.compile(r"\(function\s*\(|[\"']use strict[\"'];|export\s+default\s"), "program code"),
    (re.compile(r"(?:%.*\n\s*)*\\(?:documentclass|documentstyle|usepackage|begin\{document\})"), "LaTeX source"),
    (_SAVED_PAGE, "a web page"),
    (re.compile(r"From \S+@\S+ .*\d\d:\d\d.*\n"), "an e-mail"),
)
_SUBTITLE = re.compile(
    r"\s*(?:\d{1,2}:)?\d{1,2}:\d{2}[,.]\d{1,3}\s*-->\s*(?:\d{1,2}:)?\d{1,2}:\d{2}[,.]\d{1,3}.*"
    r"|\d:\d{2}:\d{2}\.\d{3},\d:\d{2}:\d{2}\.\d{3}|\{\d+\}\{\d+\}.*|Dialogue: \d+,\d+:\d\d:\d\d.*"
    r"|(?:\[\d{1,2}:\d{2}\.\d{2,3}\])+.*"
)
_HEADER = re.compile(
    r"(from|to|cc|bcc|subject|date|sent|reply-to|message-id|mime-version|content-type|content-transfer-encoding|"
    r"received|return-path|delivered-to|x-[\w-]+|in-reply-to|references|"
    r"von|an|betreff|datum|gesendet|de|para|asunto|fecha|enviado|assunto|data|à|objet|envoyé|da|a|oggetto|"
    r"inviato) ?:.*",
    re.I,
)
_WRITER = re.compile(r"(?:from|return-path|received|delivered-to|von|de|da) ?:", re.I)
_ABOUT = re.compile(
    r"(?:to|subject|date|sent|message-id|mime-version|content-type|received|an|betreff|datum|gesendet|para|asunto|fecha|"
    r"enviado|assunto|à|objet|envoyé|oggetto|inviato) ?:",
    re.I,
)
_TAG = re.compile(r"</?[A-Za-z][\w:-]*(?:\s[^<>]*)?/?>")
_FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[^\n]*$", re.M | re.S)
_CODE = re.compile(
    r"\s*(?:(?:from\s+[\w.]+\s+)?import\s+[\w.*{},\s]+(?:\sas\s\w+|\sfrom\s.+)?;?|#\s?include\s*[<\"].*|@\w+(?:\(.*\))?"
    r"|(?:async\s+)?def\s+\w+\s*\(.*|class\s+\w+\s*(?:\(.*\)|\{|:|extends\s.*)\s*[:{]?|(?:export\s+)?(?:async\s+)?function\b.*"
    r"|(?:public|private|protected|static|final)\s.*[{;]|(?:export\s+)?(?:const|let|var|int|float|double|char|void|auto|"
    r"string|bool)\s+\w+.*[=({;].*|(?:if|for|while|switch|catch)\s*\(.*\)\s*\{?|(?:fn|func)\s+\w+\(.*|package\s+\w+;?"
    r"|return\b.*;|return\s+[\w.]+(?:\(.*\))?|[\w.\[\]\"']+\s*(?:[-+*/|&]?=|:=|\+=)\s*\S.*|[\w.]+\(.*\)\s*[;:{]?"
    r"|.*(?:\w\(|[={}\[\]]|->|::|\w\.\w).*;|.*[)\w=>,]\s*\{|[\])}]+[;,)]*(?:\s*else\s*\{)?|(?:if|elif|while|for|with|except)\s\S.*:|(?:else|try|finally):"
    r"|(?:pass|break|continue);?|//.*|/\*.*|\*/|(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER)\s.*|[.#]?[\w-]+\s*\{|[\w-]+:\s[^.!?]*;)\s*"
)
_LOG = re.compile(
    r"\W*(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\d\d:\d\d:\d\d|\w{3}\s+\d{1,2}\s\d\d:\d\d:\d\d\s).*?"
    r"(?:\b(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b|\s[\w./-]+\[\d+\]:\s).*"
    r"|(?:\[?(?:TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b[\]:]).*|\S+ \S+ \S+ \[\d\d/\w{3}/\d{4}:.*"
)
_KEY = re.compile(r"\s*(- +)?[\"']?([A-Za-z][\w -]{0,30})[\"']?:(?:\s.*)?")
_LONGEST_CODE = 400
_LOOKED_AT = 2000
_SAID = frozenset("text message body content msg messagetext response comment post fulltext".split())


def kind_by_name(path: Path) -> str | None:
    """What the suffix of a file says that it is; None where it says nothing that is known."""
    return _BY_SUFFIX.get((Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower())


def kind_of_text(text: str) -> str | None:
    """What a text is; None where it may be prose."""
    text = text.lstrip("\ufeff \t\r\n")
    for start, kind in _STARTS:
        if start.match(text):
            return kind
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    if _has_mail(lines):
        return "an e-mail"
    timed = sum(_SUBTITLE.fullmatch(line) is not None for line in lines)
    if timed and 5 * timed >= len(lines):
        return "subtitles"
    tags = sum(len(tag[0]) for tag in _TAG.finditer(text))
    if text.startswith("<") and 3 * tags >= len(text):
        return "a web page"
    return _json_kind(text, lines) or _table_kind(lines) or _yaml_kind(lines) or _code_kind(text, lines)


def way_out(kind: str) -> str:
    """What a person does with a text of such a kind."""
    return _WAYS[kind]


def _has_mail(lines: list[str]) -> bool:
    """Whether the headers of a mail stand at the top, or those of a mail that was passed on somewhere below."""
    block: list[str] = []
    top = True
    for line in [*lines[:20_000], ""]:
        if _HEADER.fullmatch(line.strip("> *")):
            block.append(line.strip("> *"))
            continue
        if block and line[:1] in (" ", "\t"):  # a long header goes on
            continue
        writer = any(_WRITER.match(header) for header in block)
        about = len({found[0].casefold() for header in block if (found := _ABOUT.match(header))})
        if writer and about >= (1 if top else 2):
            return True
        block, top = [], False
    return False


def _json_kind(text: str, lines: list[str]) -> str | None:
    if text[0:1] not in ("{", "["):
        return None
    if len(lines) > 1 and all(line.lstrip()[0] in "{[" and line.rstrip()[-1] in "}]" for line in lines):
        try:
            if all(isinstance(json.loads(line), dict | list) for line in lines[:20]):
                return "JSONL"
        except (ValueError, RecursionError):
            pass
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return "JSON" if isinstance(value, dict) or (value and isinstance(value[0], dict | list)) else None


def _table_kind(lines: list[str]) -> str | None:
    """A table is known by a header that names a text."""
    for separator in ("\t", ";", ",", "|"):
        names = lines[0].strip(separator).split(separator)
        known = _SAID & {bare(name) for name in names} or (", " not in lines[0] and any(map(is_sender, names)))
        if len(names) > 1 and len(lines) > 1 and known and all(0 < len(name.split()) < 4 for name in names):
            full = sum(line.count(separator) >= len(names) - 1 for line in lines[1:])
            if 5 * full >= 4 * (len(lines) - 1):
                return "a table"
    return None


def _yaml_kind(lines: list[str]) -> str | None:
    """YAML is known by a list of records of which each names a text."""
    keys = [found for line in lines if (found := _KEY.fullmatch(line))]
    heads = sum(found[1] is not None for found in keys)
    said = sum(bare(found[2]) in _SAID for found in keys)
    return "YAML" if 10 * len(keys) >= 6 * len(lines) and heads > 1 and 2 * said >= heads else None


def _code_kind(text: str, lines: list[str]) -> str | None:
    if any(_LOG.fullmatch(line) for line in lines) and 2 * sum(
        _LOG.fullmatch(line) is not None for line in lines
    ) >= len(lines):
        return "the log of a program"
    fenced = _FENCE.sub("", text)
    # What stands in a fence belongs to notes, as long as there are notes around it.
    outside = [line for line in fenced.splitlines() if line.strip()]
    judged = [line for line in outside if not line.startswith(("    ", "\t"))] if fenced != text else lines
    if len(judged) < 3 and len(lines) >= 3 and fenced == text:
        return None
    step = max(1, len(judged) // _LOOKED_AT)
    judged = judged[::step]
    code = sum(len(line) < _LONGEST_CODE and _CODE.fullmatch(line) is not None for line in judged)
    return "program code" if len(judged) >= 3 and code >= 0.6 * len(judged) else None
