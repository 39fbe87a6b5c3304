"""Merges in the terminal: what is proposed, how near a wish can be had, what was predicted beside what came out.

Knows records and reports; lays tables out with Rich.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xpert.records import Combination, Explanation, Selection
from xpert.reporting.wording import NOTHING, percent, signed, sum_of, summary

if TYPE_CHECKING:
    from xpert.device.merging import MergeReport


def combination_view(selection: Selection, merged: Combination, command: str) -> list[RenderableType]:
    """A merge, where one lies nearer than the best single model by more than the noise; else nothing."""
    if len(merged.weights) < 2:
        return []
    single = min((ranked.gap for ranked in selection.ranking), default=0.0)
    facts = f"a merge lies nearer: {sum_of(merged.weights)}, at {merged.distance:.2f}"
    facts += f" where the nearest single one, as it is, is at {single:.2f}"
    return [Text(), Text(facts), Text(command, style="dim")]


def wish_view(wished: Explanation, plan: Combination, predicted: Mapping[str, float]) -> RenderableType:
    """How near a pool comes to a wish: every word as it was wished and as the nearest sum of models has it."""
    if not plan.weights:
        return Text(f"no model of the pool comes nearer to this wish than the base, by more than {wished.noise:.2f}")
    length = plan.distance + plan.gain
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("word")
    table.add_column("wished", justify="right")
    table.add_column("predicted", justify="right")
    for word in sorted(wished.words, key=lambda one: (-one.coefficient, -predicted[one.word], one.word)):
        table.add_row(word.word, signed(word.coefficient), signed(predicted[word.word]))
    near = f"nearest: {sum_of(plan.weights)}, {plan.distance:.2f} away where the base is {length:.2f} away"
    return Group(Text(near), table)


def merge_view(report: MergeReport) -> RenderableType:
    """A merge that was written: parents and weights, then what was predicted of it beside what it is."""
    done = report.done
    what = f"LoRA of rank {done.rank}" if done.rank else "whole weights"
    heading = Text(f"{sum_of(done.weights)}: {done.out} ({what})", style="bold")
    parts: list[RenderableType] = [heading]
    if done.error:
        parts.append(Text(f"the LoRA differs from the merged differences by {percent(done.error)} of their length"))
    if report.measured is not None:
        parts += [
            "",
            Text(summary(report.measured), style="bold cyan"),
            _predictions(report.predicted, report.measured),
        ]
    elif report.predicted is not None:
        told = ", ".join(f"{word} {signed(z)}" for word, z in report.predicted.items() if z > 0)
        parts.append(Text(f"predicted: {told or NOTHING}"))
    if report.distance is not None and report.plan is not None:
        parts.append(
            Text(
                f"distance {report.distance:.2f}, predicted {report.plan.distance:.2f}; 1 is a full style", style="dim"
            )
        )
    return Group(*parts)


def _predictions(predicted: Mapping[str, float] | None, measured: Explanation) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("word")
    if predicted is not None:
        table.add_column("predicted", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("noise", justify="right", style="dim")
    for word in sorted(measured.words, key=lambda one: (-one.coefficient, one.word)):
        told = [] if predicted is None else [signed(predicted[word.word])]
        style = None if word.above_noise else "dim"
        table.add_row(word.word, *told, signed(word.coefficient), f"{word.floor:.2f}", style=style)
    return table
