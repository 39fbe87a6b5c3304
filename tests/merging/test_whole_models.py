"""Whole language models of one base: streamed sums, LoRAs among them, shards, and every refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from xpert.errors import DamagedModelError, MismatchError, MissingModelError, ModelError, SettingsError
from xpert.merging.merge import merge_models
from xpert.merging.methods import Recipe
from xpert.merging.stored import open_stored
from xpert.models.reference import model_digest, tokenizer_digest
from xpert.models.whole_models import inspect_whole_model
from xpert.testing.tiny import tiny_base, tiny_tokenizer
from xpert.testing.tiny_family import Family, lora_deltas, tiny_lora, tiny_tuned

Parents = dict[str, tuple[Path, float]]


@pytest.fixture
def parents(family: Family) -> Parents:
    return {"one": (family.whole[0], 0.6), "shards": (family.whole[1], 0.3), "lora": (family.loras[1], -0.5)}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of the files, by the library's own reader."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def in_memory(family: Family, parents: Parents, recipe: Recipe, digests: dict[str, str]) -> dict[str, torch.Tensor]:
    """The same merge with everything in memory."""
    base, merged = weights(family.base), {}
    loras = {n: lora_deltas(family.base, f) for n, (f, _) in parents.items() if (f / "adapter_config.json").exists()}
    whole = {name: weights(folder) for name, (folder, _) in parents.items() if name not in loras}
    for tensor, start in base.items():
        deltas = {name: own[tensor] - start for name, own in whole.items()}
        for name, own in loras.items():
            if (layer := tensor.removesuffix(".weight")) in own:
                deltas[name] = own[layer]
        having = [name for name in parents if name in deltas]
        total = recipe.merge(
            tensor, [deltas[n] for n in having], [parents[n][1] for n in having], [digests[n] for n in having]
        )
        merged[tensor] = start + total
    return merged


@pytest.mark.parametrize("method", ["task-arithmetic", "ties", "dare", "dare-ties"])
@pytest.mark.parametrize("shard_bytes", [10**9, 20_000])
def test_streaming_equals_the_sum_in_memory_and_opens_plainly(
    family: Family, parents: Parents, tmp_path: Path, method: str, shard_bytes: int
) -> None:
    density = 1.0 if method == "task-arithmetic" else 0.4
    calls: list[tuple[str, int, int]] = []
    merged = merge_models(
        parents, family.base, tmp_path / "out", method=method, density=density, seed=5, shard_bytes=shard_bytes,
        on_progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert (merged.kind, merged.rank, merged.error) == ("model", 0, 0.0)
    wanted = in_memory(family, parents, Recipe(method, density, seed=5), merged.digests)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    found = model.state_dict()
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-6)
    assert calls == [("merging", done, len(wanted)) for done in range(1, len(wanted) + 1)]
    files = [file.name for file in sorted((tmp_path / "out").glob("model*"))]
    assert (files == ["model.safetensors"]) == (shard_bytes > 20_000) and len(files) != 2
    assert tokenizer_digest(tmp_path / "out") == tokenizer_digest(family.base)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(family.base).chat_template
    assert (tmp_path / "out" / "generation_config.json").is_file()


def test_whole_models_equal_those_of_mergekit(family: Family, tmp_path: Path) -> None:
    merge = pytest.importorskip("mergekit.merge", reason="mergekit is not installed")
    config = pytest.importorskip("mergekit.config")
    options = pytest.importorskip("mergekit.options")
    parents = {"one": (family.whole[0], 0.6), "shards": (family.whole[1], 0.3)}
    for method, settings in (("task_arithmetic", {}), ("ties", {"density": 0.4})):
        stated = {
            "merge_method": method,
            "base_model": str(family.base),
            "models": [
                {"model": str(folder), "parameters": {"weight": weight, **settings}}
                for folder, weight in parents.values()
            ],
            "parameters": {"normalize": False},
            "dtype": "float32",
        }
        theirs = tmp_path / f"theirs-{method}"
        merge.run_merge(config.MergeConfiguration.model_validate(stated), str(theirs), options.MergeOptions(quiet=True))
        ours = tmp_path / f"ours-{method}"
        merge_models(parents, family.base, ours, method=method.replace("_", "-"), **settings)
        expected = weights(theirs)
        for name, tensor in weights(ours).items():
            torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-6)


def test_the_base_keeps_its_dtype_and_may_be_in_shards(family: Family, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(family.base, base)
    (base / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(family.base, dtype=torch.bfloat16)
    model.save_pretrained(base, max_shard_size="20KB")
    assert len(list(base.glob("*.safetensors"))) > 2
    merge_models({"one": (family.whole[0], 0.5)}, base, tmp_path / "out")
    start, tuned = weights(base), weights(family.whole[0])
    for name, tensor in weights(tmp_path / "out").items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, (start[name].float() + 0.5 * (tuned[name] - start[name].float())).to(tensor.dtype))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_a_lora_on_transposed_layers_adds_to_a_whole_model(tmp_path: Path) -> None:
    base, tokenizer = tmp_path / "gpt2", tiny_tokenizer()
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    tuned = tiny_tuned(base, tmp_path / "tuned", 1)
    lora = tiny_lora(base, tmp_path / "lora", 2, r=2, target_modules=["c_attn", "wpe"], fan_in_fan_out=True)
    merge_models({"tuned": (tuned, 0.5), "lora": (lora, 0.3)}, base, tmp_path / "out")
    start, moved, found = (
        AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (base, tuned, tmp_path / "out")
    )
    added = {f"{layer}.weight": 0.3 * delta for layer, delta in lora_deltas(base, lora).items()}
    assert added["transformer.h.0.attn.c_attn.weight"].shape == (16, 48)
    for name, tensor in start.items():
        wanted = tensor + 0.5 * (moved[name] - tensor) + added.get(name, torch.zeros(()))
        torch.testing.assert_close(found[name], wanted, atol=1e-6, rtol=1e-6)


def test_a_second_copy_of_a_tied_weight_is_left_out(family: Family, tmp_path: Path) -> None:
    def copied(name: str, off: float) -> Path:
        folder = Path(shutil.copytree(family.whole[0], tmp_path / name))
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + off
        save_file(tensors, folder / "model.safetensors")
        return folder

    merge_models({"m": (copied("same", 0.0), 0.5)}, family.base, tmp_path / "out")
    merge_models({"m": (family.whole[0], 0.5)}, family.base, tmp_path / "plain")
    ours, plain = weights(tmp_path / "out"), weights(tmp_path / "plain")
    assert ours.keys() == plain.keys() and all(torch.equal(ours[name], plain[name]) for name in ours)
    with pytest.raises(DamagedModelError, match=r"'lm_head\.weight' and 'model\.embed_tokens\.weight' are one"):
        merge_models({"m": (copied("other", 1.0), 0.5)}, family.base, tmp_path / "no")


def test_the_card_and_the_configuration_name_no_paths(family: Family, parents: Parents, tmp_path: Path) -> None:
    out = merge_models(parents, family.base, tmp_path / "out", base_name="some/base").out
    text = (out / "README.md").read_text()
    assert "base_model: some/base" in text and model_digest(family.base) in text and "| shards | 0.3 |" in text
    assert str(tmp_path) not in text + (out / "config.json").read_text()
    facts = inspect_whole_model(out)
    assert facts.base_digest == model_digest(family.base)
    with pytest.raises(MismatchError, match="was made from base"):
        merge_models({"out": (out, 1.0)}, family.whole[0], tmp_path / "again")


def _changed(folder: Path, copy: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors")
    return copy


def _settings(folder: Path, copy: Path, **values: object) -> Path:
    shutil.copytree(folder, copy)
    stated = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(stated | values))
    return copy


def test_refusals_leave_nothing(family: Family, parents: Parents, tmp_path: Path) -> None:
    one, base = family.whole[0], family.base
    norm = "model.norm.weight"
    words = tiny_base(tmp_path / "words", extra=("hello",))
    foreign = Path(shutil.copytree(one, tmp_path / "foreign"))
    shutil.copyfile(words / "tokenizer.json", foreign / "tokenizer.json")
    bare = Path(shutil.copytree(family.whole[1], tmp_path / "bare"))
    next(bare.glob("model-00002*")).unlink()
    outside = Path(shutil.copytree(family.whole[1], tmp_path / "outside"))
    (outside / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../one/model.safetensors"}}')
    empty = Path(shutil.copytree(one, tmp_path / "empty"))
    (empty / "model.safetensors").unlink()
    tied = tiny_lora(base, tmp_path / "tied", 1, r=2, target_modules=["embed_tokens"])
    deeper = tiny_tuned(tiny_base(tmp_path / "deep", layers=3), tmp_path / "deeper", 1)

    def changed(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
        return _changed(one, tmp_path / name, change)

    cases: list[tuple[Path, float, dict[str, Any], type[Exception], str]] = [
        (one, 11.0, {}, SettingsError, "out of range"),
        (one, 1.0, {"rank": 4}, SettingsError, "'x' is a whole model, so the result has no rank"),
        (deeper, 1.0, {}, MismatchError, "has num_hidden_layers 3 in its config.json, base .* has 2"),
        (_settings(one, tmp_path / "eps", rms_norm_eps=0.1), 1.0, {}, MismatchError, "has rms_norm_eps 0.1"),
        (foreign, 1.0, {}, MismatchError, "has tokenizer .* the same text would become other tokens"),
        (changed("lacks", lambda t: t.pop(norm)), 1.0, {}, MismatchError, r"it lacks 'model\.norm\.weight'"),
        (changed("more", lambda t: t.update(x=torch.ones(1))), 1.0, {}, MismatchError, "it has 'x', which the base"),
        (changed("wide", lambda t: t.update({norm: torch.ones(5)})), 1.0, {}, MismatchError, r"has shape \(5,\)"),
        (changed("nan", lambda t: t[norm].fill_(float("nan"))), 1.0, {}, DamagedModelError, "holds NaN"),
        (changed("huge", lambda t: t[norm].fill_(3e38)), 9.0, {}, ModelError, "sum of x is not finite in model.norm"),
        (changed("long", lambda t: t.update({norm: torch.ones(32, dtype=torch.int64)})), 1.0, {}, DamagedModelError,
         "has dtype 'I64'"),
        (bare, 1.0, {}, MissingModelError, "which its index names"),
        (outside, 1.0, {}, DamagedModelError, "no weight_map from tensors to files beside it"),
        (empty, 1.0, {}, MissingModelError, "holds no .safetensors file"),
        (tmp_path / "nowhere", 1.0, {}, MissingModelError, "no adapter folder"),
    ]  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    for folder, weight, settings, error, text in cases:
        with pytest.raises(error, match=text):
            merge_models({"x": (folder, weight)}, base, tmp_path / "new" / "out", **settings)
    with pytest.raises(MismatchError, match="whose weight is another layer's as well"):
        merge_models({"x": (one, 1.0), "t": (tied, 1.0)}, base, tmp_path / "new" / "out")
    with pytest.raises(SettingsError, match="'x' and 'y' are the same model"):
        merge_models({"x": (one, 1.0), "y": (one, 1.0)}, base, tmp_path / "new" / "out")
    with pytest.raises(SettingsError, match="exists already"):
        merge_models(parents, base, words)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_merge_leaves_nothing(family: Family, parents: Parents, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_models(parents, family.base, tmp_path / "out", shard_bytes=20_000, on_progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_file_that_becomes_shorter_is_told(family: Family, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(family.whole[0], tmp_path / "copy"))
    stored = open_stored(inspect_whole_model(copy).weights)
    raw = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DamagedModelError, match="became shorter"):
        [stored.read(name) for name in stored.shapes]
    (copy / "model.safetensors").unlink()
    with pytest.raises(MissingModelError, match="cannot be read"):
        stored.read("model.norm.weight")
    with pytest.raises(DamagedModelError, match="stands in"):
        open_stored([family.base / "model.safetensors", family.whole[0] / "model.safetensors"])
