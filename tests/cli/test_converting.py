"""LoRAs in one file are read wherever an image adapter is named, and converted on request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from xpert.merging.images import read_image_lora
from xpert.merging.lora import dense
from xpert.models.image_adapters import inspect_image_adapter
from xpert.testing.tiny_pictures import Studio

Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
V = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v"


@pytest.fixture
def style(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as it comes from civitai: other ranks and alphas in its two layers."""
    monkeypatch.setenv("XPERT_CACHE", str(tmp_path / "cache"))
    read: Any = UNet2DConditionModel.from_pretrained
    own, tensors = read(str(studio.pipeline), subfolder="unet").state_dict(), {}
    for layer, rank, alpha in ((Q, 4, 1.0), (V, 2, 2.0)):
        (outputs, inputs), name = own[f"{layer}.weight"].shape, f"lora_unet_{layer.replace('.', '_')}"
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, inputs)
        tensors[f"{name}.lora_up.weight"] = torch.randn(outputs, rank)
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(tensors, tmp_path / "My Style \x1b[31m.safetensors")
    return tmp_path / "My Style \x1b[31m.safetensors"


def change(file: Path, layer: str) -> torch.Tensor:
    tensors, name = load_file(file), f"lora_unet_{layer.replace('.', '_')}"
    down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
    return tensors[f"{name}.alpha"] / down.shape[0] * (up @ down)


def test_everywhere_an_adapter_is_named(studio: Studio, run: Any, style: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    assert run("pool", "create", pool, "--like", "none").code == 0
    done = run("pool", "add", style, "--name", "style", "--pool", pool, "--base", studio.pipeline, "--json")
    assert done.code == 0, done.err
    kept = read_image_lora(inspect_image_adapter(pool / "artifacts" / done.document["adapter"]))
    merged = run("image", "merge", f"{style}=0.5", "--base", studio.pipeline, "--out", tmp_path / "merged", "--json")
    assert merged.code == 0, merged.err
    half = read_image_lora(inspect_image_adapter(tmp_path / "merged"))
    line = ("image", "tune", studio.pictures, "--from", style, "--base", studio.pipeline, "--max-steps", 1)
    tuned = run(*line, "--batch-size", 1, "--learning-rate", 1e-12, "--out", tmp_path / "tuned", "--json")
    assert tuned.code == 0, tuned.err
    moved = read_image_lora(inspect_image_adapter(tmp_path / "tuned"))
    for layer in (Q, V):
        wanted = change(style, layer)
        assert torch.allclose(dense(kept, layer), wanted, atol=1e-6)
        assert torch.allclose(dense(half, layer), wanted / 2, atol=1e-6)
        assert torch.allclose(dense(moved, layer), wanted, atol=1e-4)


def test_converting_writes_a_folder_of_diffusers(run: Any, style: Path, tmp_path: Path) -> None:
    done = run("convert", style, "--out", tmp_path / "out", "--json")
    assert done.code == 0 and done.document == {"adapter": str(tmp_path / "out"), "from": "kohya-ss"}
    lora = read_image_lora(inspect_image_adapter(tmp_path / "out"))
    assert torch.allclose(dense(lora, Q), change(style, Q), atol=1e-6)
    again = run("convert", tmp_path / "out", "--out", tmp_path / "again", "--json")
    assert again.code == 2 and "need no converting" in json.loads(again.out)["error"]["message"]


def test_text_encoders_are_named(run: Any, style: Path, tmp_path: Path) -> None:
    more = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2)}
    save_file({**load_file(style), **more}, tmp_path / "both.safetensors")
    done = run("convert", tmp_path / "both.safetensors", "--out", tmp_path / "out")
    assert done.code == 4 and "--unet-only" in done.err
    line = ("convert", tmp_path / "both.safetensors", "--out", tmp_path / "out", "--unet-only")
    assert run(*line).code == 0


def test_explain_says_where_it_belongs(run: Any, style: Path) -> None:
    done = run("explain", style)
    assert done.code == 2 and "xpert image explain" in done.err
