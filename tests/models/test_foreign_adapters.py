"""Adapters of other programs are named as what they are; those of mlx-lm are converted to the same difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from xpert.errors import DamagedModelError, MissingModelError
from xpert.merging.adapters import read_lora
from xpert.merging.lora import dense
from xpert.models.adapters import check_fit, inspect_adapter
from xpert.models.foreign_adapters import is_mlx_adapter
from xpert.models.mlx_adapters import MLX_WEIGHTS, convert_mlx
from xpert.testing.tiny import tiny_base

LAYERS = {"model.layers.0.self_attn.q_proj": (4, 32, 32), "model.layers.1.mlp.up_proj": (2, 32, 64)}
CONFIG: dict[str, Any] = {
    "fine_tune_type": "lora",
    "num_layers": 2,
    "model": "/Users/alice/mlx-community/base-4bit",
    "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.1},
}


def mlx(folder: Path, config: object = CONFIG, **more: torch.Tensor) -> Path:
    folder.mkdir()
    draw, tensors = torch.Generator().manual_seed(0), dict[str, torch.Tensor]()
    for name, (rank, inputs, outputs) in LAYERS.items():
        tensors[f"{name}.lora_a"] = torch.randn(inputs, rank, generator=draw) / 4
        tensors[f"{name}.lora_b"] = torch.randn(rank, outputs, generator=draw) / 4
    save_file({**tensors, **more}, folder / MLX_WEIGHTS)
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_named_with_the_way_out(tmp_path: Path) -> None:
    for name, config in (("whole", CONFIG), ("bare", None), ("keys", {"lora_parameters": {}})):
        folder = mlx(tmp_path / name, config)
        assert is_mlx_adapter(folder)
        with pytest.raises(DamagedModelError, match=r"an adapter of mlx-lm.*xpert convert"):
            inspect_adapter(folder)
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "adapter.gguf").write_bytes(b"GGUF")
    with pytest.raises(DamagedModelError, match=r"GGUF, the format of llama\.cpp"):
        inspect_adapter(tmp_path / "gguf")


def test_the_difference_stays_the_same(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    source = mlx(tmp_path / "mlx")
    facts = inspect_adapter(convert_mlx(source, tmp_path / "peft"))
    check_fit(facts, tiny_base(tmp_path / "base"))
    lora, tensors = read_lora(facts), load_file(source / MLX_WEIGHTS)
    for name in LAYERS:
        wanted = 20.0 * (tensors[f"{name}.lora_a"] @ tensors[f"{name}.lora_b"]).T
        assert torch.allclose(dense(lora, name), wanted, atol=1e-5)
    assert facts.base_name == "base-4bit" and facts.settings.dropout == 0.1
    assert "alice" not in "".join(file.read_text("utf-8", "replace") for file in (tmp_path / "peft").iterdir())


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ({**CONFIG, "fine_tune_type": "dora"}, {}, "fine_tune_type is 'dora'"),
        ({**CONFIG, "fine_tune_type": ["lora"]}, {}, "fine_tune_type"),
        ({**CONFIG, "lora_parameters": None}, {}, "lora_parameters is None"),
        ({**CONFIG, "lora_parameters": {"scale": "20"}}, {}, "scale '20'"),
        ({**CONFIG, "lora_parameters": {"scale": True}}, {}, "scale True"),
        ({**CONFIG, "lora_parameters": {"scale": 2.0, "dropout": 3}}, {}, "dropout 3"),
        (CONFIG, {"model.layers.0.self_attn.q_proj.m": torch.ones(4)}, "is no matrix of a LoRA"),
        (CONFIG, {"model.layers.0.switch_mlp.up.lora_a": torch.ones(2, 4, 8)}, "is no matrix of a LoRA"),
        (CONFIG, {"model.embed_tokens.lora_a": torch.ones(9, 2)}, "is no matrix of a LoRA"),
        (CONFIG, {"model.layers.0.mlp.up_proj.lora_a": torch.ones(32, 2)}, "needs lora_a and lora_b"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    tmp_path: Path, config: object, more: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(DamagedModelError, match=message):
        convert_mlx(mlx(tmp_path / "mlx", config, **more), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_its_configuration_there_is_no_scale(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="it has the scale"):
        convert_mlx(mlx(tmp_path / "mlx", None), tmp_path / "out")
