"""What a U-Net receives for a caption: the text encoders' answer, computed once a caption.

Knows tokenizers and text encoders of Stable Diffusion 1.x, 2.x and XL; never sees pictures or the U-Net.

Legend: b captions, t tokens, d width of the hidden states (both encoders' together for XL), p pooled width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

OnProgress = Callable[[str, int, int], None]

STAGE = "encoding captions"


class Captions:
    """Captions as a U-Net receives them.

    Stable Diffusion: the last hidden states (t, d) of its encoder, after the final norm. XL: hidden_states[-2] of both
    encoders side by side, and the pooled projection (p,) of the second. Captions are cut at the tokenizer's length and
    padded to it, as the pipelines do; each is encoded alone, so that its numbers never depend on its neighbours.

    Args:
        pipeline: a pipeline with its tokenizers and text encoders; other parts may be missing.
        device: where the encoders run.
        budget_bytes: of the answers that are kept, in main memory; others are computed anew each time.
    """

    def __init__(self, pipeline: Any, device: torch.device, budget_bytes: int) -> None:
        self._device, self._budget = device, budget_bytes
        self._kept: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}
        second = getattr(pipeline, "text_encoder_2", None)
        self.is_xl = second is not None
        self._encoders: list[tuple[Any, Any]] = [(pipeline.tokenizer, pipeline.text_encoder)]
        if self.is_xl:
            self._encoders.append((pipeline.tokenizer_2, second))
        for _, encoder in self._encoders:
            encoder.to(device).eval().requires_grad_(False)
        self._zeros_for_empty = bool(pipeline.config.get("force_zeros_for_empty_prompt", False))
        self.cut = 0

    @property
    def is_complete(self) -> bool:
        """Whether all that was prepared is kept and the encoders are gone."""
        return not self._encoders

    def prepare(self, captions: Iterable[str], on_progress: OnProgress | None = None) -> None:
        """Encode captions ahead, as many as may be kept; where these are all, the encoders leave memory.

        Args:
            captions: all that will ever be asked for, in the order in which they will be.
            on_progress: told (stage, done, total).
        """
        wanted = list(dict.fromkeys(captions))
        self.cut = sum(self._is_cut(text) for text in wanted)
        for done, text in enumerate(wanted, start=1):
            answer = self._encode(text)
            self._budget -= sum(part.nbytes for part in answer if part is not None)
            if self._budget < 0:
                return
            self._kept[text] = answer
            if on_progress is not None:
                on_progress(STAGE, done, len(wanted))
        self._encoders = []

    def of(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states (b, t, d), and for XL pooled projections (b, p), in main memory."""
        answers = [self._kept.get(text) or self._encode(text) for text in captions]
        pooled = [part for _, part in answers if part is not None]
        return torch.stack([states for states, _ in answers]), torch.stack(pooled) if pooled else None

    def unconditional(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the pipeline receives without a caption: that of "", or zeros where it is made so."""
        states, pooled = self.of([""])
        if self._zeros_for_empty:
            return torch.zeros_like(states), None if pooled is None else torch.zeros_like(pooled)
        return states, pooled

    def _is_cut(self, text: str) -> bool:
        # Not truncated: where it is longer than the encoder reads, the tokenizer would warn and quote the text.
        return any(
            len(tokenizer(text, truncation=True, max_length=tokenizer.model_max_length + 1)["input_ids"])
            > tokenizer.model_max_length
            for tokenizer, _ in self._encoders
        )

    @torch.no_grad()
    def _encode(self, text: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        states, pooled = [], None
        for tokenizer, encoder in self._encoders:
            tokens = tokenizer(
                [text],
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).to(self._device)
            masked = getattr(encoder.config, "use_attention_mask", False)
            answer = encoder(
                tokens.input_ids,
                attention_mask=tokens.attention_mask if masked else None,
                output_hidden_states=self.is_xl,
            )
            if self.is_xl:
                states.append(answer.hidden_states[-2][0])
                pooled = answer[0][0]
            else:
                states.append(answer[0][0])
        return torch.cat(states, dim=-1).cpu(), None if pooled is None else pooled.cpu()
