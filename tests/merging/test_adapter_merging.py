"""LoRAs of a language model become one: exact, plain to open, with the true error of a lower rank; nothing halfway."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from xpert.errors import DamagedModelError, MismatchError, SettingsError
from xpert.merging.adapters import targets
from xpert.merging.lora import Lora, LoraParent, dense, merge_loras
from xpert.merging.merge import merge_models
from xpert.merging.methods import Recipe
from xpert.merging.truncation import truncate_dense
from xpert.models.adapters import WEIGHTS, base_layers, check_fit, inspect_adapter
from xpert.models.cards import card_facts
from xpert.models.reference import model_digest, tokenizer_digest
from xpert.testing.tiny import tiny_base, tiny_tokenizer
from xpert.testing.tiny_family import Family, lora_deltas, tiny_lora, weighted_deltas, with_adapter

Parents = dict[str, tuple[Path, float]]
IDS = torch.arange(40).reshape(2, 20)


@pytest.fixture
def parents(family: Family) -> Parents:
    plain, stabilized, table = family.loras
    return {"plain": (plain, 0.7), "rs": (stabilized, 0.4), "table": (table, -0.5)}


def distance(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Relative Frobenius distance over all layers."""
    lost = sum(float((found[name] - delta).double().square().sum()) for name, delta in wanted.items())
    return math.sqrt(lost / sum(float(delta.double().square().sum()) for delta in wanted.values()))


def test_unlike_ranks_scales_and_layers_add_up_exactly(family: Family, parents: Parents, tmp_path: Path) -> None:
    merged = merge_models(parents, family.base, tmp_path / "out", base_name="some/base")
    assert (merged.kind, merged.rank, merged.error) == ("lora", 6, 0.0)
    found, wanted = lora_deltas(family.base, tmp_path / "out"), weighted_deltas(family.base, parents)
    assert found.keys() == wanted.keys() and "model.embed_tokens" in found
    for layer, delta in wanted.items():
        torch.testing.assert_close(found[layer], delta, atol=1e-6, rtol=0)
    facts = inspect_adapter(tmp_path / "out")
    check_fit(facts, family.base)
    assert facts.target_modules == (
        "embed_tokens", "model.layers.1.self_attn.o_proj", "q_proj", "up_proj", "v_proj",
    )  # fmt: skip
    assert facts.base_name == "some/base"


def test_a_merged_adapter_answers_as_the_summed_weights(family: Family, parents: Parents, tmp_path: Path) -> None:
    parents.pop("table")  # a tied table: its sum would change the output layer, too
    merge_models(parents, family.base, tmp_path / "out")
    dense_model = AutoModelForCausalLM.from_pretrained(family.base)
    with torch.no_grad():
        for layer, delta in weighted_deltas(family.base, parents).items():
            dense_model.get_submodule(layer).weight += delta
        plain = AutoModelForCausalLM.from_pretrained(family.base)(IDS).logits
        ours, summed = with_adapter(family.base, tmp_path / "out")(IDS).logits, dense_model(IDS).logits
    torch.testing.assert_close(ours, summed, atol=1e-5, rtol=1e-5)
    assert float((ours - plain).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("combination", "settings_", "ours"),
    [
        ("cat", {}, {}),
        ("svd", {"svd_rank": 3}, {"rank": 3}),
        ("ties_svd", {"svd_rank": 5, "density": 0.4}, {"method": "ties", "density": 0.4, "mean": True, "rank": 5}),
        ("ties_svd", {"svd_rank": 32, "density": 0.4}, {"method": "ties", "density": 0.4, "mean": True, "rank": 99}),
    ],
)
def test_merges_equal_those_of_peft(
    family: Family, tmp_path: Path, combination: str, settings_: dict[str, Any], ours: dict[str, Any]
) -> None:
    second = tiny_lora(family.base, tmp_path / "second", 7, r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"])
    parents = {"one": (family.loras[0], 0.8), "two": (second, 0.5)}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(family.base), family.loras[0], "one")
    model.load_adapter(second, "two")
    model.add_weighted_adapter(["one", "two"], [0.8, 0.5], "both", combination_type=combination, **settings_)
    merge_models(parents, family.base, tmp_path / "out", **ours)
    found = lora_deltas(family.base, tmp_path / "out")
    for name, layer in model.base_model.model.named_modules():
        if hasattr(layer, "get_delta_weight"):
            torch.testing.assert_close(found[name], layer.get_delta_weight("both").detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 3, 5, 6, 50])
