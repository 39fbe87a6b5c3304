"""A run equals, step for step, the loop that one would write with diffusers, accelerate and peft."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.optimization import get_scheduler
from diffusers.training_utils import compute_snr
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file

from xpert.data.pictures import PictureSet, open_pictures
from xpert.models.reference import ModelReference
from xpert.testing.tiny_pictures import tiny_pictures, tiny_pipeline
from xpert.tuning import DiffusionResult, DiffusionSettings, tune_diffusion


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import datasets

    room, before = tmp_path_factory.mktemp("losses"), datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = room / "cache"
    yield room
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def folder(room: Path) -> Path:
    return tiny_pictures(room / "pictures", count=5)


@pytest.fixture(scope="module")
def pictures(folder: Path) -> PictureSet:
    return open_pictures(str(folder))


@pytest.fixture(scope="module")
def bases(room: Path) -> dict[str, Path]:
    return {"sd": tiny_pipeline(room / "sd"), "xl": tiny_pipeline(room / "xl", xl=True)}


def settings_of(**values: Any) -> DiffusionSettings:
    common = {"max_steps": 4, "batch_size": 2, "learning_rate": 3e-3, "rank": 4, "seed": 3, "cache_latents_mib": 64}
    return DiffusionSettings(**(common | values))


def generator(seed: int, what: str, number: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{what}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)


class PlainLoop:
    """train_text_to_image.py, train_text_to_image_lora.py and their XL twins, without what does not matter here."""

    def __init__(self, base: Path, folder: Path, settings: DiffusionSettings) -> None:
        self.settings, self.folder = settings, folder
        xl = (base / "text_encoder_2").is_dir()
        self.pipeline: Any = (StableDiffusionXLPipeline if xl else StableDiffusionPipeline).from_pretrained(str(base))
        scheduler: Any = DDPMScheduler
        self.noising = scheduler.from_config(self.pipeline.scheduler.config)
        if settings.prediction_type is not None:
            self.noising.register_to_config(prediction_type=settings.prediction_type)
        self.rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
        self.unet = self.pipeline.unet.train()
        if settings.method == "lora":
            self.unet.requires_grad_(False)
            torch.manual_seed(settings.seed)
            self.unet.add_adapter(
                LoraConfig(
                    r=settings.rank,
                    lora_alpha=settings.alpha or settings.rank,
                    init_lora_weights="gaussian",
                    target_modules=list(settings.target_modules),
                )
            )
        self.trained = [p for p in self.unet.parameters() if p.requires_grad]
        self.shadow = [p.detach().clone() for p in self.trained]

    def draw(self, position: int) -> dict[str, Any]:
        settings, count = self.settings, len(self.rows)
        order = torch.randperm(count, generator=generator(settings.seed, "epoch", position // count))
        row = self.rows[int(order[position % count])]
        draws = generator(settings.seed, "sample", position)
        top, left, flip, which = torch.rand(4, generator=draws).tolist()
        timestep = torch.randint(1000, (1,), generator=draws)
        posterior, noise = torch.randn(4, 8, 8, generator=draws), torch.randn(4, 8, 8, generator=draws)
        if settings.noise_offset:
            noise = noise + settings.noise_offset * torch.randn(4, 1, 1, generator=draws)
        extra = torch.randn(4, 8, 8, generator=draws) if settings.input_perturbation else torch.zeros(4, 8, 8)
        with Image.open(self.folder / row["file_name"]) as opened:
            image = opened.convert("RGB")
        original, side = (image.height, image.width), 32
        image = image.resize(
            (max(side, int(side * image.width / image.height)), max(side, int(side * image.height / image.width))),
            Image.Resampling.LANCZOS,
        )
        mirrored = settings.random_flip and flip < 0.5
        if settings.center_crop:
            y, x = round((image.height - side) / 2), round((image.width - side) / 2)
        else:
            y, x = int(top * (image.height - side + 1)), int(left * (image.width - side + 1))
        crop = image.crop((x, y, x + side, y + side))
        if mirrored:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            x = image.width - side - x
        values = torch.from_numpy(np.array(crop)).permute(2, 0, 1) / 255
        text = row["text"] if isinstance(row["text"], str) else row["text"][int(which * len(row["text"]))]
        return {
            "values": (values - 0.5) / 0.5, "posterior": posterior, "noise": noise, "extra": extra,
            "timestep": timestep, "text": text, "times": torch.tensor([*original, y, x, side, side]).float(),
        }  # fmt: skip

    def loss(self, samples: list[dict[str, Any]]) -> torch.Tensor:
        batch = {name: torch.stack([s[name] for s in samples]) for name in samples[0] if name != "text"}
        settings, pipeline = self.settings, self.pipeline
        with torch.no_grad():
            posterior = pipeline.vae.encode(batch["values"]).latent_dist
            latents = (posterior.mean + posterior.std * batch["posterior"]) * pipeline.vae.config.scaling_factor
            texts = [s["text"] for s in samples]
            more = {}
            if hasattr(pipeline, "text_encoder_2"):
                states, _, pooled, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
                more = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": batch["times"]}}
            else:
                states, _ = pipeline.encode_prompt(texts, "cpu", 1, do_classifier_free_guidance=False)
        steps = batch["timestep"].flatten()
        noisy = self.noising.add_noise(latents, batch["noise"] + settings.input_perturbation * batch["extra"], steps)
        answer = self.unet(noisy, steps, states, **more).sample
        v_prediction = self.noising.config.prediction_type == "v_prediction"
        target = self.noising.get_velocity(latents, batch["noise"], steps) if v_prediction else batch["noise"]
        if settings.snr_gamma is None:
            return torch.nn.functional.mse_loss(answer, target)
        snr = compute_snr(self.noising, steps)
        weights = torch.stack([snr, settings.snr_gamma * torch.ones_like(snr)], dim=1).min(dim=1)[0]
        weights = weights / (snr + 1) if v_prediction else weights / snr
        errors = torch.nn.functional.mse_loss(answer, target, reduction="none").mean(dim=(1, 2, 3))
        return (errors * weights).mean()

    def run(self) -> list[float]:
        settings, accelerator, losses = self.settings, Accelerator(), []
        optimizer = torch.optim.AdamW(
            self.trained, lr=settings.rate, betas=(settings.adam_beta1, settings.adam_beta2),
            weight_decay=settings.weight_decay, eps=settings.adam_epsilon,
        )  # fmt: skip
        schedule = get_scheduler(
            settings.schedule, optimizer, num_warmup_steps=settings.warmup_steps, num_training_steps=settings.max_steps
        )
        self.unet, optimizer, schedule = accelerator.prepare(self.unet, optimizer, schedule)
        position = 0
        for step in range(1, settings.max_steps + 1):
            total = 0.0
            for _ in range(settings.accumulation_steps):
                samples = [self.draw(position + i) for i in range(settings.batch_size)]
                position += settings.batch_size
                loss = self.loss(samples) / settings.accumulation_steps
                accelerator.backward(loss)
                total += loss.item()
            accelerator.clip_grad_norm_(self.trained, settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            decay = 0.0 if step == 1 else min(settings.ema_decay, step / (9 + step))
            for shadow, parameter in zip(self.shadow, self.trained, strict=True):
                shadow.mul_(decay).add_((1 - decay) * parameter.detach())
            losses.append(total)
        return losses


def close(result: DiffusionResult, losses: list[float]) -> None:
    assert len(losses) == result.steps == len(result.train_losses)
    assert result.train_losses == pytest.approx(losses, rel=1e-4)


def weights_of(result: DiffusionResult) -> dict[str, torch.Tensor]:
    if result.method == "full":
        return load_file(result.out / "unet" / "diffusion_pytorch_model.safetensors")
    return load_file(result.out / "pytorch_lora_weights.safetensors")


CASES = {
    "full": {"method": "full", "random_flip": True},
    "full, cropped in the middle": {"method": "full", "center_crop": True, "random_flip": True, "max_steps": 8},
    "lora": {"alpha": 8},
    "lora, everything": {
        "random_flip": True, "accumulation_steps": 2, "batch_size": 1, "snr_gamma": 5.0, "noise_offset": 0.1,
        "input_perturbation": 0.1, "schedule": "cosine", "warmup_steps": 2, "weight_decay": 0.1, "max_grad_norm": 0.1,
    },
    "full, accumulated, v": {
        "method": "full", "accumulation_steps": 2, "prediction_type": "v_prediction", "snr_gamma": 5.0,
        "center_crop": True, "schedule": "polynomial",
    },
}  # fmt: skip


@pytest.mark.parametrize("cache", [64, 0])
@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_the_plain_loop(
    case: str, cache: int, bases: dict[str, Path], folder: Path, pictures: PictureSet, tmp_path: Path
) -> None:
    settings = settings_of(**CASES[case], cache_latents_mib=cache)
    result = tune_diffusion(ModelReference(str(bases["sd"])), pictures, tmp_path / "mine", settings)
    plain = PlainLoop(bases["sd"], folder, settings)
    close(result, plain.run())
    assert len(set(result.train_losses)) == result.steps and all(map(math.isfinite, result.train_losses))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_xl_is_told_sizes_crops_and_both_encoders_words(
    method: str, bases: dict[str, Path], folder: Path, pictures: PictureSet, tmp_path: Path
) -> None:
    settings = settings_of(method=method, random_flip=True)
    result = tune_diffusion(ModelReference(str(bases["xl"])), pictures, tmp_path / "mine", settings)
    close(result, PlainLoop(bases["xl"], folder, settings).run())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_moving_average_is_what_is_written(
    method: str, bases: dict[str, Path], folder: Path, pictures: PictureSet, tmp_path: Path
) -> None:
    settings = settings_of(method=method, ema=True, ema_decay=0.3)
    result = tune_diffusion(ModelReference(str(bases["sd"])), pictures, tmp_path / "mine", settings)
    plain = PlainLoop(bases["sd"], folder, settings)
    close(result, plain.run())
    names = [name for name, parameter in plain.unet.named_parameters() if parameter.requires_grad]
    written, plainly = weights_of(result), dict(zip(names, plain.trained, strict=True))
    for name, shadow in zip(names, plain.shadow, strict=True):
        found = written[name if method == "full" else f"unet.{name.replace('.default', '')}"]
        assert torch.allclose(found, shadow, atol=2e-4), name
    assert any(not torch.allclose(plainly[n].detach(), s, atol=1e-3) for n, s in zip(names, plain.shadow, strict=True))


def test_several_captions_are_chosen_from_by_chance(bases: dict[str, Path], room: Path, tmp_path: Path) -> None:
    folder = tiny_pictures(tmp_path / "several", count=3)
    rows = [json.loads(line) | {"text": ["a red sea", "dark", "a sky"]}
            for line in (folder / "metadata.jsonl").read_text().splitlines()]  # fmt: skip
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = settings_of(method="full", max_steps=6)
    result = tune_diffusion(
        ModelReference(str(bases["sd"])), open_pictures(str(folder)), tmp_path / "mine", settings
    )  # fmt: skip
    plain = PlainLoop(bases["sd"], folder, settings)
    assert len({plain.draw(position)["text"] for position in range(12)}) == 3
    close(result, plain.run())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_one_batch_of_four_is_four_of_one(
    method: str, bases: dict[str, Path], pictures: PictureSet, tmp_path: Path
) -> None:
    results = []
    for batch, parts in ((4, 1), (2, 2), (1, 4)):
        settings = settings_of(method=method, batch_size=batch, accumulation_steps=parts, random_flip=True)
        out = tmp_path / f"{batch}"
        results.append(tune_diffusion(ModelReference(str(bases["sd"])), pictures, out, settings))
    for other in results[1:]:
        assert other.train_losses == pytest.approx(results[0].train_losses, rel=1e-4)


def test_gradient_checkpointing_changes_nothing(
    bases: dict[str, Path], pictures: PictureSet, tmp_path: Path
) -> None:  # fmt: skip
    losses = [
        tune_diffusion(
            ModelReference(str(bases["sd"])),
            pictures,
            tmp_path / str(saving),
            settings_of(gradient_checkpointing=saving),
        ).train_losses
        for saving in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_half_precision_on_a_cpu_is_computed_in_fp32_and_says_so(
    bases: dict[str, Path], pictures: PictureSet, tmp_path: Path
) -> None:
    losses, notes = [], []
    for precision in ("no", "bf16", "fp16"):
        settings = settings_of(mixed_precision=precision, max_steps=2)
        result = tune_diffusion(
            ModelReference(str(bases["sd"])), pictures, tmp_path / precision, settings, device="cpu"
        )
        losses.append(result.train_losses)
        notes.append(result.notes)
    assert losses[0] == losses[1] == losses[2] and notes[0] == ()
    assert "computed in fp32: mixed_precision bf16 is used on CUDA only" in notes[1][0]
