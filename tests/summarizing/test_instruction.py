"""The question shows how both texts begin, how they end and how long they are."""

from xpert.records import OutputPair
from xpert.summarizing import instruction


def test_short_texts_come_whole_and_long_ones_with_both_ends() -> None:
    assert instruction.view("one two\n three") == "one two three"
    long = " ".join(f"w{i}" for i in range(400))
    seen = instruction.view(long)
    assert seen.startswith("w0 w1")
    assert seen.endswith("w398 w399")
    assert "[...]" in seen
    assert len(seen.split()) == instruction.HEAD_WORDS + instruction.TAIL_WORDS + 1


def test_texts_without_spaces_are_bounded() -> None:
    assert len(instruction.view("字" * 20_000)) < 1000


def test_the_question_tells_length_and_sides_apart() -> None:
    pair = OutputPair("p", "short one", "word " * 150)
    asked = instruction.ask_pair(pair)
    assert asked.index("short one") < asked.index("<personalized>")
    assert "about 150 words" in asked
    assert asked.endswith("Reply with one adjective.")
    assert asked != instruction.ask_pair(OutputPair("p", pair.response, pair.reference))


def test_the_word_is_in_the_fast_question() -> None:
    assert "more humorous than" in instruction.ask_word("humorous")
