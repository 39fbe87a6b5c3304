"""What personalizes a pipeline is read from headers, and refused where it is something else."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xpert.errors import DamagedModelError, MismatchError, MissingModelError
from xpert.models.image_adapters import LORA_WEIGHTS, check_image_fit, inspect_image_adapter
from xpert.testing.tiny_pictures import Studio


def changed(folder: Path, target: Path, change: object, metadata: dict[str, str] | None = None) -> Path:
    """A copy of a LoRA whose tensors went through `change`."""
    target.mkdir()
    tensors = load_file(folder / LORA_WEIGHTS)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, target / LORA_WEIGHTS, metadata)
    return target


def test_a_lora_and_a_unet_are_told_apart(studio: Studio) -> None:
    lora = inspect_image_adapter(studio.loras[1])
    assert (lora.kind, lora.rank, lora.scale, lora.target_modules) == ("image-lora", 3, 1.0, ("to_q", "to_v"))
    whole = inspect_image_adapter(studio.other)
    assert (whole.kind, whole.rank, whole.target_modules) == ("unet", 0, ())
    assert whole.digest == inspect_image_adapter(studio.other / "unet").digest
    check_image_fit(lora, studio.pipeline)
    check_image_fit(whole, studio.pipeline)


def test_alpha_in_the_metadata_counts(studio: Studio, tmp_path: Path) -> None:
    stated = json.dumps({"unet.r": 2, "unet.lora_alpha": 8})
    folder = changed(studio.loras[0], tmp_path / "a", lambda t: None, {"lora_adapter_metadata": stated})
    assert inspect_image_adapter(folder).scale == 4.0
    dora = json.dumps({"unet.r": 2, "unet.lora_alpha": 8, "unet.use_dora": True})
    folder = changed(studio.loras[0], tmp_path / "b", lambda t: None, {"lora_adapter_metadata": dora})
    with pytest.raises(DamagedModelError, match="plain LoRA"):
        inspect_image_adapter(folder)


@pytest.mark.parametrize("alpha", ["1e999", "1" * 400, "0", "-5", "true", '"8"', "null"])
def test_an_alpha_that_makes_no_scale_is_refused(studio: Studio, tmp_path: Path, alpha: str) -> None:
    stated = f'{{"unet.r": 2, "unet.lora_alpha": {alpha}}}'
    folder = changed(studio.loras[0], tmp_path / "a", lambda t: None, {"lora_adapter_metadata": stated})
    with pytest.raises(DamagedModelError, match="a finite number above 0"):
        inspect_image_adapter(folder)


def test_a_rank_that_the_matrices_do_not_have_is_refused(studio: Studio, tmp_path: Path) -> None:
    stated = json.dumps({"unet.r": 4, "unet.lora_alpha": 4})
    folder = changed(studio.loras[0], tmp_path / "a", lambda t: None, {"lora_adapter_metadata": stated})
    with pytest.raises(DamagedModelError, match=r"states rank 4, but A of layer .* has shape \(2, "):
        inspect_image_adapter(folder)


def first(tensors: dict[str, torch.Tensor], side: str) -> str:
    return next(name for name in tensors if f"lora_{side}" in name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({"text_encoder.q.lora_A.weight": torch.zeros(2, 4)}), "only diffusers' own LoRA format"),
        (lambda t: t.pop(next(k for k in t if "lora_B" in k)), "needs one A and one B"),
        (lambda t: t.update({k: v * float("nan") for k, v in list(t.items())[:1]}), "NaN"),
        (lambda t: t.clear(), "no tensors"),
        (lambda t: t.update({first(t, "A"): torch.tensor(1.0)}), r"has shape \(\), a matrix"),
        (lambda t: t.update({first(t, "A"): torch.zeros(0, 16)}), r"has shape \(0, 16\), a matrix"),
        (lambda t: t.update({first(t, "A").replace("lora_A", "lora.down"): torch.zeros(2, 16)}), "has A twice"),
        (lambda t: t.update({first(t, "B"): torch.zeros(16, 2, 3, 3)}), "only A may have a kernel"),
    ],
    ids=["text-encoder", "half-a-layer", "nan", "empty", "number", "nothing", "two-spellings", "kernel-of-b"],
)
def test_other_contents_are_refused(studio: Studio, tmp_path: Path, change: object, message: str) -> None:
    with pytest.raises(DamagedModelError, match=message):
        inspect_image_adapter(changed(studio.loras[0], tmp_path / "bad", change))


def test_what_is_missing_is_named(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="no adapter folder"):
        inspect_image_adapter(tmp_path / "nowhere")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_lora_weights.bin").write_bytes(b"\x80\x04")
    with pytest.raises(MissingModelError, match="unpickling runs code"):
        inspect_image_adapter(tmp_path / "pickled")


def test_a_foreign_layer_and_a_foreign_base_are_mismatches(studio: Studio, tmp_path: Path) -> None:
    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace("mid_block", "side_block")] = tensors.pop(name)

    with pytest.raises(MismatchError, match="no layer of the U-Net"):
        check_image_fit(inspect_image_adapter(changed(studio.loras[0], tmp_path / "a", rename)), studio.pipeline)
    carded = Path(shutil.copytree(studio.loras[0], tmp_path / "b"))
    (carded / "README.md").write_text(f"---\nxpert:\n  base_sha256: {'a' * 64}\n---\n")
    with pytest.raises(MismatchError, match="was tuned on base aaaaaaaaaaaa"):
        check_image_fit(inspect_image_adapter(carded), studio.pipeline)


def test_a_unet_whose_configuration_changes_no_shape_is_a_mismatch(studio: Studio, tmp_path: Path) -> None:
    own = Path(shutil.copytree(studio.other / "unet", tmp_path / "own"))
    stated = json.loads((own / "config.json").read_text())

    def write(**changes: object) -> None:
        (own / "config.json").write_text(json.dumps({**stated, **changes}))

    without_defaults = {key: value for key, value in stated.items() if key != "act_fn"}
    (own / "config.json").write_text(json.dumps({**without_defaults, "_name_or_path": "x", "_diffusers_version": "0"}))
    check_image_fit(inspect_image_adapter(own), studio.pipeline)
    for changes in ({"attention_head_dim": 8}, {"act_fn": "gelu"}, {"quantization_config": {}}):
        write(**changes)
        with pytest.raises(MismatchError, match=f"has {next(iter(changes))} "):
            check_image_fit(inspect_image_adapter(own), studio.pipeline)
    write(_use_default_values=["attention_head_dim"])
    with pytest.raises(DamagedModelError, match="_use_default_values"):
        check_image_fit(inspect_image_adapter(own), studio.pipeline)
    (own / "config.json").write_text('{"act_fn": "silu", "act_fn": "gelu"}')
    with pytest.raises(DamagedModelError, match="stands twice"):
        check_image_fit(inspect_image_adapter(own), studio.pipeline)


def test_the_card_of_a_pipeline_is_that_of_its_unet(studio: Studio, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(studio.other, tmp_path / "own"))
    bare = inspect_image_adapter(folder)
    assert bare.card is None
    (folder / "README.md").write_text(f"---\nxpert:\n  base_sha256: {'a' * 64}\n---\n")
    carded = inspect_image_adapter(folder)
    assert (carded.card, carded.base_digest, carded.digest) == (folder / "README.md", "a" * 64, bare.digest)
    assert carded.size_bytes == bare.size_bytes + (folder / "README.md").stat().st_size