def test_a_lower_rank_is_the_nearest_and_its_error_the_true_one(
    family: Family, parents: Parents, tmp_path: Path, rank: int
) -> None:
    merged = merge_models(parents, family.base, tmp_path / "out", rank=rank)
    found, wanted = lora_deltas(family.base, tmp_path / "out"), weighted_deltas(family.base, parents)
    assert merged.rank == min(rank, 6)
    assert merged.error == pytest.approx(distance(found, wanted), abs=1e-6)
    tails = [torch.linalg.svdvals(delta.double())[rank:].square().sum() for delta in wanted.values()]
    best = math.sqrt(float(sum(tails)) / sum(float(delta.double().square().sum()) for delta in wanted.values()))
    assert merged.error == pytest.approx(best, abs=1e-6)
    card = card_facts(tmp_path / "out" / "README.md")
    assert card["relative_error"] == pytest.approx(merged.error, rel=1e-3) and card["rank"] == merged.rank


@pytest.mark.parametrize("method", ["ties", "dare", "dare-ties"])
def test_other_methods_work_on_the_dense_differences(
    family: Family, parents: Parents, tmp_path: Path, method: str
) -> None:
    merged = merge_models(parents, family.base, tmp_path / "out", method=method, density=0.5, seed=3, rank=50)
    recipe, wanted = Recipe(method, 0.5, seed=3), {}
    each = {name: lora_deltas(family.base, folder) for name, (folder, _) in parents.items()}
    for layer in {layer for own in each.values() for layer in own}:
        having = [name for name, own in each.items() if layer in own]
        table = layer.endswith("embed_tokens")  # kept as (words, width): the transpose of B A
        given = [each[name][layer].T if table else each[name][layer] for name in having]
        digests = [merged.digests[name] for name in having]
        delta = recipe.merge(f"{layer}.weight", given, [parents[name][1] for name in having], digests)
        wanted[layer] = delta.T if table else delta
    found = lora_deltas(family.base, tmp_path / "out")
    assert merged.rank == 32 and merged.error < 1e-6 and distance(found, wanted) < 1e-6
    short = merge_models(parents, family.base, tmp_path / "short", method=method, density=0.5, seed=3)
    assert short.rank == 6
    assert short.error == pytest.approx(distance(lora_deltas(family.base, tmp_path / "short"), wanted), abs=1e-6)
    again = merge_models(parents, family.base, tmp_path / "again", method=method, density=0.5, seed=3)
    assert inspect_adapter(again.out).digest == inspect_adapter(short.out).digest


def test_large_layers_are_projected_at_random_but_nearly_as_near() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(600, 20, generator=generator) @ torch.randn(20, 520, generator=generator)
    matrix += 0.3 * torch.randn(600, 520, generator=generator)
    state = torch.random.get_rng_state()
    found = truncate_dense(matrix, 8, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(found.a, truncate_dense(matrix, 8, seed=1).a)
    assert found.lost == pytest.approx(float((matrix - found.b @ found.a).double().square().sum()), rel=1e-9)
    best = float(torch.linalg.svdvals(matrix.double())[8:].square().sum())
    assert best <= found.lost * (1 + 1e-6) and found.lost < best * (1 + 1e-4)
    assert truncate_dense(torch.zeros(3, 4), 2).whole == 0


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_concatenation_is_the_sum_of_the_dense_differences(data: st.DataObject) -> None:
    sizes = {"a": (5, 7), "b": (6, 3), "c": (1, 4)}
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    parents, wanted = [], dict[str, torch.Tensor]()
    for number in range(data.draw(st.integers(1, 4))):
        weight, scale = data.draw(st.floats(-10, 10)), data.draw(st.floats(0.01, 8))
        layers = {}
        for name in data.draw(st.sets(st.sampled_from(sorted(sizes)), min_size=1)):
            rank, (out, inputs) = data.draw(st.integers(1, 9)), sizes[name]
            a, b = torch.randn(rank, inputs, generator=generator), torch.randn(out, rank, generator=generator)
            layers[name] = a, b
            delta = weight * scale * b.double() @ a.double()
            wanted[name] = wanted.get(name, torch.zeros(out, inputs).double()) + delta
        parents.append(LoraParent(str(number), Lora(layers, scale), weight))
    merged, error = merge_loras(parents, Recipe())
    assert error == 0.0 and merged.layers.keys() == wanted.keys()
    largest = max(float(delta.abs().max()) for delta in wanted.values()) + 10
    for name, delta in wanted.items():
        torch.testing.assert_close(dense(merged, name).double(), delta, atol=1e-5 * largest, rtol=0)
    assert len({a.shape[0] for a, _ in merged.layers.values()}) == 1


def test_a_model_with_transposed_layers_merges_as_well(tmp_path: Path) -> None:
    base, tokenizer = tmp_path / "gpt2", tiny_tokenizer()
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64)
    ).save_pretrained(base)
    tokenizer.save_pretrained(base)
    parents = {
        "one": (tiny_lora(base, tmp_path / "one", 1, r=2, target_modules=["c_attn"], fan_in_fan_out=True), 0.5),
        "two": (tiny_lora(base, tmp_path / "two", 2, r=3, target_modules=["c_attn", "wpe"], fan_in_fan_out=True), 0.25),
    }
    for method in ("task-arithmetic", "ties"):
        merge_models(parents, base, tmp_path / method, method=method, rank=20)
        assert json.loads((tmp_path / method / "adapter_config.json").read_text())["fan_in_fan_out"] is True
    wanted = weighted_deltas(base, parents)
    assert distance(lora_deltas(base, tmp_path / "task-arithmetic"), wanted) < 1e-6
    assert wanted["transformer.h.0.attn.c_attn"].shape == (16, 48)


