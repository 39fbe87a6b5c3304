"""A person's samples in, a plain peft folder out.

Tells the story of a run; the parts are in `start`, `batches`, `objective`, `loop`, `checkpoint`, `publish`
and `card`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xpert.errors import ModelError, SettingsError
from xpert.models.cards import merged_parents
from xpert.models.folders import check_free
from xpert.models.loading import LoadedModel
from xpert.models.reference import ModelReference
from xpert.records import Sample
from xpert.tuning import checkpoint
from xpert.tuning.batches import BatchPlan, EncodedSample, data_digest, encode, evaluation_batches
from xpert.tuning.card import CardFacts, write_card
from xpert.tuning.course import Stopped, TuningResult, TuningStep
from xpert.tuning.loop import Trainer
from xpert.tuning.objective import ResponseLoss
from xpert.tuning.publish import publish
from xpert.tuning.settings import TuningSettings
from xpert.tuning.start import open_trainable, random_devices

_NONE = "samples: 0 with a response given, at least 1 is needed"


def tune(
    reference: ModelReference,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    out: Path,
    settings: TuningSettings,
    *,
    on_step: Callable[[TuningStep], None] | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> TuningResult:
    """Tune a LoRA adapter on samples, starting from the base or from the adapter that `reference` names.

    The loss is the mean negative log likelihood of a response token given the prompt and what came before, in
    nats. The adapter with the lowest validation loss is written (with `evaluate_every=None`, the last). A run
    that was interrupted lies in `<out>.partial`; the same call resumes it, step for step as if it had
    never stopped. The caller's random state is left as it was.

    Args:
        reference: the base; with an adapter, that adapter is continued with its own rank and layers.
        train: samples to learn from.
        validation: samples that choose the best step and stop the run.
        out: folder for the adapter; must not exist, or be empty.
        settings: of the run.
        on_step: told of every step; an exception in it ends the run, KeyboardInterrupt with a checkpoint.
        device: auto, cpu, cuda, ...
        fresh: throw away an unfinished run of `out` first.

    Raises:
        SettingsError: `out` is taken, no samples, layers that the model does not have, or an unfinished run
            in the way that had other settings or data.
        ModelError: the loss is not finite; the best adapter so far is in `<out>.partial/best`.
        MissingModelError, DamagedModelError, MismatchError: the base or the adapter cannot be used.
    """
    out = Path(out)
    check_free(out)
    _check_samples(train, validation, settings)
    if fresh:
        checkpoint.discard(checkpoint.partial_folder(out))
    run = _open_run(reference, train, validation, out, settings, on_step, device)
    stopped = run.go()
    publish(run.loaded.model, out, run.card(stopped))
    checkpoint.discard(checkpoint.partial_folder(out))
    return run.trainer.result(out, stopped)


def validation_loss(
    loaded: LoadedModel, samples: Sequence[Sample], *, max_length_tokens: int = 256, batch_size: int = 16
) -> float:
    """Mean negative log likelihood of a response token, in nats; in evaluation mode, so without dropout.

    Args:
        loaded: the model; an adapter that is on takes part.
        samples: at least one.
        max_length_tokens: longer samples are cut as in training.
        batch_size: samples in one forward pass.

    Raises:
        SettingsError: no samples.
        ModelError: the loss is not finite.
    """
    encoded = encode(loaded.tokenizer, samples, max_length_tokens)
    if not encoded:
        raise SettingsError(f"validation {_NONE}: give some of the person's texts")
    batches = evaluation_batches(encoded, batch_size, _pad_id(loaded))
    return ResponseLoss(loaded.model, encoded, loaded.device).mean([b.to(loaded.device) for b in batches])


def _check_samples(train: Sequence[Sample], validation: Sequence[Sample], settings: TuningSettings) -> None:
    faults = []
    if not train:
        faults.append(f"training {_NONE}: give some of the person's texts")
    if not validation and settings.evaluate_every is not None:
        faults.append(f"validation {_NONE}: split some off, or set evaluate_every to None")
    if faults:
        raise SettingsError("; ".join(faults))


def _encode(
    loaded: LoadedModel, samples: Sequence[Sample], settings: TuningSettings, purpose: str
) -> list[EncodedSample]:
    encoded = encode(loaded.tokenizer, samples, settings.max_length_tokens)
    if not encoded:
        raise SettingsError(f"{purpose} samples: all {len(samples)} are empty: give samples with a response")
    return encoded


def _pad_id(loaded: LoadedModel) -> int:
    return int(loaded.tokenizer.pad_token_id or 0)


def _plan(loaded: LoadedModel, learned: list[EncodedSample], settings: TuningSettings) -> BatchPlan:
    return BatchPlan(
        learned,
        batch_size=settings.batch_size,
        accumulation_steps=settings.accumulation_steps,
        seed=settings.seed,
        pad_id=_pad_id(loaded),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that is about to take its steps; `counts` are of samples that are learned from and held back."""

    reference: ModelReference
    loaded: LoadedModel
    parents: tuple[str, ...]
    merged: tuple[tuple[str, float], ...]
    trainer: Trainer
    counts: tuple[int, int]
    out: Path
    settings: TuningSettings

    def go(self) -> Stopped:
        """Take the steps; where the loss is not finite, the best adapter so far is kept and the checkpoint is not."""
        try:
            with torch.random.fork_rng(devices=random_devices(self.loaded.device)):
                return self.trainer.run()
        except ModelError as error:
            partial = checkpoint.partial_folder(self.out)
            kept = partial / "best"
            checkpoint.discard(kept)
            publish(self.loaded.model, kept, self.card("a loss that was not finite"))
            checkpoint.forget(partial)
            raise ModelError(f"{error}; the best adapter so far is in {kept}") from error

    def card(self, stopped: str) -> str:
        """Text of the adapter's README.md."""
        config = self.loaded.model.peft_config["default"]
        targets = config.target_modules
        best_step, best_loss = self.trainer.best
        facts = CardFacts(
            name=self.out.name,
            base_model=self.reference.model,
            base_sha256=self.loaded.digest,
            tokenizer_sha256=self.loaded.tokenizer_digest,
            parents=self.parents,
            merged=self.merged,
            samples=self.counts[0],
            validation_samples=self.counts[1],
            steps=best_step,
            validation_loss=best_loss,
            validation_losses=self.trainer.progress.validation_losses,
            stopped=stopped,
            rank=config.r,
            alpha=config.lora_alpha,
            target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
        )
        return write_card(facts, self.settings)


def _open_run(
    reference: ModelReference,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    out: Path,
    settings: TuningSettings,
    on_step: Callable[[TuningStep], None] | None,
    device: str,
) -> _Run:
    """Model and samples in memory, at the step where an interrupted run of `out` was."""
    loaded, parents = open_trainable(reference, settings, device)
    merged = () if reference.adapter is None else merged_parents(Path(reference.adapter))
    learned = _encode(loaded, train, settings, "training")
    held = [] if settings.evaluate_every is None else _encode(loaded, validation, settings, "validation")
    trainer = Trainer(
        loaded.model,
        ResponseLoss(loaded.model, learned, loaded.device),
        _plan(loaded, learned, settings),
        [batch.to(loaded.device) for batch in evaluation_batches(held, 2 * settings.batch_size, _pad_id(loaded))],
        device=loaded.device,
        settings=settings,
        folder=checkpoint.partial_folder(out),
        identity={
            "settings": settings.digest(),
            "data": data_digest(learned, held),
            "base or adapter": data_digest(loaded.digest, *parents),
        },
        on_step=on_step,
    )
    trainer.resume()
    return _Run(reference, loaded, parents, merged, trainer, (len(learned), len(held)), out, settings)
