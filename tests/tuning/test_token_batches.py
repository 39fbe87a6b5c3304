"""What is learned, and in which order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpert.models.chats import render_chat
from xpert.records import Sample
from xpert.testing.tiny import tiny_tokenizer
from xpert.tuning.batches import BatchPlan, EncodedSample, collate, encode, evaluation_batches

CHAT, PLAIN = tiny_tokenizer(), tiny_tokenizer(chat=False)


def made(lengths: list[int], learned: int = 1) -> list[EncodedSample]:
    return [EncodedSample(tuple(range(n)), n - learned) for n in lengths]


def plan(samples: list[EncodedSample], batch_size: int, accumulation_steps: int = 1, seed: int = 0) -> BatchPlan:
    return BatchPlan(samples, batch_size=batch_size, accumulation_steps=accumulation_steps, seed=seed, pad_id=0)


def test_only_the_response_and_the_end_are_learned() -> None:
    samples = [Sample("Hi?", "Good day"), Sample("Well", "No")]
    batch = collate(encode(CHAT, samples, 256), CHAT.pad_token_id)
    for ids, labels, mask, sample in zip(batch.input_ids, batch.labels, batch.attention_mask, samples, strict=True):
        assert CHAT.decode(ids[mask == 1]) == render_chat(CHAT, str(sample.prompt)) + sample.response + "<|end|>"
        assert CHAT.decode(labels[labels != -100]) == sample.response + "<|end|>"
    assert batch.targets.tolist() == batch.labels[batch.labels != -100].tolist()


def test_a_sample_without_prompt_follows_an_empty_user_turn_or_the_first_token() -> None:
    chat, plain = (encode(tokenizer, [Sample(None, "Hello")], 64)[0] for tokenizer in (CHAT, PLAIN))
    assert CHAT.decode(chat.tokens) == render_chat(CHAT, "") + "Hello<|end|>"
    assert PLAIN.decode(plain.tokens) == "<|bos|>Hello<|end|>" and plain.start == 1


def test_a_long_prompt_loses_its_start_and_the_response_stays() -> None:
    sample = encode(PLAIN, [Sample("p" * 40 + "q", "r" * 5)], 20)[0]
    assert PLAIN.decode(sample.tokens) == "p" * 11 + "q\n\nrrrrr<|end|>"


def test_a_long_response_loses_its_end_and_the_prompt_keeps_half() -> None:
    sample = encode(PLAIN, [Sample("p" * 40, "r" * 40)], 20)[0]
    assert PLAIN.decode(sample.tokens) == "p" * 8 + "\n\n" + "r" * 10
    short = encode(PLAIN, [Sample("p", "r" * 40)], 20)[0]
    assert PLAIN.decode(short.tokens) == "p\n\n" + "r" * 17


def test_a_first_special_token_is_never_cut() -> None:
    sample = encode(CHAT, [Sample("p" * 40, "r" * 40)], 20)[0]
    assert sample.tokens[0] == CHAT.bos_token_id and len(sample.tokens) == 20


@given(st.lists(st.integers(2, 60), min_size=1, max_size=70), st.integers(1, 9), st.integers(1, 4), st.integers(0, 5))
def test_every_epoch_takes_each_sample_once_in_steps_of_even_size(
    lengths: list[int], batch_size: int, accumulation_steps: int, seed: int
) -> None:
    order = plan(made(lengths), batch_size, accumulation_steps, seed)
    for epoch in (0, 1):
        steps = [order.indices(epoch * order.steps_per_epoch + step) for step in range(order.steps_per_epoch)]
        assert Counter(index for step in steps for index in step) == Counter(range(len(lengths)))
        sizes = {len(step) for step in steps}
        assert max(sizes) <= batch_size * accumulation_steps and max(sizes) - min(sizes) <= 1


def test_a_step_is_a_function_of_samples_seed_and_number() -> None:
    samples = made([5 + n % 17 for n in range(50)])
    one, other = plan(samples, 4), plan(samples, 4)
    forward = [one.indices(step) for step in range(30)]
    assert [other.indices(step) for step in reversed(range(30))] == forward[::-1]
    assert [plan(samples, 4, seed=1).indices(step) for step in range(30)] != forward
    assert forward[:13] != forward[13:26]


def test_accumulation_takes_the_same_samples_in_smaller_batches() -> None:
    samples = made([5 + n % 17 for n in range(50)])
    whole, parts = plan(samples, 8), plan(samples, 2, 4)
    for step in range(10):
        assert whole.indices(step) == parts.indices(step)
        assert all(len(batch.input_ids) <= 2 for batch in parts.step(step))


def test_batches_of_like_length_pad_little_and_come_in_no_order() -> None:
    lengths = [10 + (n * 7919) % 200 for n in range(400)]
    order = plan(made(lengths), 8)
    batches = [batch for step in range(order.steps_per_epoch) for batch in order.step(step)]
    places = sum(batch.input_ids.numel() for batch in batches)
    assert sum(lengths) / places > 0.85
    widths = [batch.input_ids.shape[1] for batch in batches]
    rises = sum(a < b for a, b in zip(widths, widths[1:], strict=False))
    assert 0.3 < rises / len(widths) < 0.7


def test_samples_seen_counts_different_samples() -> None:
    order = plan(made([4] * 10), 4)
    assert [order.samples_seen(step) for step in (0, 3, 50)] == [0, 10, 10]
    assert order.samples_seen(1) == len(order.indices(0))


def test_evaluation_sees_all_samples_once() -> None:
    batches = evaluation_batches(made([9, 3, 7, 5, 8]), 2, 0)
    assert [batch.input_ids.shape[1] for batch in batches] == [5, 8, 9]
    assert sum(batch.targets.numel() for batch in batches) == 5


@pytest.mark.parametrize("tokenizer", [CHAT, PLAIN])
def test_an_empty_response_teaches_to_end(tokenizer: object) -> None:
    sample = encode(tokenizer, [Sample("Hi", "")], 64)[0]  # type: ignore[arg-type]
    assert sample.tokens[sample.start :] == (CHAT.eos_token_id,)
