"""The loss of a batch, at the price of its response tokens only.

Knows models and batches; nothing of optimizers or of where samples come from.

Logits are the largest tensor of a small model's training step, and most of them are thrown away: prompt and
padding are never learned. So the output layer sees the places that are learned and no other. Models differ in
what they do around that layer (some scale or bend the logits), so the route is tried on a small batch against
the plain forward pass once, and the fastest that agrees is taken.

Legend: b, t batch and tokens, m response tokens, d width, v vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from xpert.errors import ModelError
from xpert.tuning.batches import Batch, EncodedSample, collate

_PROBE_TOKENS = 24
_Route = Callable[[Any, Batch], torch.Tensor]


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def plain_logits(model: Any, batch: Batch) -> torch.Tensor:
    """(m, v): everything is computed, then the response is picked out; works for every causal LM."""
    logits: torch.Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    return logits.reshape(-1, logits.shape[-1]).index_select(0, batch.rows)


def kept_logits(model: Any, batch: Batch) -> torch.Tensor:
    """(m, v): the model itself leaves out what lies before the first response token of the batch."""
    first, last = batch.span
    width = batch.input_ids.shape[1]
    keep = torch.arange(first, last, device=batch.input_ids.device)
    logits: torch.Tensor = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=keep
    ).logits
    if logits.shape[1] != last - first:
        raise ValueError("logits_to_keep takes no places here")
    rows = batch.rows // width * (last - first) + batch.rows % width - first
    return logits.reshape(-1, logits.shape[-1]).index_select(0, rows)


def decoder_logits(model: Any, batch: Batch) -> torch.Tensor:
    """(m, v): the decoder's last hidden states, (b, t, d), and the output layer on the learned places.

    No attention mask is needed: padding is on the right, where a causal model never looks.
    """
    base = _base(model)
    hidden = base.get_decoder()(input_ids=batch.input_ids, use_cache=False)[0]
    logits: torch.Tensor = base.get_output_embeddings()(
        hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch.rows)
    )
    return logits


def _is_decoder_then_head(model: Any, batch: Batch) -> bool:
    """Whether a plain pass gives the decoder's output to the output layer, and that layer's output back."""
    base = _base(model)
    decoder, head = base.get_decoder(), base.get_output_embeddings()
    if head is None or decoder is base:
        return False
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        decoder.register_forward_hook(lambda _m, _i, out: seen.update(hidden=out[0])),
        head.register_forward_hook(lambda _m, given, out: seen.update(given=given[0], made=out)),
    ]
    try:
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    if not {"hidden", "given", "made"} <= set(seen):
        return False
    return torch.equal(seen["hidden"], seen["given"]) and torch.equal(seen["made"].float(), logits.float())


def _agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    tolerance = 1e-4 if one.dtype == torch.float32 else 5e-2
    gap = (one.float() - other.float()).abs().max()
    return bool(gap <= tolerance * (1 + other.float().abs().max()))


def _choose(model: Any, batch: Batch) -> _Route:
    plain = plain_logits(model, batch)
    takes_places = "logits_to_keep" in inspect.signature(_base(model).forward).parameters
    tests: list[tuple[_Route, Callable[[], bool]]] = [
        (decoder_logits, lambda: _is_decoder_then_head(model, batch)),
        (kept_logits, lambda: takes_places),
    ]
    for route, possible in tests:
        try:
            if possible() and _agree(route(model, batch), plain):
                return route
        except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
            continue  # The model is built otherwise; a slower route works for it.
    return plain_logits


def _probe(samples: Sequence[EncodedSample]) -> Batch:
    """Two short rows of unlike length, so that padding takes part."""
    tokens = max(samples, key=lambda sample: len(sample.tokens)).tokens[:_PROBE_TOKENS]
    return collate([EncodedSample(tokens, 1), EncodedSample(tokens[: max(2, len(tokens) // 2)], 1)], tokens[0])


def _check_direction(model: Any, probe: Batch) -> None:
    """Refuse a model whose numbers at a place depend on what comes behind, padding with it."""
    plain = plain_logits(model, probe)
    short = int((probe.rows >= probe.input_ids.shape[1]).sum())
    longer, shorter = plain[:short], plain[len(plain) - short :]
    if torch.isfinite(plain).all() and not _agree(longer, shorter):
        raise ModelError(
            f"{type(_base(model)).__name__} looks at the tokens that follow, or at padding, so it cannot learn to "
            "continue a text: give a causal language model"
        )


class ResponseLoss:
    """Negative log likelihood of the responses under a model.

    Args:
        model: a causal LM of transformers, or a peft model around one.
        samples: any samples that the route may be tried on.
        device: where the model is.

    Raises:
        ModelError: the model sees tokens that follow, so that it would learn to read off what it must foretell.
    """

    def __init__(self, model: Any, samples: Sequence[EncodedSample], device: torch.device) -> None:
        self._model = model
        training = model.training
        model.eval()
        with torch.no_grad():
            probe = _probe(samples).to(device)
            _check_direction(model, probe)
            self.route = _choose(model, probe)
        model.train(training)

    def total(self, batch: Batch) -> torch.Tensor:
        """Sum over the m response tokens of -log p(token | what came before), in nats; a scalar."""
        logits = self.route(self._model, batch)
        return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")

    def mean(self, batches: Sequence[Batch]) -> float:
        """Mean over all response tokens of all batches, in evaluation mode, without gradients.

        Raises:
            ModelError: the mean is not a finite number.
        """
        training = self._model.training
        self._model.eval()
        with torch.no_grad():
            totals = torch.stack([self.total(batch) for batch in batches]).tolist()
        self._model.train(training)
        loss = math.fsum(totals) / sum(batch.targets.numel() for batch in batches)
        if not math.isfinite(loss):
            raise ModelError(f"validation loss is {loss}: the model's weights are damaged or have diverged")
        return loss
