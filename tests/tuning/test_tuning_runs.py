"""What a run gives: a folder that peft opens, a loss that is true, and a stop where it should."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from xpert.errors import MissingModelError, ModelError, SettingsError
from xpert.models.loading import load_model
from xpert.models.reference import ModelReference, model_digest, tokenizer_digest
from xpert.records import Sample
from xpert.testing.tiny import tiny_adapter, tiny_tokenizer
from xpert.tuning import TuningSettings, TuningStep, tune, validation_loss
from xpert.tuning.batches import collate, encode

Samples = list[Sample]


def changed(settings: TuningSettings, **values: Any) -> TuningSettings:
    return TuningSettings(**(settings.model_dump() | values))


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_loss_falls_and_the_folder_opens_with_peft(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    before = model_digest(Path(base.model))
    weights = file_hash(Path(base.model) / "model.safetensors")
    result = tune(base, train, validation, out, settings)
    assert result.initial_loss is not None and result.best_loss is not None
    assert result.best_loss < result.initial_loss - 0.1
    assert result.train_losses[-1] < result.train_losses[0]
    assert (result.steps, result.stopped, len(result.train_losses)) == (8, "max_steps", 8)
    assert [step for step, _ in result.validation_losses] == [0, 4, 8]
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["mine"]

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.model), str(out)).eval()
    tokenizer = load_model(base).tokenizer
    batch = collate(encode(tokenizer, validation, 256), tokenizer.pad_token_id)
    with torch.no_grad():
        plain = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).loss
    assert plain.item() == pytest.approx(result.best_loss, rel=1e-5)
    assert file_hash(Path(base.model) / "model.safetensors") == weights and model_digest(Path(base.model)) == before


def test_an_adapter_is_continued_from_its_own_loss_and_shape(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path, tmp_path: Path
) -> None:
    parent = tiny_adapter(Path(base.model), tmp_path / "parent", rank=2, targets=("q_proj", "down_proj"))
    start = replace(base, adapter=str(parent))
    untouched = file_hash(parent / "adapter_model.safetensors")
    result = tune(start, train, validation, out, settings)
    assert result.initial_loss == pytest.approx(validation_loss(load_model(start), validation), rel=1e-6)
    assert result.best_loss is not None and result.initial_loss is not None and result.best_loss < result.initial_loss
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["r"] == 2 and config["target_modules"] == ["down_proj", "q_proj"]
    assert file_hash(parent / "adapter_model.safetensors") == untouched
    again = validation_loss(load_model(replace(base, adapter=str(out))), validation)
    assert again == pytest.approx(result.best_loss, rel=1e-6)


def test_what_a_parent_was_merged_from_is_read_before_the_first_step(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path, tmp_path: Path
) -> None:
    parent = tiny_adapter(Path(base.model), tmp_path / "parent")
    card = parent / "README.md"
    card.write_text(f"---\nxpert:\n  parents: [{'a' * 64}]\n  weights: [0.25]\n---\n")
    chosen = changed(settings, max_steps=1, target_validation_loss=50.0)
    tune(replace(base, adapter=str(parent)), train, validation, out, chosen, on_step=lambda _: card.write_text("gone"))
    assert f"a merge: 0.25 `{'a' * 12}`" in (out / "README.md").read_text()


def test_a_target_that_is_reached_already_costs_no_step(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    result = tune(base, train, validation, out, changed(settings, target_validation_loss=50.0))
    assert (result.steps, result.best_step, result.stopped, result.samples_seen) == (0, 0, "target", 0)
    assert result.best_loss == result.initial_loss
    assert validation_loss(load_model(replace(base, adapter=str(out))), validation) == pytest.approx(result.best_loss)


def test_a_run_stops_at_its_target(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    full = tune(base, train, validation, out, changed(settings, evaluate_every=2))
    target = full.validation_losses[2][1]
    short = tune(
        base, train, validation, out.with_name("b"), changed(settings, evaluate_every=2, target_validation_loss=target)
    )
    assert (short.steps, short.stopped) == (4, "target")
    assert short.validation_losses == full.validation_losses[:3]


def test_a_plateau_stops_and_keeps_the_best(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    wild = changed(
        settings, learning_rate=1.0, warmup_steps=0, evaluate_every=1, patience=2, max_steps=40, max_grad_norm=1e3
    )
    result = tune(base, train, validation, out, wild)
    assert result.stopped == "plateau" and result.steps == result.best_step + 2
    assert result.best_loss == min(loss for _, loss in result.validation_losses)
    assert validation_loss(load_model(replace(base, adapter=str(out))), validation) == pytest.approx(result.best_loss)


def test_small_gains_are_a_plateau_but_still_kept(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    slow = changed(settings, learning_rate=1e-4, evaluate_every=1, patience=3, min_delta=1.0)
    result = tune(base, train, validation, out, slow)
    assert (result.stopped, result.steps, result.best_step) == ("plateau", 3, 3)


def test_without_evaluation_the_last_adapter_is_kept(
    base: ModelReference, train: Samples, settings: TuningSettings, out: Path
) -> None:
    result = tune(base, train, [], out, changed(settings, evaluate_every=None))
    assert (result.best_step, result.best_loss, result.initial_loss) == (8, None, None)
    assert load_model(replace(base, adapter=str(out))).model.peft_config["default"].r == 4


def test_the_same_seed_gives_the_same_files_and_another_seed_does_not(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, tmp_path: Path
) -> None:
    noisy = changed(settings, dropout=0.2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = tune(base, train, validation, tmp_path / "a", noisy)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    second = tune(base, train, validation, tmp_path / "b", noisy)
    other = tune(base, train, validation, tmp_path / "c", changed(noisy, seed=1))
    assert first.train_losses == second.train_losses != other.train_losses
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_accumulated_steps_equal_whole_ones(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, tmp_path: Path
) -> None:
    whole = tune(base, train, validation, tmp_path / "a", changed(settings, batch_size=8))
    parts = tune(base, train, validation, tmp_path / "b", changed(settings, batch_size=2, accumulation_steps=4))
    assert parts.train_losses == pytest.approx(whole.train_losses, rel=1e-4)
    assert parts.best_loss == pytest.approx(whole.best_loss, rel=1e-4)


def test_gradient_checkpointing_changes_no_loss(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, tmp_path: Path
) -> None:
    noisy = changed(settings, dropout=0.2)
    plain = tune(base, train, validation, tmp_path / "a", noisy)
    saved = tune(base, train, validation, tmp_path / "b", changed(noisy, gradient_checkpointing=True))
    assert saved.train_losses == pytest.approx(plain.train_losses, rel=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_other_families_are_tuned_alike(
    family: str, train: Samples, validation: Samples, settings: TuningSettings, tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer(chat=False)
    torch.manual_seed(0)
    size = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2}
    model: Any = (
        GPT2LMHeadModel(GPT2Config(**size, n_embd=32, n_layer=2, n_head=2))
        if family == "gpt2"
        else Qwen2ForCausalLM(
            Qwen2Config(
                **size,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
            )
        )
    )
    model.save_pretrained(tmp_path / family)
    tokenizer.save_pretrained(tmp_path / family)
    reference = ModelReference(str(tmp_path / family))
    result = tune(reference, train, validation, tmp_path / "out", settings)
    assert result.best_loss is not None and result.initial_loss is not None
    assert result.best_loss < result.initial_loss - 0.1
    again = validation_loss(load_model(replace(reference, adapter=str(tmp_path / "out"))), validation)
    assert again == pytest.approx(result.best_loss, rel=1e-5)


def test_every_step_is_reported(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    news: list[TuningStep] = []
    result = tune(base, train, validation, out, settings, on_step=news.append)
    assert [step.step for step in news] == list(range(9))
    assert [step.train_loss for step in news] == [None, *result.train_losses]
    assert [(s.step, s.validation_loss) for s in news if s.validation_loss is not None] == result.validation_losses
    assert news[1].learning_rate == pytest.approx(1e-2 / 5)
    assert news[-1].samples_seen == result.samples_seen == 30
    assert result.seconds > 0 and result.cpu_seconds > 0


def test_the_card_tells_numbers_and_no_personal_text(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    result = tune(base, train, validation, out, settings)
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == "base" and front["library_name"] == "peft"
    assert front["xpert"] == {
        "base_sha256": model_digest(Path(base.model)),
        "tokenizer_sha256": tokenizer_digest(Path(base.model)),
        "parents": [],
        "samples": 30,
        "steps": 8,
        "validation_loss": result.best_loss,
        "seed": 0,
    }
    assert f"| 8 | {result.best_loss:.4f} (lowest) |" in card and "PeftModel.from_pretrained" in card
    assert "very" not in card and str(out.parent) not in card


def test_a_taken_folder_is_refused_before_anything_is_done(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(SettingsError, match="exists already and is not empty"):
        tune(ModelReference("nowhere/at/all"), train, validation, out, settings)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_no_samples_are_refused(base: ModelReference, train: Samples, settings: TuningSettings, out: Path) -> None:
    with pytest.raises(SettingsError, match="training samples.*; validation samples.*evaluate_every"):
        tune(base, [], [], out, settings)
    with pytest.raises(SettingsError, match="validation samples"):
        validation_loss(load_model(base), [])


def test_layers_that_the_model_lacks_are_named_with_those_it_has(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    with pytest.raises(SettingsError, match=r"c_attn.*This model has .*q_proj"):
        tune(base, train, validation, out, changed(settings, target_modules=("c_attn",)))


def test_samples_longer_than_the_model_reads_are_refused(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    with pytest.raises(SettingsError, match="max_length_tokens is 4096, the model reads 1024 at most"):
        tune(base, train, validation, out, changed(settings, max_length_tokens=4096))


def test_a_missing_adapter_is_an_error_before_training(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    with pytest.raises(MissingModelError):
        tune(replace(base, adapter=str(out / "none")), train, validation, out, settings)


def test_a_loss_that_is_not_finite_names_the_step_and_keeps_the_best(
    base: ModelReference, train: Samples, validation: Samples, settings: TuningSettings, out: Path
) -> None:
    wild = changed(settings, learning_rate=1e30, warmup_steps=0, evaluate_every=50, max_grad_norm=1e30)
    with pytest.raises(
        ModelError, match=r"step 2: the loss is nan.*lower learning_rate than 1e\+30.*mine.partial.best"
    ):
        tune(base, train, validation, out, wild)
    assert not out.exists()
    kept = out.with_name("mine.partial") / "best"
    start = validation_loss(load_model(base), validation)
    assert validation_loss(load_model(replace(base, adapter=str(kept))), validation) == pytest.approx(start, rel=1e-6)
    assert tune(base, train, validation, out, settings).steps == 8
    assert [path.name for path in out.parent.iterdir()] == ["mine"]