def test_the_card_says_where_it_comes_from(family: Family, parents: Parents, tmp_path: Path) -> None:
    merged = merge_models(parents, family.base, tmp_path / "out", method="dare", density=0.5, seed=11)
    facts = card_facts(tmp_path / "out" / "README.md")
    assert facts["parents"] == [inspect_adapter(folder).digest for folder, _ in parents.values()]
    assert facts["weights"] == [0.7, 0.4, -0.5] and merged.weights == {"plain": 0.7, "rs": 0.4, "table": -0.5}
    assert (facts["method"], facts["density"], facts["seed"]) == ("dare", 0.5, 11)
    assert facts["base_sha256"] == model_digest(family.base)
    assert facts["tokenizer_sha256"] == tokenizer_digest(family.base)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| rs | 0.4 |" in text and "Yu et al., 2024" in text and str(tmp_path) not in text


def test_targets_are_the_shortest_names_that_choose_just_these_layers(family: Family) -> None:
    layers = base_layers(family.base)
    all_q = [name for name in layers if name.endswith("q_proj")]
    assert targets([*all_q, "model.layers.0.mlp.up_proj"], layers) == ["model.layers.0.mlp.up_proj", "q_proj"]


def _poisoned(folder: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    copy = Path(shutil.copytree(folder, tmp_path / "poisoned"))
    tensors = load_file(copy / WEIGHTS)
    change(tensors)
    save_file(tensors, copy / WEIGHTS)
    return copy


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def _huge(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.fill_(3e38)


def test_refusals_leave_nothing(family: Family, parents: Parents, tmp_path: Path) -> None:
    other = tiny_base(tmp_path / "other", seed=8, width=48)
    words = tiny_base(tmp_path / "words", extra=("hello",))
    first, adapter = parents["plain"], family.loras[0]
    stranger = tiny_lora(words, tmp_path / "stranger", 1, r=2, target_modules=["q_proj"])
    (stranger / "README.md").write_text(f"---\nxpert:\n  tokenizer_sha256: {tokenizer_digest(words)}\n---\n")
    rooms = tmp_path / "rooms"
    wide = tiny_lora(other, tmp_path / "wide", 1, r=2, target_modules=["q_proj"])
    nan = _poisoned(adapter, tmp_path, _nan)
    huge = _poisoned(family.loras[1], rooms, _huge)
    cases: list[tuple[Parents, dict[str, Any], type[Exception], str]] = [
        ({}, {}, SettingsError, "no models to merge"),
        ({"a": (adapter, 10.5)}, {}, SettingsError, r"weight 10\.5 of 'a' is out of range"),
        ({"a": (adapter, float("nan"))}, {}, SettingsError, "out of range"),
        ({"a": first, "b": first}, {}, SettingsError, "'a' and 'b' are the same model"),
        ({"a": first}, {"rank": 0}, SettingsError, "rank 0 is too small"),
        ({"a": first}, {"method": "mix"}, SettingsError, "no merging method 'mix'"),
        ({"a": first}, {"density": 0.5}, SettingsError, "has no density"),
        ({"a": first, "w": (wide, 1.0)}, {}, MismatchError, "does not fit base"),
        ({"a": first, "s": (stranger, 1.0)}, {}, MismatchError, "was tuned with tokenizer"),
        ({"a": first, "n": (nan, 1.0)}, {}, DamagedModelError, "holds NaN or infinite numbers"),
        ({"h": (huge, 10.0)}, {}, DamagedModelError, r"holds a number of size 3e\+38"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for given_, settings_, error, text in cases:
        with pytest.raises(error, match=text):
            merge_models(given_, family.base, tmp_path / "deep" / "out", **settings_)
    tuned_elsewhere = merge_models({"a": first}, family.base, tmp_path / "merged").out
    with pytest.raises(MismatchError, match="was tuned on base"):
        merge_models({"m": (tuned_elsewhere, 1.0)}, words, tmp_path / "deep" / "out")
    with pytest.raises(SettingsError, match="exists already"):
        merge_models({"a": first}, family.base, other)
    shutil.rmtree(tuned_elsewhere)
    assert sorted(tmp_path.rglob("*")) == before
