"""The model card of a tuned diffusion model: README.md with YAML front matter, for people and for pools.

Knows numbers only: how many pictures of the person there were, never a caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from huggingface_hub import ModelCardData

from xpert.tuning.diffusion_settings import DiffusionSettings

_TABLE_ROWS = 12


@dataclass(frozen=True, slots=True)
class DiffusionFacts:
    """What a card says.

    Attributes:
        name: title.
        base_name: hub name of the base, or its folder's last part, since paths name their owners.
        base_sha256: digest of the base pipeline.
        pipeline: name of its class in diffusers.
        parents: digests of the adapters that it was continued from.
        pictures: number of pictures.
        steps: optimizer steps.
        samples: pictures of one step.
        losses: training loss of every step.
        resolution: side of the pictures, in pixels.
        rank: LoRA rank; 0 for a whole U-Net.
        alpha: LoRA alpha; 0 for a whole U-Net.
        layers: names of the adapted layers; empty for a whole U-Net.
        precision: what was computed in.
    """

    name: str
    base_name: str
    base_sha256: str
    pipeline: str
    parents: tuple[str, ...]
    pictures: int
    steps: int
    samples: int
    losses: Sequence[float]
    resolution: int
    rank: int
    alpha: float
    layers: tuple[str, ...]
    precision: str


def write_diffusion_card(facts: DiffusionFacts, settings: DiffusionSettings) -> str:
    """The text of README.md."""
    return f"---\n{_front_matter(facts, settings)}\n---\n\n{_body(facts, settings)}"


def _front_matter(facts: DiffusionFacts, settings: DiffusionSettings) -> str:
    data = ModelCardData(
        base_model=facts.base_name,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=[*(["lora"] if settings.method == "lora" else []), "diffusers-training", "xpert", "personalized"],
        xpert={
            "base_sha256": facts.base_sha256,
            "parents": list(facts.parents),
            "method": settings.method,
            "pictures": facts.pictures,
            "steps": facts.steps,
            "seed": settings.seed,
        },
    )
    return str(data.to_yaml())


def _body(facts: DiffusionFacts, settings: DiffusionSettings) -> str:
    start = "the base itself" if not facts.parents else f"adapter `{facts.parents[-1][:12]}`"
    what = "A LoRA adapter of" if settings.method == "lora" else "A pipeline with a tuned U-Net, from"
    crop = "the middle" if settings.center_crop else "anywhere"
    flip = ", mirrored by chance" if settings.random_flip else ""
    return f"""# {facts.name}

{what} `{facts.base_name}`, tuned with XPerT on one person's pictures.

| | |
|---|---|
| started from | {start} |
| pictures | {facts.pictures}, {facts.resolution} x {facts.resolution} pixels, cropped {crop}{flip} |
| steps | {facts.steps} of {facts.samples} pictures |
| precision | {facts.precision} |

{_curve(facts.losses)}## Settings

| | |
|---|---|
{_settings(facts, settings)}

## How to open it

```python
{_usage(facts, settings)}
```
"""


def _settings(facts: DiffusionFacts, settings: DiffusionSettings) -> str:
    warmup = f" after {settings.warmup_steps} steps of warm-up" if settings.warmup_steps else ""
    rows = [
        ("rank, alpha", f"{facts.rank}, {facts.alpha:g}" if facts.rank else ""),
        ("layers", ", ".join(facts.layers)),
        ("learning rate", f"{settings.rate:g}, {settings.schedule}{warmup}"),
        ("AdamW", f"betas {settings.adam_beta1:g}, {settings.adam_beta2:g}; weight decay {settings.weight_decay:g}"),
        ("moving average", f"decay {settings.ema_decay:g}" if settings.ema else ""),
        ("min-SNR gamma", "" if settings.snr_gamma is None else f"{settings.snr_gamma:g}"),
        ("noise offset", f"{settings.noise_offset:g}" if settings.noise_offset else ""),
        ("input perturbation", f"{settings.input_perturbation:g}" if settings.input_perturbation else ""),
        ("prediction", settings.prediction_type or ""),
        ("seed", str(settings.seed)),
    ]
    return "\n".join(f"| {name} | {value} |" for name, value in rows if value)


def _usage(facts: DiffusionFacts, settings: DiffusionSettings) -> str:
    if settings.method == "full":
        load = f'pipeline = {facts.pipeline}.from_pretrained("path/to/this/folder")'
    else:
        load = (
            f'pipeline = {facts.pipeline}.from_pretrained("{facts.base_name}")\n'
            'pipeline.load_lora_weights("path/to/this/folder")'
        )
    return f'from diffusers import {facts.pipeline}\n\n{load}\npicture = pipeline("a caption").images[0]'


def _curve(losses: Sequence[float]) -> str:
    """Means over equal stretches: single losses swing with their timesteps."""
    if not losses:
        return ""
    every = -(-len(losses) // _TABLE_ROWS)
    rows = []
    for begin in range(0, len(losses), every):
        stretch = losses[begin : begin + every]
        rows.append(f"| {begin + 1} to {begin + len(stretch)} | {sum(stretch) / len(stretch):.4f} |")
    return "## Training loss\n\n| steps | mean |\n|---|---|\n" + "\n".join(rows) + "\n\n"
