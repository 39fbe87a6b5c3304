"""Static pages that need nothing but a browser: an explanation, a selection, the story of a demo.

Pure functions from records to HTML; `write_page` is the only one that touches the disk. A page loads
nothing from elsewhere and runs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from xpert.records import Digests, Explanation, PoolRecord, Ranked, Selection
from xpert.reporting.charts import Scale, explanation_chart, paired_chart, scale_over, small_chart
from xpert.reporting.markup import Markup, element, inside
from xpert.reporting.wording import percent, signed, summary, typeset
from xpert.writing import whole_file

_CARDS = 12


def write_page(path: Path, html: str) -> None:
    """Write atomically: a reader sees the old page or the whole new one; only the user may read it.

    A page tells of a person, shows their pictures, and may name their files.

    Raises:
        StorageError: the disk refused; the old page stays.
    """
    with whole_file(Path(path).expanduser(), private=True) as fresh:
        fresh.write_text(html, encoding="utf-8", newline="\n")


def document(title: str, *parts: Markup, kicker: str) -> str:
    """A whole page: head with the style sheet, a line with the name of the product, the parts."""
    style = (files("xpert.reporting") / "page.css").read_text("utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · XPerT"),
        element("style", Markup(style)),
    )
    brand = element("div", element("b", "XPerT"), element("span", kicker), class_="brand")
    body = element("body", element("main", brand, *parts))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def explanation_page(
    explanation: Explanation,
    *,
    title: str,
    command: str | None = None,
    of: str = "texts",
    pictures: Markup | None = None,
    pictures_lead: str = "The same captions, the same noise.",
) -> str:
    """One explanation as a page.

    Args:
        explanation: what to show.
        title: whose it is: a file, a pLLM or a person.
        command: how to make the page again.
        of: what it was read from, texts or pictures.
        pictures: the pairs of pictures (`gallery.gallery`), where they are at hand.
        pictures_lead: what the two pictures of a pair have in common.
    """
    said = capitalised(summary(explanation))
    return document(
        f"{title}: {said}",
        heading(said, inside(element("strong", title), f", read from {explanation.pairs} pairs of {of}")),
        section(None, "In words, with numbers", explanation_panel(explanation), lead=bars_lead(of)),
        *picture_section(pictures, pictures_lead),
        footer(explanation.digests, command),
        kicker="Explanation",
    )


def bars_lead(of: str) -> str:
    """What a bar means, for texts or pictures."""
    if of == "pictures":
        return "Each bar says how much of the word sets these pictures apart from what the base model paints."
    return (
        "Each bar says how much of the word sets these texts apart from what the base model writes; 1 is about as "
        "much as in a text that was rewritten in that style."
    )


def picture_section(pictures: Markup | None, lead: str) -> list[Markup]:
    """The pairs of pictures, where there are any."""
    if pictures is None:
        return []
    return [section(None, "The pictures", pictures, lead=lead)]


def selection_page(
    selection: Selection,
    candidates: Sequence[PoolRecord],
    *,
    title: str,
    command: str | None = None,
    pictures: Markup | None = None,
) -> str:
    """A selection as a page: the choice and why, the person beside the choice, all candidates, the ranking.

    Args:
        selection: what to show.
        candidates: records of the pool; those without an explanation in the person's space are left out of the charts.
        title: whose data it is.
        command: how to make the page again.
        pictures: the person's pictures beside the base's (`gallery.gallery`).
    """
    chosen = f"Start from {selection.choice}" if selection.choice else "Start from the base"
    return document(
        f"{title}: {chosen}",
        heading(chosen, inside(element("strong", title), f": {summary(selection.person)}")),
        section(None, "Why", choice_panel(selection, candidates), lead=sentence(selection.reason)),
        *([section(None, "Your pictures", pictures)] if pictures is not None else []),
        section(None, "All candidates", cards(selection, candidates), lead=cards_lead(selection)),
        section(None, "Ranking", ranking_table(selection, candidates), lead=ranking_lead(selection)),
        footer(selection.person.digests, command),
        kicker="Selection",
    )


def explanation_panel(explanation: Explanation, scale: Scale | None = None) -> Markup:
    """Bars, what their marks mean, and the share that no word explains."""
    if not explanation.words:
        return element("p", "The space has no words, so nothing can be said.", class_="quiet")
    legend = element(
        "p",
        _key("person", "above the noise"),
        _key("within", "within it"),
        _key("band", "noise floor: the base against itself"),
        _key("whisker", f"{percent(explanation.interval)} interval over prompts"),
        class_="legend",
    )
    rest = min(1.0, explanation.residual)
    residual = element(
        "p",
        element("strong", f"{explanation.residual:.2f} residual"),
        f": {percent(rest)} of what sets them apart is in no word of this space.",
        class_="quiet",
    )
    return element("div", legend, explanation_chart(explanation, scale), residual, class_="panel")


def choice_panel(selection: Selection, candidates: Sequence[PoolRecord]) -> Markup:
    """The person's bars with the chosen pLLM's under them; alone where the choice is the base."""
    chosen = next((r.explanation for r in candidates if r.name == selection.choice), None)
    if selection.choice is None or chosen is None or not _comparable(selection.person, chosen):
        return explanation_panel(selection.person)
    legend = element("p", _key("person", "this person"), _key("model", selection.choice), class_="legend")
    scale = scale_over([selection.person, chosen])
    labels = ("this person", selection.choice)
    return element("div", legend, paired_chart(selection.person, chosen, scale, labels=labels), class_="panel")


def cards(selection: Selection, candidates: Sequence[PoolRecord]) -> Markup:
    """The nearest candidates as small multiples on one scale, each with the person's marks."""
    found = {r.name: r.explanation for r in candidates}
    shown: list[tuple[int, Ranked, Explanation]] = []
    for place, ranked in enumerate(selection.ranking[:_CARDS], 1):
        explanation = found.get(ranked.name)
        if explanation is not None and _comparable(selection.person, explanation):
            shown.append((place, ranked, explanation))
    if not shown:
        return element("p", "There is no candidate to draw.", class_="quiet")
    scale = scale_over([selection.person, *(explanation for _, _, explanation in shown)])
    drawn = [
        element(
            "article",
            element("h3", ranked.name, *([_tag("chosen")] if ranked.name == selection.choice else [])),
            element("p", f"{place}. {summary(explanation)}", class_="quiet"),
            small_chart(selection.person, explanation, scale),
            class_="card chosen" if ranked.name == selection.choice else "card",
        )
        for place, ranked, explanation in shown
    ]
    legend = element("p", _key("model", "the candidate"), _key("mark", "this person"), class_="legend")
    return inside(legend, element("div", *drawn, class_="cards"))


