"""Words are whole, lower-case and fit to name a style."""

import pytest

from xpert.space.words import merge_candidates, normalise


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (" Humorous.", "humorous"),
        ("**Formal**", "formal"),
        ("light-hearted!", "light-hearted"),
        ("ＦＯＲＭＡＬ", "formal"),
        ("Concise, clear", "concise"),
        ("élégant", "élégant"),
        ("the", None),
        ("a", None),
        ("42", None),
        ("", None),
        ("x" * 40, None),
    ],
)
def test_normalise(raw: str, word: str | None) -> None:
    assert normalise(raw) == word


def test_equal_words_add_up_and_come_in_a_fixed_order() -> None:
    merged = merge_candidates([("formal", 0.2), ("dry", 0.3), (" Formal.", 0.2), ("wry", 0.3), ("the", 0.9)])
    assert merged == [("formal", 0.4), ("dry", 0.3), ("wry", 0.3)]
