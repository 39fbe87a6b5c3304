"""The image models of the package: explained rightly, right about the sample people, and what a merge is for."""

from pathlib import Path

import pytest

from xpert.data.pictures import open_pictures
from xpert.device.pictures import picture_files
from xpert.embedded import EMBEDDED_IMAGE_POOL, PICTURE_PEOPLE
from xpert.evaluation.image_demo import MIXED, SINGLE, picture_people
from xpert.explainer import PictureExplainer
from xpert.merging.weights import combine
from xpert.opening import open_picture_explainer
from xpert.pool import Pool, open_pool
from xpert.records import Explanation
from xpert.selecting import select

EXPECTED = {SINGLE: {"striped"}, MIXED: {"red", "dotted"}}
PICTURES = 8


@pytest.fixture(scope="module")
def pool() -> Pool:
    return open_pool(EMBEDDED_IMAGE_POOL, read_only=True)


@pytest.fixture(scope="module")
def explainer(tmp_path_factory: pytest.TempPathFactory) -> PictureExplainer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_picture_explainer(EMBEDDED_IMAGE_POOL)


def explained(explainer: PictureExplainer, name: str) -> Explanation:
    with picture_files(open_pictures(str(PICTURE_PEOPLE / name)), limit=PICTURES) as pictures:
        return explainer.explain_pictures(pictures)


def test_the_strongest_word_of_every_model_is_its_style(pool: Pool) -> None:
    records = pool.list()
    assert len(records) >= 9
    for record in records:
        assert record.explanation is not None
        assert [word.word for word in record.explanation.strongest(1)] == [record.name]


def test_a_person_of_one_style_starts_from_that_model(pool: Pool, explainer: PictureExplainer) -> None:
    selection = select(explained(explainer, SINGLE), pool.list())
    assert {selection.choice} == EXPECTED[SINGLE]


def test_a_person_of_two_styles_gets_a_merge_of_both(pool: Pool, explainer: PictureExplainer) -> None:
    person = explained(explainer, MIXED)
    assert {word.word for word in person.strongest(2)} == EXPECTED[MIXED]
    assert set(combine(person, pool.list()).weights) == EXPECTED[MIXED]


def test_whoever_paints_plainly_starts_from_the_base(pool: Pool, explainer: PictureExplainer) -> None:
    assert select(explained(explainer, "max"), pool.list()).choice is None


def test_the_sample_people_are_here() -> None:
    assert {SINGLE, MIXED, "max"} <= set(picture_people())
    for name in picture_people():
        assert len(open_pictures(str(Path(PICTURE_PEOPLE) / name))) >= 20