def cards_lead(selection: Selection) -> str:
    """What the cards show, and how many they leave out."""
    left = len(selection.ranking) - _CARDS
    text = "Nearest first, all on one scale. The mark in every row is where this person stands."
    return f"{text} The {left} farther ones are in the ranking only." if left > 0 else text


def ranking_table(selection: Selection, candidates: Sequence[PoolRecord]) -> Markup:
    """All candidates with distance and gain, nearest first."""
    found = {r.name: r.explanation for r in candidates}
    header = element("tr", *(element("th", name, scope="col") for name in ("", "pLLM", "distance", "gain")))
    rows = []
    for place, ranked in enumerate(selection.ranking, 1):
        explanation = found.get(ranked.name)
        words = element("small", summary(explanation)) if explanation else Markup()
        chosen = ranked.name == selection.choice
        rows.append(
            element(
                "tr",
                element("td", str(place)),
                element("th", ranked.name, *([_tag("chosen")] if chosen else []), words, scope="row"),
                element("td", f"{ranked.distance:.2f}"),
                element("td", typeset(signed(ranked.gain))),
                class_="chosen" if chosen else None,
            )
        )
    return element("table", element("thead", header), element("tbody", *rows))


def ranking_lead(selection: Selection) -> str:
    """What the columns of the ranking mean."""
    return (
        "Distance compares the kind of style (1 − cosine, 0 is the same direction). Gain is how much nearer than the "
        f"base a candidate lies; the base itself reaches {selection.noise:.2f} by chance, and a choice must gain more. "
        f"The margin to the second is {selection.margin:.2f}."
    )


def heading(title: str, lead: str) -> Markup:
    """The first thing that is read."""
    return element("header", element("h1", title), element("p", lead, class_="lead"))


def section(number: int | None, title: str, *parts: Markup, lead: str | None = None) -> Markup:
    """A part of a page, numbered where it is a step of a story."""
    step = [element("span", str(number), class_="step")] if number is not None else []
    said = [element("p", lead, class_="say")] if lead else []
    return element("section", element("h2", *step, title), *said, *parts)


def footer(digests: Digests, command: str | None) -> Markup:
    """How to make the page again, and the digests of everything that it was made with."""
    named = (
        ("base", digests.base),
        ("summarizer", digests.summarizer),
        ("prompts", digests.prompts),
        ("space", digests.space),
    )
    rows = [inside(element("dt", name), element("dd", digest)) for name, digest in named]
    again = []
    if command:
        again = [element("p", "Make this page again with ", element("code", command))]
    said = "The same files give the same numbers. Explanations compare only where base, summarizer and space agree."
    return element("footer", *again, element("p", said), element("dl", *rows))


def capitalised(text: str) -> str:
    """A text with a capital first letter."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """A text as a sentence."""
    return capitalised(text) + ("" if text.endswith(".") else ".")


def _comparable(one: Explanation, other: Explanation) -> bool:
    return [w.word for w in one.words] == [w.word for w in other.words]


def _key(kind: str, text: str) -> Markup:
    return element("span", element("i", class_=kind), text)


def _tag(text: str) -> Markup:
    return element("em", text, class_="tag")
