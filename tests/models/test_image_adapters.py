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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update({"text_encoder.q.lora_A.weight": torch.zeros(2, 4)}), "only diffusers' own LoRA format"),
        (lambda t: t.pop(next(k for k in t if "lora_B" in k)), "needs one A and one B"),
        (lambda t: t.update({k: v * float("nan") for k, v in list(t.items())[:1]}), "NaN"),
        (lambda t: t.clear(), "no tensors"),
    ],
    ids=["text-encoder", "half-a-layer", "nan", "empty"],
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
