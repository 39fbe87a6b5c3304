"""What a model thinks before it answers is cut off; an answer without thoughts stays as it is."""

import pytest
from tokenizers import AddedToken

from xpert.models.generation import _text
from xpert.models.thoughts import thinking_off, without_thoughts
from xpert.testing.tiny import tiny_tokenizer


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("<think>hm, who?</think>\n\nHi", "Hi"),
        ("<think>\n\n</think>\n\nHi", "Hi"),
        ("<think>hm, and then", ""),
        ("hm, the start is missing\n</think>\nHi", "Hi"),
        ("<THINK>a</THINK>Hi", "Hi"),
        ("<think>a <think>b</think> c</think>Hi", "Hi"),
        ("<thinking>a</thinking>Hi", "Hi"),
        ("<reasoning>\na\n</reasoning>\nHi", "Hi"),
        ("<thought>a</thought><think>b</think>Hi", "Hi"),
        ("Sure. <thinking>a", "Sure."),
        ("<think >a</think >Hi", "Hi"),
        ("<think>a</think>\n<answer>Hi</answer>", "Hi"),
        ("<reasoning_content>a</reasoning_content><response>\nHi\n</response>", "Hi"),
        ("<think>日本</think>こんにちは", "こんにちは"),
        ("<think>a</think><think>b</think>Use `</think>` to end.", "Use `</think>` to end."),
        ("[THINK]a[/THINK]Hi", "Hi"),
        ("[THINK]a", ""),
        ("<seed:think>a</seed:think>Hi", "Hi"),
        ("◁think▷a◁/think▷Hi", "Hi"),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>Hi<|end_of_solution|>", "Hi"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Hi<|END_RESPONSE|>", "Hi"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>", "Hi"),
        ("<|channel|>analysis<|message|>a", ""),
        ("<|channel>thought\na\n<channel|>Hi", "Hi"),
        ("Here is my thought process: a\nHere is my response: Hi", "Hi"),
    ],
)
def test_thoughts_are_cut_off(said: str, answer: str) -> None:
    assert without_thoughts(said).strip() == answer


@pytest.mark.parametrize(
    "said",
    [
        " I think [this] is <b>fine</b> \n",
        "a < b > c",
        "<answer>5</answer>",
        "</response>",
        "Write `<think>` to open one",
        "I love <3 reasoning",
        "",
    ],
)
def test_other_answers_stay_to_the_letter(said: str) -> None:
    assert without_thoughts(said) == said


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<a>\n<think>\n", "<a>\n<think>\n</think>\n\n"),
        ("<a>[THINK]", "<a>[THINK]\n[/THINK]\n\n"),
        ("<|START_THINKING|>", "<|START_THINKING|>\n<|END_THINKING|>\n\n"),
        ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        ("<|assistant|>", "<|assistant|>"),
    ],
)
def test_a_thought_that_the_template_opens_is_closed(before: str, after: str) -> None:
    assert thinking_off(before) == after


def test_marks_that_are_special_tokens_count_too() -> None:
    tokenizer = tiny_tokenizer()
    marks = ["<|channel|>", "<|message|>", "<|start|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(m, special=True) for m in marks]})
    said = "<|channel|>analysis<|message|>We must<|end|><|start|>assistant<|channel|>final<|message|>Hi, you<|end|>"
    assert _text(tokenizer, tokenizer(said, add_special_tokens=False)["input_ids"]) == "Hi, you"
    assert _text(tokenizer, tokenizer("Hi, you<|end|>", add_special_tokens=False)["input_ids"]) == "Hi, you"
