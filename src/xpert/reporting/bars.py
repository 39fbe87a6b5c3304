"""Explanations, pools and selections in the terminal, as Rich renderables that fit 80 columns.

Knows records and the width it is given; colour and the set of characters are the terminal's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from xpert.printing import printable
from xpert.records import Explanation, PoolRecord, Selection, WordCoefficient
from xpert.reporting.story import Story, headline
from xpert.reporting.wording import NOTHING, duration, joined, percent, signed, size, summary

_LEAST_REACH = 0.5


class _Glyphs(NamedTuple):
    full: str
    right_half: str  # the end of a positive bar
    left_half: str  # the end of a negative bar
    weak: str
    band: str
    whisker: str
    axis: str
    chosen: str


_UNICODE = _Glyphs("█", "▌", "▐", "▒", "░", "─", "│", "▸")
_ASCII = _Glyphs("#", "#", "#", "=", ".", "-", "|", ">")


@dataclass(frozen=True)
class SignedBar:
    """One coefficient as a bar to the left or right of an axis.

    The bar is solid where it stands above the noise and weak where it does not; the band beside the axis is
    the noise floor, the line is the bootstrap interval.

    Args:
        word: the coefficient.
        reach: value at both ends of the drawing.
    """

    word: WordCoefficient
    reach: float

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(15, max(15, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = _ASCII if options.ascii_only else _UNICODE
        half = max(3, (options.max_width - 1) // 2)
        text = Text(no_wrap=True)
        for cell in [*range(-half, 0), 0, *range(1, half + 1)]:
            text.append(*self._cell(cell, half, glyphs))
        yield text

    def _cell(self, cell: int, half: int, glyphs: _Glyphs) -> tuple[str, str]:
        """Character and style of one column; column c covers values c - 1 to c in units of reach / half."""
        if cell == 0:
            return glyphs.axis, "dim"
        unit = self.reach / half
        side = 1 if cell > 0 else -1
        depth = abs(cell)
        if self.word.coefficient * side > 0:
            halves = max(1, round(2 * abs(self.word.coefficient) / unit))
            style = ("cyan" if side > 0 else "magenta") if self.word.above_noise else "bright_black"
            if 2 * depth <= halves:
                return glyphs.full if self.word.above_noise else glyphs.weak, style
            if 2 * depth - 1 == halves:
                ending = glyphs.right_half if side > 0 else glyphs.left_half
                return ending if self.word.above_noise else glyphs.weak, style
        middle = side * (depth - 0.5) * unit
        if self.word.low <= middle <= self.word.high:
            return glyphs.whisker, "default"
        return (glyphs.band, "bright_black") if abs(middle) <= self.word.floor else (" ", "default")


@dataclass(frozen=True)
class _Legend:
    interval: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = _ASCII if options.ascii_only else _UNICODE
        yield Text(
            f"{glyphs.full} above the noise  {glyphs.weak} within it  {glyphs.band} noise floor  "
            f"{glyphs.whisker} {percent(self.interval)} interval",
            style="dim",
        )


def explanation_view(explanation: Explanation, *, title: str | None = None, of: str = "texts") -> RenderableType:
    """An explanation: what it says in words, then every word with coefficient, interval and bar."""
    heading = Text(no_wrap=False)
    if title:
        heading.append(f"{title}: ", style="dim")
    heading.append(summary(explanation), style="bold")
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=18)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(ratio=1)
    reach = max([_LEAST_REACH, *(max(abs(w.low), abs(w.high), abs(w.coefficient), w.floor) for w in explanation.words)])
    for word in explanation.words:
        strong = "" if word.above_noise else "dim"
        table.add_row(
            Text(word.word, style=strong),
            Text(signed(word.coefficient), style=strong or "bold"),
            f"{signed(word.low)} to {signed(word.high)}",
            SignedBar(word, reach),
        )
    facts = f"{_count(explanation.pairs, 'pair')} of {of}, residual {explanation.residual:.2f}: "
    facts += f"{percent(min(1.0, explanation.residual))} of what sets them apart is in no word of this space"
    parts: list[RenderableType] = [heading, table, _Legend(explanation.interval), Text(facts, style="dim")]
    if not explanation.words:
        parts = [heading, Text("the space has no words", style="dim"), Text(facts, style="dim")]
    return Group(*parts)


def pool_view(records: Sequence[PoolRecord]) -> RenderableType:
    """A pool as a table: names, their strongest words, rank and size."""
    if not records:
        return Text("the pool is empty: add an adapter with `xpert pool add`")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    table.add_column("pLLM", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("strongest words", ratio=1, min_width=20)
    table.add_column("residual", justify="right")
    table.add_column("rank", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    for record in records:
        found = record.explanation
        table.add_row(
            Text(record.name, style="bold"),
            _strongest(found),
            f"{found.residual:.2f}" if found else "",
            str(record.rank or "all"),
            size(record.size_bytes),
        )
    return table


def _strongest(explanation: Explanation | None) -> Text:
    if explanation is None:
        return Text("not explained yet", style="dim")
    words = explanation.strongest(3)
    if not words:
        return Text(NOTHING, style="dim")
    text = Text()
    for number, word in enumerate(words):
        text.append(", " if number else "").append(word.word).append(
            f"\N{NO-BREAK SPACE}{signed(word.coefficient)}", style="dim"
        )
    return text


def record_view(record: PoolRecord, *, of: str = "texts") -> RenderableType:
    """One pLLM: its facts, then its explanation, which was read from texts or pictures."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in (
        ("pLLM", record.name),
        ("base", f"{printable(record.base_name, 200)} ({record.base[:12]})"),
        ("LoRA", f"rank {record.rank} on {joined(record.target_modules)}" if record.rank else ""),
        ("U-Net", "" if record.rank else "all its weights"),
        ("size", size(record.size_bytes)),
        ("added", record.created),
        ("digest", record.adapter),
        ("note", printable(record.note, 1000)),
    ):
        if value:
            facts.add_row(label, Text(value))
    if record.explanation is None:
        return Group(facts, Text(), Text("not explained yet: run `xpert pool reindex`", style="dim"))
    return Group(facts, Text(), explanation_view(record.explanation, of=of))


