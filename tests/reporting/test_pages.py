"""The pages: whole, safe, self-contained, and saying everything."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from xpert.errors import StorageError
from xpert.records import Explanation, PoolRecord, Selection
from xpert.reporting.page import explanation_page, selection_page, write_page
from xpert.reporting.story import headline, story_page

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects text and tags; fails on a tag that is closed out of order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split()).replace("\N{MINUS SIGN}", "-")


@pytest.fixture
def pages(person: Explanation, selection: Selection, pool: tuple[PoolRecord, ...], story: Any) -> dict[str, str]:
    return {
        "explanation": explanation_page(person, title="@mia", command="xpert explain @mia"),
        "selection": selection_page(selection, pool, title="@mia"),
        "abstaining": selection_page(selection.model_copy(update={"choice": None}), pool, title="@mia"),
        "story": story_page(story, command="xpert demo mia"),
        "story without a second run": story_page(replace(story, warm=None)),
    }


def test_pages_are_well_formed_and_need_nothing_from_elsewhere(pages: dict[str, str]) -> None:
    for page in pages.values():
        assert page.startswith("<!doctype html>")
        read = Reader(page)
        names = {tag for tag, _ in read.tags}
        assert {"title", "style", "main", "h1", "footer"} <= names
        assert not names & {"script", "link", "img", "iframe", "object"}
        assert not any({"src", "href", "onclick", "onload"} & set(attributes) for _, attributes in read.tags)
        assert "http" not in page
        assert "url(" not in page
        assert "@import" not in page
        assert "prefers-color-scheme: dark" in page
        assert 'name="viewport"' in page


def test_an_explanation_page_holds_every_word_and_number(pages: dict[str, str], person: Explanation) -> None:
    text = Reader(pages["explanation"]).text
    for word in person.words:
        assert word.word in text
        for value in (word.coefficient, word.low, word.high):
            assert f"{value:+.2f}" in text
        assert f"noise floor {word.floor:.2f}" in text
    for part in ("Expert and neutral", "0.37", "50 pairs", "95%", "xpert explain @mia", *vars(person.digests).values()):
        assert part in text


def test_bars_point_where_the_sign_says_and_show_floor_and_interval(person: Explanation) -> None:
    tags = Reader(explanation_page(person, title="x")).tags
    zero = float(next(a["x1"] or "" for t, a in tags if t == "line" and a["class"] == "zero"))
    bars = [a for t, a in tags if t == "rect" and a["class"] in ("person", "within")]
    assert [a["class"] for a in bars] == ["person", "person", "person", "within"]
    for bar, word in zip(bars, person.words, strict=True):
        left, right = float(bar["x"] or ""), float(bar["x"] or "") + float(bar["width"] or "")
        assert (left, right)[word.coefficient < 0] == pytest.approx(zero, abs=0.1)
    bands = [a for t, a in tags if t == "rect" and a["class"] == "band"]
    assert len(bands) == len(person.words)
    assert all(float(a["x"] or "") < zero < float(a["x"] or "") + float(a["width"] or "") for a in bands)
    assert sum(t == "path" and a["class"] == "whisker" for t, a in tags) == len(person.words)


def test_a_selection_page_holds_the_ranking_and_the_reason(pages: dict[str, str], selection: Selection) -> None:
    text = Reader(pages["selection"]).text
    assert "Start from expert-concise" in text
    assert selection.reason[1:].replace("\N{MINUS SIGN}", "-") in text
    for ranked in selection.ranking:
        assert ranked.name in text
        assert f"{ranked.distance:.2f}" in text
        assert f"{ranked.gain:+.2f}" in text
    assert "Start from the base" in Reader(pages["abstaining"]).text


def test_a_story_page_tells_everything_in_order(pages: dict[str, str], story: Any) -> None:
    text = Reader(pages["story"]).text
    places = [
        text.index(part)
        for part in (
            "5× fewer steps than from scratch",
            "Mia’s texts, in words",
            "The pool, in the same words",
            "The choice: expert-concise",
            "Tuning to the same loss",
            "xpert demo mia",
        )
    ]
    assert places == sorted(places)
    for part in ("60 steps", "12 steps", "41 s", "8.4 s", "3.210", "3.190", "target 3.210", "playful", "d" * 64):
        assert part in text
    assert "from scratch, step 30: validation loss 3.500" in text


def test_the_headline_is_honest(story: Any) -> None:
    late = replace(story, warm=replace(story.warm, steps=70, losses=((0, 3.6), (70, 3.2))))
    missed = replace(story, warm=replace(story.warm, losses=((0, 3.6), (12, 3.4))))
    at_once = replace(story, warm=replace(story.warm, steps=0, losses=((0, 3.1),)))
    assert headline(late) == "No faster than from scratch this time"
    assert "was not reached" in headline(missed)
    assert "before the first step" in headline(at_once)
    assert headline(replace(story, warm=None)).startswith("Nothing in the pool fits Mia")


def test_names_and_texts_from_outside_are_escaped(
    make_explanation: Any, pool: tuple[PoolRecord, ...], story: Any
) -> None:
    evil = "<script>alert('x')</script>\"&"
    explanation = make_explanation(0.9, 0.1, 0.1, 0.1, words=(evil, "b", "c", "d"))
    records = (pool[0].model_copy(update={"name": evil, "explanation": explanation}),)
    base = story.selection
    ranking = (base.ranking[0].model_copy(update={"name": evil}),)
    selection = base.model_copy(update={"choice": evil, "ranking": ranking, "reason": evil, "person": explanation})
    told = replace(story, person=evil, title=evil, pool=records, selection=selection)
    told = replace(told, warm=replace(told.warm, start=evil))
    for page in (
        explanation_page(explanation, title=evil, command=evil),
        selection_page(selection, records, title=evil, command=evil),
        story_page(told, command=evil),
    ):
        assert "<script" not in page.lower()
        assert evil in "".join(Reader(page).words)


def test_a_space_without_words_still_gives_a_page(make_explanation: Any) -> None:
    assert "no words" in Reader(explanation_page(make_explanation(words=()), title="x")).text


def test_many_candidates_are_drawn_up_to_twelve_and_ranked_all(selection: Selection, pool: Any) -> None:
    names = [f"model-{n}" for n in range(30)]
    many = [pool[0].model_copy(update={"name": name}) for name in names]
    ranking = tuple(selection.ranking[0].model_copy(update={"name": name}) for name in names)
    page = selection_page(selection.model_copy(update={"ranking": ranking, "choice": names[0]}), many, title="x")
    read = Reader(page)
    assert sum(tag == "article" for tag, _ in read.tags) == 12
    assert "The 18 farther ones" in read.text
    assert all(re.search(rf"{name}\b", read.text) for name in names)


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "new" / "page.html"
    write_page(file, "one")
    write_page(file, "zwei – ✓")
    assert file.read_text("utf-8") == "zwei – ✓"
    assert [f.name for f in file.parent.iterdir()] == ["page.html"]
    with pytest.raises(StorageError, match="or give another place"):
        write_page(file / "below.html", "three")
    assert file.read_text("utf-8") == "zwei – ✓"
