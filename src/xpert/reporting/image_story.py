"""The page of the image demo: models and people in the same words, with their pictures, one choice and one merge.

Knows the shape of the demo's result; never sees how it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xpert.records import Combination, Explanation, PoolRecord, Selection
from xpert.reporting.charts import paired_chart, scale_over
from xpert.reporting.markup import Markup, element, inside
from xpert.reporting.page import (
    capitalised,
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
from xpert.reporting.wording import NOTHING, joined, summary


class Shown(Protocol):
    """An explanation with its pictures; see `xpert.evaluation.image_demo.Shown`."""

    @property
    def name(self) -> str: ...
    @property
    def explanation(self) -> Explanation: ...
    @property
    def pictures(self) -> Markup: ...


class ImageStory(Protocol):
    """What the demo found out; see `xpert.evaluation.image_demo.ImageDemoResult`."""

    @property
    def pool(self) -> tuple[PoolRecord, ...]: ...
    @property
    def single(self) -> Selection: ...
    @property
    def mixed(self) -> Selection: ...
    @property
    def merge(self) -> Combination: ...
    @property
    def merged(self) -> Explanation | None: ...


def image_headline(story: ImageStory) -> str:
    """The result in one line, whatever it is."""
    said = summary(story.mixed.person, 2)
    pictures = f"Pictures in which {NOTHING}" if said == NOTHING else f"Pictures that are {said}"
    if story.merged is None:
        return f"{pictures}: nothing in the pool fits, so start from the base"
    if len(story.merge.weights) < 2:
        return f"{pictures}: start from {next(iter(story.merge.weights))}"
    return f"{pictures}: start from {joined(list(story.merge.weights))}, merged"


def image_story_page(story: ImageStory, shown: Sequence[Shown], *, command: str | None = None) -> str:
    """The image demo as a page.

    Args:
        story: its result.
        shown: models, where there is one the merge (named "merged"), then the two people.
        command: how to make the page again.
    """
    *models, first, second = shown
    merged = next((one for one in models if one.name == "merged"), None)
    told = [one for one in models if one is not merged]
    number = iter(range(1, 10))
    parts = [
        section(
            next(number),
            "Models of the pool, explained",
            *(_panel(one) for one in told),
            lead="Base and personalized model paint the same captions from the same noise; the words say what sets "
            "the right pictures apart from the left ones.",
        ),
        section(
            next(number),
            f"{capitalised(first.name)}: start from {story.single.choice or 'the base'}",
            first.pictures,
            choice_panel(story.single, story.pool),
            lead=sentence(story.single.reason),
        ),
        section(
            next(number),
            f"{capitalised(second.name)}: two styles at once",
            second.pictures,
            explanation_panel(second.explanation),
            element(
                "details",
                element("summary", "The whole ranking"),
                element("p", ranking_lead(story.mixed)),
                ranking_table(story.mixed, story.pool),
            ),
            lead=f"The nearest single model: {story.mixed.choice or 'none'}. {_plan(story)}",
        ),
    ]
    if merged is not None:
        parts.append(section(next(number), "The merge", merged.pictures, _compared(story), lead=_merge_lead(story)))
    return document(
        "Image models",
        heading(image_headline(story), "Everything here was painted, explained and merged on this machine."),
        *parts,
        footer(story.mixed.person.digests, command),
        kicker="Demo of image models",
    )


def _panel(one: Shown) -> Markup:
    return inside(
        element("h3", f"{one.name}: {summary(one.explanation)}"), one.pictures, explanation_panel(one.explanation)
    )


def _plan(story: ImageStory) -> str:
    if not story.merge.weights:
        return "No sum of models lies nearer than the base."
    terms = " + ".join(f"{weight:.2f} {name}" for name, weight in story.merge.weights.items())
    return f"Nearest of all: {terms}, at a distance of {story.merge.distance:.2f}."


def _compared(story: ImageStory) -> Markup:
    """The person's bars with the merge's under them."""
    assert story.merged is not None
    person = story.mixed.person
    scale = scale_over([person, story.merged])
    legend = element(
        "p",
        element("span", element("i", class_="person"), "this person"),
        element("span", element("i", class_="model"), "the merge, as measured"),
        class_="legend",
    )
    chart = paired_chart(person, story.merged, scale, labels=("this person", "the merge"))
    return element("div", legend, chart, class_="panel")


def _merge_lead(story: ImageStory) -> str:
    assert story.merged is not None
    said = summary(story.merged, 2)
    told = f"{NOTHING} in what it paints" if said == NOTHING else f"it is {said}"
    return f"The base plus the weighted sum of the models’ differences from it. Asked the same captions, {told}."
