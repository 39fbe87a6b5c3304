"""The page of a demo: a person, what their texts say, the pool, the choice, and two tuning runs to one loss.

Knows the shape of a demo's result; never sees how it was made.
"""

from __future__ import annotations

from typing import Protocol

from xpert.records import PoolRecord, Selection
from xpert.reporting.charts import Curve, loss_chart
from xpert.reporting.markup import Markup, element, inside
from xpert.reporting.page import (
    capitalised,
    cards,
    cards_lead,
    choice_panel,
    document,
    explanation_panel,
    footer,
    heading,
    ranking_lead,
    ranking_table,
    section,
    sentence,
)
from xpert.reporting.wording import duration, fewer, summary


class Run(Protocol):
    """One tuning run: `start` is the name of a pLLM, None for the base."""

    @property
    def start(self) -> str | None: ...
    @property
    def steps(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def samples(self) -> int: ...
    @property
    def losses(self) -> tuple[tuple[int, float], ...]: ...


class Story(Protocol):
    """What a demo found out; see `xpert.evaluation.demo.DemoResult`."""

    @property
    def person(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def pool(self) -> tuple[PoolRecord, ...]: ...
    @property
    def selection(self) -> Selection: ...
    @property
    def target_loss(self) -> float: ...
    @property
    def scratch(self) -> Run: ...
    @property
    def warm(self) -> Run | None: ...


def story_page(story: Story, *, command: str | None = None) -> str:
    """A demo as a page.

    Args:
        story: its result.
        command: how to make the page again.
    """
    name = capitalised(story.person)
    selection, person = story.selection, story.selection.person
    chosen = selection.choice or "the base"
    return document(
        f"{name}: {headline(story)}",
        heading(headline(story), sentence(story.title)),
        _result(story),
        section(
            1,
            f"{name}’s texts, in words",
            explanation_panel(person),
            lead=f"What sets {name}’s texts apart from the base model’s answers to the same {person.pairs} prompts: "
            f"{summary(person)}. 1 is about as much as in a text that was rewritten in that style.",
        ),
        section(2, "The pool, in the same words", cards(selection, story.pool), lead=cards_lead(selection)),
        section(
            3,
            f"The choice: {chosen}",
            choice_panel(selection, story.pool),
            element(
                "details",
                element("summary", "The whole ranking"),
                element("p", ranking_lead(selection)),
                ranking_table(selection, story.pool),
            ),
            lead=sentence(selection.reason),
        ),
        section(4, "Tuning to the same loss", _runs(story), lead=_tuning_lead(story)),
        footer(person.digests, command),
        kicker="Demo",
    )


def headline(story: Story) -> str:
    """The result in one line, whatever it is."""
    if story.warm is None:
        return f"Nothing in the pool fits {capitalised(story.person)}, so tuning starts from the base"
    if not reached(story):
        return f"From {story.warm.start}, the loss of tuning from scratch was not reached"
    if story.warm.steps == 0:
        return "As good as tuned from scratch, before the first step"
    ratio = fewer(story.scratch.steps, story.warm.steps)
    return f"{ratio} fewer steps than from scratch" if ratio else "No faster than from scratch this time"


def reached(story: Story) -> bool:
    """Whether the second run came down to the loss that the first one set."""
    return bool(story.warm and story.warm.losses and story.warm.losses[-1][1] <= story.target_loss)


def _result(story: Story) -> Markup:
    """Both runs as bars of steps: the first thing that is seen."""
    if story.warm is None:
        return element(
            "div", _length("scratch", "from the base", story.scratch.steps, story.scratch.steps), class_="race"
        )
    longest = max(story.scratch.steps, story.warm.steps, 1)
    return element(
        "div",
        _length("scratch", "from scratch", story.scratch.steps, longest),
        _length("warm", f"from {story.warm.start}", story.warm.steps, longest),
        class_="race",
    )


def _length(kind: str, name: str, steps: int, longest: int) -> Markup:
    share = 100 * steps / max(longest, 1)
    bar = element("i", class_=kind, style=f"width:{max(share, 0.4):.1f}%")
    text = inside(element("b", str(steps)), " step" if steps == 1 else " steps")
    return element(
        "div",
        element("span", name, class_="name"),
        element("span", bar, class_="way"),
        element("span", text, class_="num"),
    )


def _tuning_lead(story: Story) -> str:
    steps, target = story.scratch.steps, f"{story.target_loss:.3f}"
    scratch = f"Tuning from scratch reached its lowest validation loss, {target}, after {steps} steps."
    if story.warm is None:
        return f"{scratch} Nothing in the pool was near enough to start from, so there is no second run."
    if not reached(story):
        return f"{scratch} From {story.warm.start} that loss was not reached in {story.warm.steps} steps."
    return f"{scratch} From {story.warm.start} the same loss took {story.warm.steps}."


def _runs(story: Story) -> Markup:
    curves = [Curve("from scratch", "scratch", story.scratch.losses)]
    runs = [("scratch", "from scratch", story.scratch)]
    if story.warm is not None:
        curves.append(Curve(f"from {story.warm.start}", "warm", story.warm.losses))
        runs.append(("warm", f"from {story.warm.start}", story.warm))
    legend = element(
        "p", *(element("span", element("i", class_=f"line {k}"), name) for k, name, _ in runs), class_="legend"
    )
    header = element("tr", *(element("th", n, scope="col") for n in ("", "steps", "time", "samples", "loss")))
    rows = [
        element(
            "tr",
            element("th", element("i", class_=f"line {kind}"), name, scope="row"),
            element("td", str(run.steps)),
            element("td", duration(run.seconds)),
            element("td", str(run.samples)),
            element("td", f"{run.losses[-1][1]:.3f}" if run.losses else "–"),
        )
        for kind, name, run in runs
    ]
    table = element("table", element("thead", header), element("tbody", *rows))
    chart = element(
        "figure", element("figcaption", "validation loss, nats a token"), loss_chart(curves, story.target_loss)
    )
    return inside(element("div", legend, chart, class_="panel"), table)
