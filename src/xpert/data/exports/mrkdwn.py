"""Slack's mark-up of a message -> the text that people see.

Knows mentions, links and escapes; does not know files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MARK = re.compile(r"<([^<>\n]{1,4000})>")


def plain_mrkdwn(text: str, people: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """The text with names for mentions and without the addresses of named links.

    Args:
        text: as the export holds it; `&`, `<` and `>` are escaped there.
        people: ids of users -> names.
        channels: ids of channels -> names.
    """

    def seen(found: re.Match[str]) -> str:
        target, _, label = found[1].partition("|")
        kind, rest = target[:1], target[1:]
        if kind == "@":
            return "@" + (people.get(rest) or label or rest)
        if kind == "#":
            return "#" + (label or channels.get(rest) or rest)
        if kind == "!":
            if label:
                return label
            return "@" + rest.partition("^")[0]
        return label or target.removeprefix("mailto:")

    marked = _MARK.sub(seen, text)
    return marked.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()
