"""Algorithm 1: thresholds that really filter and stop, and a basis that only grows at its end."""

from pathlib import Path

import numpy as np
import pytest

from xpert.errors import SpaceError
from xpert.space.basis import Space, grow, grow_over
from xpert.space.storing import load_space, save_space

WIDTH = 24
RNG = np.random.default_rng(0)
DIRECTIONS = dict(
    zip(("formal", "humorous", "concise", "poetic"), np.linalg.qr(RNG.normal(size=(WIDTH, 4)))[0].T, strict=True)
)
DIRECTIONS["stately"] = 0.98 * DIRECTIONS["formal"] + 0.2 * DIRECTIONS["poetic"]


def empty(**changes: float) -> Space:
    return Space(
        words=(),
        vectors=np.zeros((0, WIDTH)),
        origin=np.linspace(-1, 1, WIDTH),
        null=np.linspace(-1, 1, WIDTH) + 0.01 * RNG.normal(size=(20, WIDTH)),
        scale=2.0,
        summarizer="s" * 64,
        base="b" * 64,
        prompts="p" * 64,
        **{"e_ortho": 0.6, "e_decomp": 0.1, **changes},
    )


def mixture(**parts: float) -> np.ndarray:
    return empty().origin + sum(2.0 * part * DIRECTIONS[word] for word, part in parts.items())


def vectors_of(words):
    return np.stack([DIRECTIONS[word] for word in words])


CANDIDATES = [("formal", 0.4), ("stately", 0.3), ("humorous", 0.2), ("concise", 0.05), ("poetic", 0.01)]


def test_a_planted_mixture_gets_its_words_and_coefficients() -> None:
    embedding = mixture(formal=0.9, concise=0.4)
    space = grow(empty(), embedding, CANDIDATES, vectors_of)
    assert space.words[0] == "formal"
    assert set(space.words) >= {"formal", "concise"}
    found = dict(zip(space.words, space.coefficients(embedding), strict=True))
    assert found["formal"] == pytest.approx(0.9, abs=1e-5)
    assert found["concise"] == pytest.approx(0.4, abs=1e-5)


def test_the_ortho_threshold_leaves_a_synonym_out_and_a_wide_one_lets_it_in() -> None:
    embedding = mixture(formal=0.9, poetic=0.5)
    assert "stately" not in grow(empty(), embedding, CANDIDATES, vectors_of).words
    assert "stately" in grow(empty(e_ortho=1.0), embedding, CANDIDATES, vectors_of).words


def test_the_decomposition_threshold_stops() -> None:
    embedding = mixture(formal=0.9, concise=0.2)
    assert grow(empty(e_decomp=0.5), embedding, CANDIDATES, vectors_of).words == ("formal",)
    assert len(grow(empty(e_decomp=0.01), embedding, CANDIDATES, vectors_of).words) > 1


def test_a_second_model_adds_words_at_the_end_and_moves_no_published_coordinate() -> None:
    first, second = mixture(formal=1.0), mixture(formal=0.2, humorous=0.9)
    one = grow(empty(), first, CANDIDATES, vectors_of)
    two = grow_over(one, [(second, CANDIDATES)], vectors_of)
    assert two.words[: len(one.words)] == one.words
    assert "humorous" in two.words
    np.testing.assert_array_equal(two.vectors[: len(one.words)], one.vectors)
    np.testing.assert_allclose(two.coefficients(first)[: len(one.words)], one.coefficients(first), atol=1e-9)


def test_growing_changes_nothing_given() -> None:
    space = empty()
    before = space.digest
    grow(space, mixture(formal=1.0), CANDIDATES, vectors_of)
    assert space.digest == before
    assert space.words == ()


def test_no_candidate_that_fits_ends_the_search() -> None:
    assert grow(empty(), mixture(formal=1.0), [], vectors_of).words == ()


def test_a_word_twice_a_wrong_width_and_a_zero_direction_are_refused() -> None:
    space = empty().with_word("formal", DIRECTIONS["formal"])
    with pytest.raises(SpaceError, match="'formal' is in the space already"):
        space.with_word("formal", DIRECTIONS["poetic"])
    with pytest.raises(SpaceError, match=r"expects \(24,\)"):
        space.with_word("poetic", np.ones(5))
    with pytest.raises(SpaceError, match="length 0"):
        space.with_word("poetic", np.zeros(WIDTH))


def test_saved_and_loaded_spaces_are_equal_to_the_last_bit(tmp_path: Path) -> None:
    space = empty().with_word("formal", DIRECTIONS["formal"]).with_word("ähnlich", DIRECTIONS["poetic"])
    save_space(space, tmp_path / "deep" / "space.safetensors")
    loaded = load_space(tmp_path / "deep" / "space.safetensors")
    assert loaded.digest == space.digest
    assert (loaded.words, loaded.scale, loaded.e_ortho, loaded.e_decomp) == (
        space.words,
        space.scale,
        space.e_ortho,
        space.e_decomp,
    )
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["space.safetensors"]


def test_a_missing_or_damaged_space_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="xpert pool reindex"):
        load_space(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(SpaceError, match="is not a space"):
        load_space(tmp_path / "bad")
