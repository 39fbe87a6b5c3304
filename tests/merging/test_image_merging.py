"""Task arithmetic on LoRAs of unlike ranks and on U-Nets: exact, plain to open, nothing half-written."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from xpert.errors import DamagedModelError, MismatchError, MissingModelError, ModelError, SettingsError
from xpert.merging.images import merge_image_adapters, read_image_lora
from xpert.merging.lora import Lora, concatenate, dense
from xpert.merging.methods import Recipe
from xpert.merging.streaming import write_streamed
from xpert.models.image_adapters import LORA_WEIGHTS, UNET_WEIGHTS, inspect_image_adapter
from xpert.testing.tiny_pictures import Studio, tiny_image_lora, tiny_pipeline


def deltas(folder: Path) -> dict[str, torch.Tensor]:
    lora = read_image_lora(inspect_image_adapter(folder))
    return {layer: dense(lora, layer) for layer in lora.layers}


def test_loras_of_unlike_ranks_and_layers_add_up_exactly(studio: Studio, tmp_path: Path) -> None:
    third = tiny_image_lora(studio.pipeline, tmp_path / "third", seed=9, rank=5, targets=("to_k", "to_v", "conv1"))
    parents = {"a": (studio.loras[0], 0.7), "b": (studio.loras[1], 0.4), "c": (third, -0.5)}
    merged = merge_image_adapters(parents, studio.pipeline, tmp_path / "merged")
    assert (merged.kind, merged.weights) == ("image-lora", {"a": 0.7, "b": 0.4, "c": -0.5})
    found = deltas(tmp_path / "merged")
    expected: dict[str, torch.Tensor] = {}
    for folder, weight in parents.values():
        for layer, delta in deltas(folder).items():
            expected[layer] = expected.get(layer, torch.zeros_like(delta)) + weight * delta
    assert found.keys() == expected.keys() and any("conv1" in layer for layer in found)
    for layer, delta in expected.items():
        torch.testing.assert_close(found[layer], delta, atol=1e-6, rtol=0)
    ranks = {t.shape[0] for n, t in load_file(tmp_path / "merged" / LORA_WEIGHTS).items() if "lora_A" in n}
    assert ranks == {merged.rank} == {2 + 3 + 5}


def unet_weights(pipeline: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in pipeline.unet.state_dict().items()}


def test_a_merged_lora_opens_in_plain_diffusers_and_acts_as_the_sum(studio: Studio, tmp_path: Path) -> None:
    parents = {"a": (studio.loras[0], 0.6), "b": (studio.loras[1], 0.5)}
    merge_image_adapters(parents, studio.pipeline, tmp_path / "merged")

    def fused(*adapters: tuple[Path, float]) -> dict[str, torch.Tensor]:
        pipeline = StableDiffusionPipeline.from_pretrained(studio.pipeline, safety_checker=None)
        names = [str(number) for number in range(len(adapters))]
        for name, (folder, _) in zip(names, adapters, strict=True):
            pipeline.load_lora_weights(str(folder), adapter_name=name)
        if names:
            pipeline.set_adapters(names, [weight for _, weight in adapters])
            pipeline.fuse_lora(adapter_names=names)
            pipeline.unload_lora_weights()
        return unet_weights(pipeline)

    ours, theirs = fused((tmp_path / "merged", 1.0)), fused(*parents.values())
    plain = fused()
    assert max(float((ours[n] - plain[n]).abs().max()) for n in plain) > 1e-3
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-5)


def test_unets_stream_to_theta0_plus_the_weighted_differences(studio: Studio, tmp_path: Path) -> None:
    third = tiny_pipeline(tmp_path / "third", seed=2)
    parents = {"o": (studio.other, 0.5), "t": (third, 0.25), "l": (studio.loras[0], 0.3)}
    merged = merge_image_adapters(parents, studio.pipeline, tmp_path / "merged")
    assert (merged.kind, merged.rank) == ("unet", 0)
    found = load_file(tmp_path / "merged" / UNET_WEIGHTS)
    base, other, last = (load_file(p / "unet" / UNET_WEIGHTS) for p in (studio.pipeline, studio.other, third))
    added = deltas(studio.loras[0])
    assert found.keys() == base.keys()
    for name, start in base.items():
        expected = start + 0.5 * (other[name] - start) + 0.25 * (last[name] - start)
        expected = expected + 0.3 * added.get(name.removesuffix(".weight"), torch.zeros(()))
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=1e-5)
    assert UNet2DConditionModel.from_pretrained(tmp_path / "merged").config.cross_attention_dim == 16


@pytest.mark.parametrize("method", ["ties", "dare"])
def test_other_methods_work_on_loras_and_unets(studio: Studio, tmp_path: Path, method: str) -> None:
    loras = {"a": (studio.loras[0], 0.7), "b": (studio.loras[1], 0.4)}
    chosen: dict[str, Any] = {"method": method, "density": 0.5, "seed": 1}
    merged = merge_image_adapters(loras, studio.pipeline, tmp_path / "lora", rank=1000, **chosen)
    assert merged.error < 1e-6 and f"method: {method}" in (tmp_path / "lora" / "README.md").read_text()
    recipe, found = Recipe(method, 0.5, seed=1), deltas(tmp_path / "lora")
    one, two = (deltas(folder) for folder, _ in loras.values())
    digests = list(merged.digests.values())
    for layer in one.keys() & two.keys():
        wanted = recipe.merge(f"{layer}.weight", [one[layer], two[layer]], [0.7, 0.4], digests)
        torch.testing.assert_close(found[layer], wanted, atol=1e-5, rtol=1e-5)
    unets = {"o": (studio.other, 0.5), "a": (studio.loras[0], 0.7)}
    whole = merge_image_adapters(unets, studio.pipeline, tmp_path / "unet", **chosen)
    start, other = (load_file(p / "unet" / UNET_WEIGHTS) for p in (studio.pipeline, studio.other))
    for name, tensor in load_file(tmp_path / "unet" / UNET_WEIGHTS).items():
        given = {"o": other[name] - start[name], "a": one.get(name.removesuffix(".weight"))}
        having = [key for key, delta in given.items() if delta is not None]
        wanted = recipe.merge(
            name, [given[key] for key in having], [unets[key][1] for key in having], [whole.digests[k] for k in having]
        )
        torch.testing.assert_close(tensor, start[name] + wanted, atol=1e-6, rtol=1e-5)
    with pytest.raises(SettingsError, match="'o' is a whole U-Net, so the result has no rank"):
        merge_image_adapters(unets, studio.pipeline, tmp_path / "no", rank=4)


def test_the_card_names_parents_weights_and_digests(studio: Studio, tmp_path: Path) -> None:
    merge_image_adapters({"calm": (studio.loras[0], 0.6)}, studio.pipeline, tmp_path / "merged")
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "| calm | 0.6 |" in card and inspect_image_adapter(studio.loras[0]).digest in card
    facts = inspect_image_adapter(tmp_path / "merged")
    from xpert.models.image_adapters import check_image_fit

    check_image_fit(facts, studio.pipeline)
    with pytest.raises(MismatchError, match="was tuned on base"):
        check_image_fit(facts, studio.other)


def test_everything_is_checked_before_anything_is_written(studio: Studio, tmp_path: Path) -> None:
    wide = tiny_pipeline(tmp_path / "wide", cross_attention=24)
    with pytest.raises(MismatchError):
        merge_image_adapters({"a": (studio.loras[0], 1.0), "w": (wide, 1.0)}, studio.pipeline, tmp_path / "out")
    for weight in (float("nan"), float("inf"), 11.0):
        with pytest.raises(SettingsError, match="out of range"):
            merge_image_adapters({"a": (studio.loras[0], weight)}, studio.pipeline, tmp_path / "out")
    with pytest.raises(SettingsError, match="no models to merge"):
        merge_image_adapters({}, studio.pipeline, tmp_path / "out")
    with pytest.raises(SettingsError, match="exists already"):
        merge_image_adapters({"a": (studio.loras[0], 1.0)}, studio.pipeline, studio.pipeline)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["wide"]


def test_an_interrupted_merge_leaves_nothing(studio: Studio, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_image_adapters({"o": (studio.other, 0.5)}, studio.pipeline, tmp_path / "out", on_progress=stop)
    assert not list(tmp_path.iterdir())


def test_layers_of_other_sizes_do_not_add_up() -> None:
    one = Lora({"q": (torch.ones(2, 4), torch.ones(3, 2))})
    two = Lora({"q": (torch.ones(2, 5), torch.ones(3, 2))})
    with pytest.raises(MismatchError, match="layer 'q' has other sizes"):
        concatenate([(one, 1.0), (two, 1.0)])
    scaled = concatenate([(Lora(one.layers, scale=2.0), 3.0)])
    np.testing.assert_allclose(dense(scaled, "q"), 6 * dense(one, "q"))


def test_a_streamed_file_is_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {"b": torch.randn(3, 2), "a": torch.randn(4).to(torch.bfloat16), "c": torch.ones(())}
    shapes = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
    write_streamed(tmp_path / "x.safetensors", shapes, tensors.__getitem__)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )
    with pytest.raises(ValueError, match="announced"):
        write_streamed(tmp_path / "y.safetensors", shapes, lambda name: torch.ones(7))


def test_faults_of_what_is_read_are_told_as_such(studio: Studio, tmp_path: Path) -> None:
    split = Path(shutil.copytree(studio.pipeline, tmp_path / "split"))
    unet = UNet2DConditionModel.from_pretrained(split / "unet")
    (split / "unet" / UNET_WEIGHTS).unlink()
    unet.save_pretrained(split / "unet", max_shard_size="50KB")
    with pytest.raises(MissingModelError, match=r"merged from one file.*max_shard_size"):
        merge_image_adapters({"o": (studio.other / "unet", 0.5)}, split, tmp_path / "deep" / "out")
    merge_image_adapters({"l": (studio.loras[0], 0.5)}, split, tmp_path / "lora")  # needs no U-Net
    lacking = Path(shutil.copytree(studio.pipeline, tmp_path / "lacking"))
    tensors = load_file(lacking / "unet" / UNET_WEIGHTS)
    tensors.pop("conv_out.bias")
    save_file(tensors, lacking / "unet" / UNET_WEIGHTS)
    with pytest.raises(DamagedModelError, match="has other tensors than"):
        merge_image_adapters({"o": (studio.other / "unet", 0.5)}, lacking, tmp_path / "deep" / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lacking", "lora", "split"]


def test_a_sum_that_overflows_is_refused_and_leaves_nothing(studio: Studio, tmp_path: Path) -> None:
    def copy(name: str, factor: float, dtype: torch.dtype) -> Path:
        folder = Path(shutil.copytree(studio.pipeline, tmp_path / name))
        tensors = load_file(folder / "unet" / UNET_WEIGHTS)
        tensors["conv_out.bias"] = tensors["conv_out.bias"] + factor
        save_file({k: v.to(dtype) for k, v in tensors.items()}, folder / "unet" / UNET_WEIGHTS)
        return folder

    base, far = copy("base", 0.0, torch.float16), copy("far", 60_000.0, torch.float32)
    merge_image_adapters({"far": (far, 1.0)}, base, tmp_path / "fits")
    with pytest.raises(ModelError, match=r"sum of far is not finite in conv_out\.bias \(torch\.float16\)"):
        merge_image_adapters({"far": (far, 2.0)}, base, tmp_path / "out")
    huge = tmp_path / "huge"
    huge.mkdir()
    tensors = {k: v * 0 + 3e38 for k, v in load_file(studio.loras[0] / LORA_WEIGHTS).items()}
    save_file(tensors, huge / LORA_WEIGHTS)
    with pytest.raises(ModelError, match=r"holds a number of size 3e\+38, at most 10000"):
        merge_image_adapters({"huge": (huge, 10.0)}, studio.pipeline, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "far", "fits", "huge"]
