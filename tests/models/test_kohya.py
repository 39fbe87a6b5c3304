"""LoRAs in one file, as kohya-ss writes them: what they add to a layer's weights is alpha / r up down."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from xpert.errors import DamagedModelError
from xpert.merging.images import merge_image_adapters, read_image_lora
from xpert.merging.lora import dense
from xpert.models.image_adapters import LORA_WEIGHTS, attach_image_adapter, check_image_fit, inspect_image_adapter
from xpert.models.kohya import convert_kohya, kohya_file
from xpert.models.kohya_names import layer_of
from xpert.models.opened import open_pipeline
from xpert.models.reference import ModelReference
from xpert.testing.tiny_pictures import Studio

Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
V = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONV = "down_blocks.0.resnets.0.conv1"
PLANTED = {Q: (4, 1.0), V: (2, 2.0), OUT: (4, 1.0), CONV: (3, 0.5)}
"""Layer -> rank and alpha, as one file may mix them."""


def weights(studio: Studio) -> dict[str, torch.Tensor]:
    read: Any = UNet2DConditionModel.from_pretrained
    return dict(read(str(studio.pipeline), subfolder="unet").state_dict())


def kohya(studio: Studio, file: Path, planted: dict[str, tuple[int, float | None]], **more: torch.Tensor) -> Path:
    """A file with random matrices of these ranks and alphas."""
    own, made, draw = weights(studio), {}, torch.Generator().manual_seed(0)
    for layer, (rank, alpha) in planted.items():
        shape, name = own[f"{layer}.weight"].shape, f"lora_unet_{layer.replace('.', '_')}"
        made[f"{name}.lora_down.weight"] = torch.randn(rank, *shape[1:], generator=draw)
        made[f"{name}.lora_up.weight"] = torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=draw) / 4
        if alpha is not None:
            made[f"{name}.alpha"] = torch.tensor(alpha)
    save_file({**made, **more}, file, {"ss_network_module": "networks.lora"})
    return file


def by_hand(file: Path, layer: str, alpha: float) -> torch.Tensor:
    tensors, name = load_file(file), f"lora_unet_{layer.replace('.', '_')}"
    down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
    product = up.flatten(1) @ down.flatten(1)
    return (alpha / down.shape[0] * product).reshape(up.shape[0], *down.shape[1:])


def test_every_layers_own_alpha_and_rank_are_kept(studio: Studio, tmp_path: Path) -> None:
    file = kohya(studio, tmp_path / "style.safetensors", PLANTED)
    facts = inspect_image_adapter(convert_kohya(file, tmp_path / "out"))
    check_image_fit(facts, studio.pipeline)
    lora, own = read_image_lora(facts), weights(studio)
    with open_pipeline(ModelReference(str(studio.pipeline)), device="cpu") as opened:
        attach_image_adapter(opened.pipeline, facts)
        opened.pipeline.fuse_lora(components=["unet"])
        opened.pipeline.unload_lora_weights()
        fused = opened.pipeline.unet.state_dict()
        for layer, (_, alpha) in PLANTED.items():
            wanted = by_hand(file, layer, alpha)
            assert torch.allclose(dense(lora, layer), wanted, atol=1e-6)
            assert torch.allclose(fused[f"{layer}.weight"], own[f"{layer}.weight"] + wanted, atol=1e-5)


def test_without_alpha_and_with_zero_the_scale_is_one(studio: Studio, tmp_path: Path) -> None:
    file = kohya(studio, tmp_path / "a.safetensors", {Q: (4, None), V: (2, 0.0)})
    lora = read_image_lora(inspect_image_adapter(convert_kohya(file, tmp_path / "out")))
    assert torch.allclose(dense(lora, Q), by_hand(file, Q, 4.0), atol=1e-6)
    assert torch.allclose(dense(lora, V), by_hand(file, V, 2.0), atol=1e-6)


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.uint8, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_an_alpha_of_any_kind_of_number(
    kind: torch.dtype, shape: tuple[int, ...], studio: Studio, tmp_path: Path
) -> None:
    """kohya-ss writes the rank as a whole number where no alpha was chosen."""
    file = kohya(studio, tmp_path / "a.safetensors", {Q: (4, 1.0), V: (2, None)})
    name = f"lora_unet_{Q.replace('.', '_')}.alpha"
    save_file({**load_file(file), name: torch.full(shape, 8, dtype=kind)}, file)
    lora = read_image_lora(inspect_image_adapter(convert_kohya(file, tmp_path / "out")))
    assert torch.allclose(dense(lora, Q), by_hand(file, Q, 8.0), atol=1e-5)


@pytest.mark.parametrize(("alpha", "factor"), [(3e38, 1.0), (1.0, 1e4), (1e6, 10.0)])
def test_numbers_that_no_training_gives_are_not_converted(
    alpha: float, factor: float, studio: Studio, tmp_path: Path
) -> None:
    file = kohya(studio, tmp_path / "a.safetensors", {Q: (4, alpha)})
    save_file({k: v if k.endswith("alpha") else v * factor for k, v in load_file(file).items()}, file)
    with pytest.raises(DamagedModelError, match=r"at most 1e\+04|at most 10000"):
        convert_kohya(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_merge_of_one_is_the_file_itself(studio: Studio, tmp_path: Path) -> None:
    file = kohya(studio, tmp_path / "a.safetensors", PLANTED)
    converted = convert_kohya(file, tmp_path / "converted")
    merge_image_adapters({"a": (converted, 0.5)}, studio.pipeline, tmp_path / "merged")
    merged = read_image_lora(inspect_image_adapter(tmp_path / "merged"))
    for layer, (_, alpha) in PLANTED.items():
        assert torch.allclose(dense(merged, layer), 0.5 * by_hand(file, layer, alpha), atol=1e-6)


def test_a_kernel_in_the_middle_goes_into_a(studio: Studio, tmp_path: Path) -> None:
    own, name = weights(studio)[f"{CONV}.weight"], f"lora_unet_{CONV.replace('.', '_')}"
    down, mid, up = torch.randn(3, own.shape[1], 1, 1), torch.randn(3, 3, 3, 3), torch.randn(own.shape[0], 3, 1, 1)
    file = tmp_path / "tucker.safetensors"
    parts = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(1.5)}
    save_file({f"{name}.{side}": tensor for side, tensor in parts.items()}, file)
    facts = inspect_image_adapter(convert_kohya(file, tmp_path / "out"))
    check_image_fit(facts, studio.pipeline)
    wanted = 0.5 * torch.einsum("or,rskl,si->oikl", up[..., 0, 0], mid, down[..., 0, 0])
    assert torch.allclose(dense(read_image_lora(facts), CONV), wanted, atol=1e-5)


def test_diffusers_spelling_with_alphas_is_read_too(studio: Studio, tmp_path: Path) -> None:
    own = weights(studio)[f"{Q}.weight"]
    down, up = torch.randn(4, own.shape[1]), torch.randn(own.shape[0], 4)
    file = tmp_path / LORA_WEIGHTS
    save_file({f"unet.{Q}.lora.down.weight": down, f"unet.{Q}.lora.up.weight": up, f"unet.{Q}.alpha": torch.tensor(1.0)}, file)  # noqa: E501  # fmt: skip
    with pytest.raises(DamagedModelError, match="xpert convert"):
        inspect_image_adapter(tmp_path)
    assert kohya_file(tmp_path) == file
    lora = read_image_lora(inspect_image_adapter(convert_kohya(file, tmp_path / "out")))
    assert torch.allclose(dense(lora, Q), up @ down / 4, atol=1e-6)


def test_plain_diffusers_reads_what_was_converted(studio: Studio, tmp_path: Path) -> None:
    folder = convert_kohya(kohya(studio, tmp_path / "a.safetensors", PLANTED), tmp_path / "out")
    read: Any = StableDiffusionPipeline.from_pretrained
    pipeline = read(str(studio.pipeline))
    pipeline.load_lora_weights(str(folder))
    scales = {name: module.scaling for name, module in pipeline.unet.named_modules() if hasattr(module, "scaling")}
    assert {name: next(iter(scale.values())) for name, scale in scales.items() if scale} == {
        layer: alpha / rank for layer, (rank, alpha) in PLANTED.items()
    }
    assert re.search(r"converted_from_sha256: [0-9a-f]{64}\n", (folder / "README.md").read_text())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2)}, "the text encoder besides"),
        (
            {
                "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2),
                "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2),
            },
            "the first text encoder and the second text encoder besides.*--unet-only",
        ),
        ({"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.ones(4, 2)}, "is LoHa"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lokr_w1": torch.ones(4, 2)}, "is LoKr"),
        ({"lora_unet_mid_block_attentions_0_proj_in.dora_scale": torch.ones(4, 2)}, "is DoRA"),
        ({"lora_unet_mid_block_attentions_0_proj_in.diff": torch.ones(4, 2)}, "is a full difference"),
        ({"lora_unet_double_blocks_0_img_attn_proj.lora_up.weight": torch.ones(4, 2)}, "a LoRA of Flux"),
        ({"lora_unet_joint_blocks_0_x.lora_up.weight": torch.ones(4, 2)}, "a LoRA of Stable Diffusion 3"),
        ({"lora_unet_side_block.lora_up.weight": torch.ones(4, 2)}, "a layer 'side_block' that no U-Net has"),
        ({"lora_unet_\x1b[31mred.lora_up.weight": torch.ones(4, 2)}, r"'\?\[31mred' that no U-Net has"),
        ({"lora_unet_conv_in.lora_up.weight": torch.ones(4, 2, 1, 1)}, "needs one down and one up"),
        ({"something.else": torch.ones(1)}, "is neither down, up nor alpha"),
    ],
)
def test_what_else_a_file_may_hold_is_named(
    studio: Studio, tmp_path: Path, more: dict[str, torch.Tensor], message: str
) -> None:
    file = kohya(studio, tmp_path / "a.safetensors", {Q: (4, 1.0)}, **more)
    with pytest.raises(DamagedModelError, match=message):
        convert_kohya(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.update({k: v[:1] for k, v in t.items() if "lora_up" in k}),
        lambda t: t.update({k: torch.tensor(-1.0) for k in t if "alpha" in k}),
        lambda t: t.update({k: torch.ones(2) for k in t if "alpha" in k}),
        lambda t: t.update({k: torch.tensor(float("nan")) for k in t if "alpha" in k}),
        lambda t: t.update({k: v[:, :1] for k, v in t.items() if "lora_up" in k}),
        lambda t: t.update({k: v[0] for k, v in t.items() if "lora_down" in k}),
    ],
)
def test_matrices_that_cannot_be_are_refused(
    studio: Studio, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    file = kohya(studio, tmp_path / "a.safetensors", {Q: (4, 1.0)})
    tensors = load_file(file)
    spoil(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    with pytest.raises((DamagedModelError, Exception)) as caught:
        facts = inspect_image_adapter(convert_kohya(file, tmp_path / "out"))
        check_image_fit(facts, studio.pipeline)
    assert type(caught.value).__module__ == "xpert.errors"


def test_text_encoders_are_left_out_when_that_is_asked_for(studio: Studio, tmp_path: Path) -> None:
    more = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2)}
    file = kohya(studio, tmp_path / "a.safetensors", {Q: (4, 1.0)}, **more)
    facts = inspect_image_adapter(convert_kohya(file, tmp_path / "out", unet_only=True))
    assert facts.target_modules == ("to_q",)
    assert "left out" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("input_blocks_0_0", "conv_in"),
        ("input_blocks_1_0_in_layers_2", "down_blocks.0.resnets.0.conv1"),
        ("input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"),
        (
            "input_blocks_4_1_transformer_blocks_1_attn2_to_out_0",
            "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_out.0",
        ),
        ("input_blocks_5_0_emb_layers_1", "down_blocks.1.resnets.1.time_emb_proj"),
        ("input_blocks_8_1_proj_in", "down_blocks.2.attentions.1.proj_in"),
        ("middle_block_0_out_layers_3", "mid_block.resnets.0.conv2"),
        (
            "middle_block_1_transformer_blocks_9_ff_net_0_proj",
            "mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj",
        ),
        ("middle_block_2_in_layers_2", "mid_block.resnets.1.conv1"),
        ("output_blocks_0_0_skip_connection", "up_blocks.0.resnets.0.conv_shortcut"),
        ("output_blocks_2_2_conv", "up_blocks.0.upsamplers.0.conv"),
        (
            "output_blocks_5_1_transformer_blocks_0_attn1_to_k",
            "up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_k",
        ),
        ("time_embed_0", "time_embedding.linear_1"),
        ("label_emb_0_2", "add_embedding.linear_2"),
        (
            "down_blocks_1_attentions_0_transformer_blocks_0_ff_net_2",
            "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2",
        ),
        ("up_blocks_1_upsamplers_0_conv", "up_blocks.1.upsamplers.0.conv"),
        ("mid_block_resnets_1_time_emb_proj", "mid_block.resnets.1.time_emb_proj"),
        ("add_embedding_linear_1", "add_embedding.linear_1"),
        ("conv_out", "conv_out"),
        ("middle_block_0_nothing", None),
        ("", None),
    ],
)
def test_names_of_both_spellings(name: str, layer: str | None) -> None:
    assert layer_of(name) == layer


def test_every_layer_of_a_unet_is_found_by_its_joined_name(studio: Studio) -> None:
    for name in weights(studio):
        layer = name.rsplit(".", 1)[0]
        if "norm" not in layer:
            assert layer_of(layer.replace(".", "_")) == layer
