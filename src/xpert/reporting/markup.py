"""HTML from nested calls: every tag is closed and every text escaped, since nothing else can be written.

Knows nothing of what is written.
"""

from __future__ import annotations

from html import escape

_VOID = frozenset({"meta", "rect", "line", "path", "br", "img"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        tag: its name; an empty SVG shape is closed at once.
        children: `Markup` goes in as it is, any other text is escaped.
        attributes: an underscore at the end is dropped and the others become dashes (`class_`, `aria_label`);
            None leaves the attribute out.
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID and not children:
        return Markup(f"<{tag}{named}/>")
    return Markup(f"<{tag}{named}>{inside(*children)}</{tag}>")


def inside(*children: str) -> Markup:
    """Children one after the other, escaped where they are no markup."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def _number(value: str | float) -> str:
    """Attribute text; floats short enough to read, and never in a form that SVG does not know."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
