"""Pages with pictures: the pairs are inside, nothing is loaded from elsewhere, and what is told is escaped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xpert.records import Combination, Explanation, PicturePair, PoolRecord, Selection
from xpert.reporting.gallery import gallery
from xpert.reporting.image_story import image_headline, image_story_page
from xpert.reporting.markup import Markup
from xpert.reporting.page import explanation_page, selection_page
from xpert.selecting import select


@pytest.fixture
def pairs(tmp_path: Path) -> list[PicturePair]:
    for number in range(4):
        Image.new("RGB", (300, 200), (60 * number, 20, 90)).save(tmp_path / f"{number}.png")
    return [PicturePair(f"a <b>{n}</b> on the sea", tmp_path / f"{n}.png", tmp_path / "3.png") for n in range(3)]


@dataclass(frozen=True)
class Shown:
    name: str
    explanation: Explanation
    pictures: Markup


@dataclass(frozen=True)
class Story:
    pool: tuple[PoolRecord, ...]
    single: Selection
    mixed: Selection
    merge: Combination
    merged: Explanation | None


def test_a_gallery_holds_small_pictures_and_escaped_captions(pairs: list[PicturePair]) -> None:
    html = gallery(pairs, labels=("base", "mine"), most=2)
    assert html.count("<img ") == html.count("data:image/png;base64,") == 4
    assert "and 1 more pairs" in html and "&lt;b&gt;0&lt;/b&gt;" in html and "<b>0" not in html
    assert 'alt="base: a ' in html


def test_pages_say_pictures_where_pictures_were_read(person: Explanation, pairs: list[PicturePair]) -> None:
    shown = gallery(pairs, labels=("base", "mine"))
    html = explanation_page(person, title="mine", of="pictures", pictures=shown)
    assert (
        "pairs of pictures" in html and "what the base model paints" in html and "text that was rewritten" not in html
    )
    assert "http" not in html.replace("http://www.w3.org", "")
    assert "pairs of texts" in explanation_page(person, title="mine")


def test_a_selection_page_shows_the_persons_pictures(person: Explanation, pairs: list[PicturePair], pool: Any) -> None:
    records = list(pool)
    html = selection_page(select(person, records), records, title="me", pictures=gallery(pairs, labels=("base", "me")))
    assert "Your pictures" in html and html.count("<img ") == 6


def test_the_image_story_tells_the_merge(person: Explanation, pairs: list[PicturePair], pool: Any) -> None:
    records = tuple(pool)
    selection = select(person, records)
    shown = gallery(pairs, labels=("base", "mine"))
    weights = {records[0].name: 0.7, records[1].name: 0.4}
    merge = Combination(weights=weights, distance=0.2, gain=0.9, coordinates=(0.5,) * len(person.position))
    story = Story(records, selection, selection, merge, person)
    parts = [Shown(name, person, shown) for name in (records[0].name, "merged", "ada", "iris")]
    html = image_story_page(story, parts, command="xpert demo --images")
    assert image_headline(story) in html and "merged" in image_headline(story)
    assert f"0.70 {records[0].name} + 0.40 {records[1].name}" in html
    alone = Story(records, selection, selection, merge.model_copy(update={"weights": {}}), None)
    assert "start from the base" in image_headline(alone)
    assert "No sum of models" in image_story_page(alone, [parts[0], *parts[2:]])


def test_a_persons_own_photos_are_not_said_to_be_painted(person: Explanation, pairs: list[PicturePair]) -> None:
    shown = gallery(pairs, labels=("base", "yours"))
    assert "the same noise" in explanation_page(person, title="mine", of="pictures", pictures=shown)
    html = explanation_page(person, title="me", of="pictures", pictures=shown, pictures_lead="Right: your own.")
    assert "Right: your own." in html and "the same noise" not in html


def test_the_image_story_without_a_style_is_a_sentence(make_explanation: Any, pool: Any) -> None:
    records, faint = tuple(pool), make_explanation(0.01, 0.02, 0.0, 0.01)
    selection = select(faint, records)
    merge = Combination(weights={}, distance=0.2, gain=0.0, coordinates=(0.0,) * len(faint.position))
    said = image_headline(Story(records, selection, selection, merge, None))
    assert said.startswith("Pictures in which no style stands out from the noise: nothing in the pool fits")
