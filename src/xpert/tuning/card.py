"""The model card of a tuned adapter: README.md with YAML front matter, for people and for pools.

Knows numbers only: how much personal data there was, never a word of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from huggingface_hub import ModelCardData

from xpert.models.reference import shared_name
from xpert.tuning.settings import TuningSettings

_TABLE_ROWS = 12


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says.

    Attributes:
        name: title of the adapter.
        base_model: hub name or folder of the base; of a folder only the last part is written.
        base_sha256: digest of the base's weights and configuration.
        tokenizer_sha256: digest of its vocabulary.
        parents: digests of the adapters that it was continued from.
        samples: training samples.
        validation_samples: samples that only chose the best step.
        steps: optimizer steps of the weights in the folder.
        validation_loss: of the weights in the folder, in nats a response token; None if never evaluated.
        validation_losses: (step, loss) of all evaluations.
        stopped: why the run ended.
        rank: LoRA rank.
        alpha: LoRA alpha.
        target_modules: names of the adapted layers.
        merged: digests and weights of what it was merged from, where the last of the parents was a merge.
    """

    name: str
    base_model: str
    base_sha256: str
    tokenizer_sha256: str
    parents: tuple[str, ...]
    samples: int
    validation_samples: int
    steps: int
    validation_loss: float | None
    validation_losses: Sequence[tuple[int, float]]
    stopped: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    merged: tuple[tuple[str, float], ...] = ()

    @property
    def base_name(self) -> str:
        """The base for people: a hub name, or a folder's last part, since paths name their owners."""
        return shared_name(self.base_model)


def write_card(facts: CardFacts, settings: TuningSettings) -> str:
    """The text of README.md."""
    return f"---\n{_front_matter(facts, settings)}\n---\n\n{_body(facts, settings)}"


def _front_matter(facts: CardFacts, settings: TuningSettings) -> str:
    data = ModelCardData(
        base_model=facts.base_name,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "xpert", "personalized"],
        xpert={
            "base_sha256": facts.base_sha256,
            "tokenizer_sha256": facts.tokenizer_sha256,
            "parents": list(facts.parents),
            **(
                {"merged_from": [{"parent": digest, "weight": weight} for digest, weight in facts.merged]}
                if facts.merged
                else {}
            ),
            "samples": facts.samples,
            "steps": facts.steps,
            "validation_loss": facts.validation_loss,
            "seed": settings.seed,
        },
    )
    return str(data.to_yaml())


def _body(facts: CardFacts, settings: TuningSettings) -> str:
    start = "the base itself" if not facts.parents else f"adapter `{facts.parents[-1][:12]}`"
    if facts.merged:
        start += f", a merge: {' + '.join(f'{weight:.2f} `{digest[:12]}`' for digest, weight in facts.merged)}"
    loss = "not evaluated" if facts.validation_loss is None else f"{facts.validation_loss:.4f} nats a token"
    return f"""# {facts.name}

A LoRA adapter of `{facts.base_name}`, tuned with XPerT on one person's texts.

| | |
|---|---|
| started from | {start} |
| training samples | {facts.samples} |
| validation samples | {facts.validation_samples} |
| steps of these weights | {facts.steps} |
| validation loss | {loss} |
| the run stopped at | {facts.stopped.replace("_", " ")} |

{_curve(facts.validation_losses)}## Settings

| | |
|---|---|
| rank, alpha | {facts.rank}, {facts.alpha:g} |
| layers | {", ".join(sorted({name.rsplit(".", 1)[-1] for name in facts.target_modules}))} |
| learning rate | {settings.learning_rate:g}, {settings.schedule} after {settings.warmup_steps} steps of warm-up |
| batch | {settings.batch_size} x {settings.accumulation_steps} samples of at most {settings.max_length_tokens} tokens |
| dropout, weight decay | {settings.dropout:g}, {settings.weight_decay:g} |
| seed | {settings.seed} |

## How to open it

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{facts.base_name}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

The tokenizer is that of the base. The adapter fits only the base whose digest stands above.
"""


def _curve(losses: Sequence[tuple[int, float]]) -> str:
    if not losses:
        return ""
    every = -(-len(losses) // _TABLE_ROWS)
    best = min(losses, key=lambda entry: entry[1])
    shown = sorted({*losses[::every], losses[-1], best})
    rows = "\n".join(f"| {step} | {loss:.4f}{' (lowest)' if (step, loss) == best else ''} |" for step, loss in shown)
    return f"## Validation loss\n\n| step | nats a token |\n|---|---|\n{rows}\n\n"
