"""What a person sees in the terminal."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from xpert.records import Explanation, PoolRecord, Selection
from xpert.reporting.bars import explanation_view, pool_view, record_view, runs_view, selection_view


def shown(view: RenderableType, *, width: int = 80, **options: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, **options).print(view)
    return file.getvalue()


def line_of(text: str, word: str) -> str:
    return next(line for line in text.splitlines()[1:] if line.startswith(word))


def test_the_first_line_says_it_in_words(person: Explanation) -> None:
    assert shown(explanation_view(person)).splitlines()[0].strip() == "expert and neutral"


def test_nothing_above_the_noise_is_said_so(make_explanation: Any) -> None:
    text = shown(explanation_view(make_explanation(0.05, -0.1, 0.02, 0.0)))
    assert text.startswith("no style stands out from the noise")
    assert "█" not in text.split("above the noise")[0].rsplit("\n", 1)[0]


def test_bars_show_sign_strength_and_noise_floor(person: Explanation) -> None:
    text = shown(explanation_view(person))
    left, right = line_of(text, "expert").split("│")
    assert "█" in right
    assert "█" not in left
    assert left.endswith("░")
    left, right = line_of(text, "detailed").split("│")
    assert left.endswith("█")
    assert "█" not in right
    assert right.startswith("░")
    weak = line_of(text, "humorous")
    assert "▒" in weak
    assert "█" not in weak


def test_longer_bars_are_larger_coefficients(person: Explanation) -> None:
    text = shown(explanation_view(person))
    assert line_of(text, "expert").count("█") > line_of(text, "neutral").count("█") > 0


def test_every_number_is_there(person: Explanation) -> None:
    text = shown(explanation_view(person))
    for word in person.words:
        line = line_of(text, word.word)
        for value in (word.coefficient, word.low, word.high):
            assert f"{value:+.2f}" in line
    assert "0.37" in text
    assert "50 pairs" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_views_fit_the_width(
    width: int, person: Explanation, pool: tuple[PoolRecord, ...], selection: Selection, story: Any
) -> None:
    for view in (
        explanation_view(person, title="@mia"),
        pool_view(pool),
        record_view(pool[0]),
        selection_view(selection),
        runs_view(story),
    ):
        assert max(len(line) for line in shown(view, width=width).splitlines()) <= width


def test_colour_only_in_a_terminal_that_wants_it(person: Explanation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[36m" in shown(explanation_view(person), force_terminal=True)
    assert "\x1b" not in shown(explanation_view(person))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in shown(explanation_view(person), force_terminal=True)


def test_a_terminal_without_unicode_gets_plain_characters(person: Explanation, selection: Selection) -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    file = Ascii()
    Console(file=file, width=80).print(explanation_view(person), selection_view(selection))
    assert file.getvalue().isascii()
    assert "#" in line_of(file.getvalue(), "expert")


def test_the_pool_table_names_the_strongest_words(pool: tuple[PoolRecord, ...]) -> None:
    text = shown(pool_view(pool), width=100).replace("\N{NO-BREAK SPACE}", " ")
    assert "humorous +0.95" in line_of(text, "playful")
    assert "not explained yet" in shown(pool_view([pool[0].model_copy(update={"explanation": None})]))
    assert "pool is empty" in shown(pool_view([]))


def test_the_selection_marks_the_choice_and_gives_the_reason(selection: Selection) -> None:
    text = shown(selection_view(selection))
    assert text.startswith("start from expert-concise")
    assert line_of(text, "▸").split()[1:3] == ["1", "expert-concise"]
    assert selection.reason.split(";")[0].lower() in " ".join(text.split()).lower()
    for ranked in selection.ranking:
        assert f"{ranked.distance:.2f}" in text
        assert f"{ranked.gain:+.2f}" in text


def test_abstaining_starts_from_the_base(selection: Selection) -> None:
    text = shown(selection_view(selection.model_copy(update={"choice": None, "reason": "nothing fits"})))
    assert text.startswith("start from the base")
    assert "▸" not in text


def test_markup_in_names_is_only_text(pool: tuple[PoolRecord, ...]) -> None:
    odd = pool[0].model_copy(update={"note": "[bold]loud[/bold] [/nothing]"})
    assert "[bold]loud[/bold] [/nothing]" in shown(record_view(odd))


def test_a_strangers_note_and_base_are_short_and_still(pool: tuple[PoolRecord, ...]) -> None:
    odd = pool[0].model_copy(update={"note": "\x1b[2J" + "x" * 90_000, "base_name": "\x1b]0;me\x07" + "y" * 90_000})
    text = shown(record_view(odd))
    assert "\x1b" not in text and "\x07" not in text
    assert 900 < text.count("x") < 1100 and 150 < text.count("y") < 250


def test_the_runs_say_how_many_times_fewer_steps(story: Any) -> None:
    text = shown(runs_view(story))
    assert text.startswith("5× fewer steps than from scratch")
    assert "41 s" in text
    alone = shown(runs_view(replace(story, warm=None)))
    assert alone.startswith("Nothing in the pool fits Mia")


def test_a_record_says_what_it_was_read_from(pool: tuple[PoolRecord, ...]) -> None:
    assert "pairs of texts" in shown(record_view(pool[0]))
    assert "pairs of pictures" in shown(record_view(pool[0], of="pictures"))
