"""Answers come in order, again the same, with their ends marked; the caller's random state stays."""

from pathlib import Path

import pytest
import torch

from xpert.models.chats import render_chat
from xpert.models.generation import CUT, cut, generate
from xpert.models.loading import LoadedModel, load_model
from xpert.models.reference import ModelReference
from xpert.testing.tiny import tiny_base

PROMPTS = ["Describe the whole of the water cycle, from the ocean to the cloud.", "Hi", "What is bread?", "Why?"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return lively(load_model(ModelReference(str(tiny_base(tmp_path_factory.mktemp("base")))), device="cpu"))


def lively(loaded: LoadedModel) -> LoadedModel:
    """Layers that outweigh the embeddings; a random model repeats its last token otherwise."""
    for parameter in loaded.model.model.layers.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(20)
    return loaded


@pytest.fixture
def ends(loaded: LoadedModel) -> object:
    """What ends an answer may be changed by a test, and is put back."""
    kept = loaded.model.generation_config.eos_token_id
    yield loaded.model.generation_config
    loaded.model.generation_config.eos_token_id = kept


def greedy_tokens(loaded: LoadedModel, text: str, count: int) -> list[int]:
    """The most probable continuation, one forward pass a token; never ends."""
    ids: list[int] = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


def test_a_seed_is_a_set_of_answers(loaded: LoadedModel) -> None:
    one = generate(loaded, PROMPTS, max_new_tokens=12, seed=3)
    assert generate(loaded, PROMPTS, max_new_tokens=12, seed=3) == one
    assert generate(loaded, PROMPTS, max_new_tokens=12, seed=4) != one
    assert len(set(one)) == len(PROMPTS)


def test_the_callers_random_state_stays(loaded: LoadedModel) -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    generate(loaded, PROMPTS, max_new_tokens=4, seed=1)
    assert torch.equal(torch.rand(3), wanted)


def test_greedy_answers_are_those_of_a_plain_loop_in_any_batch(loaded: LoadedModel) -> None:
    alone = generate(loaded, PROMPTS, max_new_tokens=8, temperature=0, batch_size=1)
    for text, prompt in zip(alone, PROMPTS, strict=True):
        ids = greedy_tokens(loaded, render_chat(loaded.tokenizer, prompt), 8)
        assert text == loaded.tokenizer.decode(ids, skip_special_tokens=True).strip() + CUT
    assert len(set(alone)) == len(PROMPTS)
    for batch_size in (2, 3, 64):
        assert generate(loaded, PROMPTS, max_new_tokens=8, temperature=0, batch_size=batch_size) == alone
    assert generate(loaded, PROMPTS, max_new_tokens=8, temperature=0, seed=5) == alone


def test_answers_follow_the_order_of_the_prompts(loaded: LoadedModel) -> None:
    forward = generate(loaded, PROMPTS, max_new_tokens=8, temperature=0)
    assert generate(loaded, PROMPTS[::-1], max_new_tokens=8, temperature=0) == forward[::-1]


def test_progress_reaches_the_end(loaded: LoadedModel) -> None:
    seen: list[tuple[str, int, int]] = []
    generate(loaded, PROMPTS, max_new_tokens=2, batch_size=3, on_progress=lambda *news: seen.append(news))
    assert seen == [("answering", 3, 4), ("answering", 4, 4)]
    assert generate(loaded, []) == []


def test_only_what_was_cut_is_marked(loaded: LoadedModel, ends: object) -> None:
    ids = greedy_tokens(loaded, render_chat(loaded.tokenizer, "Hi"), 6)
    at = next(i for i in range(1, 6) if ids[i] not in ids[:i])
    said = loaded.tokenizer.decode(ids[: at + 1], skip_special_tokens=True).strip()
    assert generate(loaded, ["Hi"], max_new_tokens=at + 1, temperature=0) == [said + CUT]
    ends.eos_token_id = [loaded.tokenizer.eos_token_id, ids[at]]
    assert generate(loaded, ["Hi"], max_new_tokens=6, temperature=0) == [said]
    assert generate(loaded, ["Hi"], max_new_tokens=at + 1, temperature=0) == [said]
    ends.eos_token_id = ids[at]
    assert generate(loaded, ["Hi"], max_new_tokens=6, temperature=0) == [said]


def test_an_answer_that_ended_early_is_not_filled_up(loaded: LoadedModel, ends: object) -> None:
    ids = greedy_tokens(loaded, render_chat(loaded.tokenizer, "Hi"), 1)
    others = [p for p in PROMPTS if greedy_tokens(loaded, render_chat(loaded.tokenizer, p), 12).count(ids[0]) == 0]
    assert others
    ends.eos_token_id = [loaded.tokenizer.eos_token_id, ids[0]]
    first, second = generate(loaded, ["Hi", others[0]], max_new_tokens=12, temperature=0)
    assert first == loaded.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert second.endswith(CUT)


def test_a_system_turn_is_heard(loaded: LoadedModel) -> None:
    styled = generate(loaded, ["Hi"], max_new_tokens=8, temperature=0, system="Be formal.")
    ids = greedy_tokens(loaded, render_chat(loaded.tokenizer, "Hi", "Be formal."), 8)
    assert styled == [loaded.tokenizer.decode(ids, skip_special_tokens=True).strip() + CUT]


def test_a_tokenizer_without_chat_template_answers(tmp_path: Path) -> None:
    plain = lively(load_model(ModelReference(str(tiny_base(tmp_path, chat=False))), device="cpu"))
    ids = greedy_tokens(plain, "Be kind.\n\nHi\n\n", 6)
    said = generate(plain, ["Hi", "Longer than that?"], max_new_tokens=6, temperature=0, system="Be kind.")
    assert said[0] == plain.tokenizer.decode(ids, skip_special_tokens=True).strip() + CUT


def test_a_long_prompt_keeps_its_end_and_room_for_the_answer(loaded: LoadedModel) -> None:
    seen: list[torch.Tensor] = []
    hook = loaded.model.model.embed_tokens.register_forward_hook(lambda _m, given, _o: seen.append(given[0]))
    try:
        generate(loaded, ["word " * 600], max_new_tokens=100, temperature=0)
    finally:
        hook.remove()
    read = seen[0][0].tolist()
    assert len(read) == loaded.model.config.max_position_embeddings - 100
    assert loaded.tokenizer.decode(read).endswith("word <|end|><|assistant|>")
    assert read[0] == loaded.tokenizer.bos_token_id


def test_a_persons_text_is_cut_like_an_answer(loaded: LoadedModel) -> None:
    assert cut(loaded.tokenizer, "abcdef", 6) == "abcdef"
    assert cut(loaded.tokenizer, "abcdef", 5) == "abcde" + CUT
    assert cut(loaded.tokenizer, "ab cdef", 3) == "ab" + CUT