def selection_view(selection: Selection, *, most: int = 10) -> RenderableType:
    """A selection: where to start and why, then the ranking with the choice marked."""
    heading = Text("start from ", style="default")
    heading.append(selection.choice or "the base", style="bold cyan")
    parts: list[RenderableType] = [heading, Text(selection.reason[:1].upper() + selection.reason[1:] + ".")]
    if selection.ranking:
        parts += [Text(), _ranking(selection, most)]
        parts.append(
            Text(
                f"distance: 1 - cosine, smaller is nearer in kind; margin to the second {selection.margin:.2f}\n"
                f"gain: how much nearer than the base; the base itself reaches {selection.noise:.2f}",
                style="dim",
            )
        )
    return Group(*parts)


def runs_view(story: Story) -> RenderableType:
    """The tuning runs of a demo side by side, under the result in one line."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("start", overflow="ellipsis", no_wrap=True, max_width=40)
    for name in ("steps", "time", "samples", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in [story.scratch, *([story.warm] if story.warm else [])]:
        loss = f"{run.losses[-1][1]:.3f}" if run.losses else ""
        cells = (str(run.steps), duration(run.seconds), str(run.samples), loss)
        table.add_row(Text(f"from {run.start or 'scratch'}"), *cells, style="bold" if run.start else None)
    return Group(Text(headline(story), style="bold"), table)


@dataclass(frozen=True)
class _Mark:
    """The arrow before the choice, in characters that the terminal has."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text((_ASCII if options.ascii_only else _UNICODE).chosen, style="cyan")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, 1)


def _ranking(selection: Selection, most: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1)
    table.add_column("", justify="right", style="dim")
    table.add_column("pLLM", overflow="ellipsis", no_wrap=True, max_width=40)
    table.add_column("distance", justify="right")
    table.add_column("gain", justify="right")
    for place, ranked in enumerate(selection.ranking[:most], 1):
        chosen = ranked.name == selection.choice
        table.add_row(
            _Mark() if chosen else "",
            str(place),
            Text(ranked.name),
            f"{ranked.distance:.2f}",
            signed(ranked.gain),
            style="bold" if chosen else None,
        )
    if len(selection.ranking) > most:
        table.add_row("", "", Text(f"and {len(selection.ranking) - most} more", style="dim"))
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
