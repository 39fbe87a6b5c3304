"""What ONNX Runtime computes from an export is what PyTorch computes from the base itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM

from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference
from xpert.runtime import OnnxRuntime, adopt, checkpoint
from xpert.runtime.interface import Answering, Batch, StepSettings
from xpert.testing.tiny_families import FAMILIES
from xpert.tuning import TuningSettings

STEPS, BREAK = 40, 17
SETTINGS = TuningSettings(learning_rate=2e-3, schedule="cosine", warmup_steps=4, max_steps=STEPS, weight_decay=0.01)


def make_adapter(base: Path, out: Path) -> Path:
    """An adapter with ranks and scales of its own for some layers, B not zero."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(5)
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
        rank_pattern={"o_proj": 3}, alpha_pattern={"v_proj": 9}, task_type="CAUSAL_LM",
    )  # fmt: skip
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(str(out))
    return out


def batches(vocabulary: int) -> Iterator[list[Batch]]:
    """One or two micro-batches a step, of other sizes each time; sequences differ in length and in where they begin."""
    draw = np.random.default_rng(1)
    for step in range(STEPS):
        found = []
        for _ in range(1 + step % 2):
            count, length = int(draw.integers(1, 4)), int(draw.integers(6, 20))
            ids = draw.integers(6, vocabulary, (count, length)) % (20 + step) + 6
            starts = draw.integers(0, length - 2, count)
            rows = np.array([n * length + i for n, start in enumerate(starts) for i in range(start, length - 1)])
            found.append(Batch(ids, rows, ids.reshape(-1)[rows + 1]))
        yield found


def torch_step(model: Any, optimizer: torch.optim.Optimizer, found: list[Batch], step: int) -> float:
    """One step as one would write it by hand."""
    count, total = sum(len(batch.targets) for batch in found), 0.0
    optimizer.zero_grad()
    for batch in found:
        logits = model(input_ids=torch.from_numpy(batch.input_ids)).logits.flatten(0, 1)[batch.rows]
        loss = functional.cross_entropy(logits, torch.from_numpy(batch.targets), reduction="sum") / count
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    for group in optimizer.param_groups:
        group["lr"] = SETTINGS.learning_rate_at(step)
    optimizer.step()
    return total


@pytest.mark.parametrize("family", FAMILIES)
def test_forty_steps_resumed_in_the_middle_then_back_in_peft(
    family: str, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    base = bases(family)
    adapter = make_adapter(base, tmp_path / "adapter")
    folder = tmp_path / "export"
    manifest = export(ModelReference(str(base), str(adapter)), folder, ExportSettings(max_length_tokens=64))
    model: Any = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager"), str(adapter), is_trainable=True
    ).eval()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], weight_decay=0.01)
    runtime, sparing, worst = OnnxRuntime(folder, threads=1), OnnxRuntime(folder, threads=1), 0.0
    for step, found in enumerate(batches(manifest.sizes.vocabulary)):
        if step == BREAK:
            progress = checkpoint.Progress(step=step)
            checkpoint.save(tmp_path / "partial", progress, runtime.state(), runtime.state().adapter, {})
            loaded = checkpoint.load(tmp_path / "partial", {})
            assert loaded is not None
            runtime = OnnxRuntime(folder, threads=1)
            runtime.restore(loaded[1])
        settings = StepSettings(SETTINGS.learning_rate_at(step), weight_decay=0.01, max_gradient_norm=1.0)
        wanted = torch_step(model, optimizer, found, step)
        for taken in (runtime.step(found, settings), sparing.step(found, replace(settings, recompute=True))):
            worst = max(worst, abs(taken.loss - wanted))
    assert worst <= 1e-5
    probe = torch.arange(6, 30)[None]
    with torch.no_grad():
        trained = model(input_ids=probe).logits
    checkpoint.save(tmp_path / "end", checkpoint.Progress(), runtime.state(), runtime.state().adapter, {})
    mine = adopt(folder, tmp_path / "end" / checkpoint.STATE_FILE, tmp_path / "mine")
    back: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(mine)).eval()
    with torch.no_grad():
        assert (back(input_ids=probe).logits - trained).abs().max() <= 1e-5
    prompt = list(range(6, 17))
    made = back.generate(input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=2)
    stops = frozenset({2})
    assert runtime.generate(prompt, Answering(max_new_tokens=24, stops=stops)) == made[0, len(prompt) :].tolist()


def test_accumulated_micro_batches_are_one_step(bases: Callable[[str], Path], tmp_path: Path) -> None:
    export(ModelReference(str(bases("llama"))), tmp_path / "export", ExportSettings(rank=2, max_length_tokens=64))
    ids = np.arange(6, 46).reshape(4, 10)
    rows = np.array([n * 10 + i for n in range(4) for i in range(2 + n, 9)])
    whole = [Batch(ids, rows, ids.reshape(-1)[rows + 1])]
    parts = [Batch(ids[n : n + 1], r := rows[rows // 10 == n] % 10, ids[n][r + 1]) for n in range(4)]
    runtime, settings = OnnxRuntime(tmp_path / "export", threads=1), StepSettings(1e-2)
    start = runtime.state()
    one = [runtime.step(whole, settings) for _ in range(3)]
    runtime.restore(start)
    many = [runtime.step(parts, settings) for _ in range(3)]
    assert [r.loss for r in many] == pytest.approx([r.loss for r in one], abs=1e-5)
    assert [r.gradient_norm for r in many] == pytest.approx([r.gradient_norm for r in one], rel=1e-4)
