"""A console that no text acts on, whoever wrote it. Knows Rich only."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from xpert.printing import printable


class HarmlessConsole(Console):
    """Rich's console; of every piece of text that it is given, what would act on a terminal becomes a question mark.

    Styles, bars and links are Rich's own and come behind this.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of what is shown, made harmless."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
