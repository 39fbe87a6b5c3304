"""The short way to the loss is the plain loss, for any family of models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model

from xpert.errors import ModelError
from xpert.tuning.batches import EncodedSample, collate
from xpert.tuning.objective import ResponseLoss

SAMPLES = [
    EncodedSample((1, 9, 8, 7, 30, 31, 32, 2), 4),
    EncodedSample((1, 9, 40, 2), 2),
    EncodedSample((1, 5, 5, 6, 7, 8, 9, 10, 11, 40, 12, 2), 9),
]
CPU = torch.device("cpu")
SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = SIZES | {"intermediate_size": 32, "num_key_value_heads": 2, "pad_token_id": 0}
GEMMA = WIDE | {"head_dim": 8, "final_logit_softcapping": 1.0}
FAMILIES: dict[str, tuple[Any, Any, str]] = {
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**WIDE), "decoder_logits"),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config(**WIDE), "decoder_logits"),
    "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2), "decoder_logits"),
    "opt": (
        hf.OPTForCausalLM,
        hf.OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=64),
        "decoder_logits",
    ),
    "bloom": (
        hf.BloomForCausalLM,
        hf.BloomConfig(vocab_size=64, hidden_size=16, n_layer=2, n_head=2),
        "decoder_logits",
    ),
    "gemma2": (hf.Gemma2ForCausalLM, hf.Gemma2Config(**GEMMA), "kept_logits"),
    "granite": (hf.GraniteForCausalLM, hf.GraniteConfig(**WIDE, logits_scaling=3.0), "kept_logits"),
}


class Bent(hf.LlamaForCausalLM):
    """A model that bends its logits and knows no `logits_to_keep`."""

    def forward(self, input_ids: Any, attention_mask: Any = None, labels: Any = None, use_cache: bool = True) -> Any:  # type: ignore[override]
        out = super().forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)
        out.logits = 5 * torch.tanh(out.logits)
        if labels is not None:
            out.loss = self.loss_function(out.logits, labels, self.config.vocab_size)
        return out


FAMILIES["bent"] = (Bent, hf.LlamaConfig(**WIDE), "plain_logits")


def built(family: str) -> Any:
    kind, config, _ = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_equals_the_plain_loss_of_the_family(family: str) -> None:
    model = built(family)
    loss = ResponseLoss(model, SAMPLES, CPU)
    batch = collate(SAMPLES, 0)
    with torch.no_grad():
        plain = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).loss
        fast = loss.total(batch) / batch.targets.numel()
    assert loss.route.__name__ == FAMILIES[family][2]
    assert fast.item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_gradients_of_the_adapter_equal_those_of_the_plain_loss(family: str) -> None:
    model = get_peft_model(
        built(family), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    ).eval()
    loss, batch = ResponseLoss(model, SAMPLES, CPU), collate(SAMPLES, 0)
    (loss.total(batch) / batch.targets.numel()).backward()
    fast = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).loss.backward()
    assert set(fast) == {name for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        if name in fast:
            torch.testing.assert_close(fast[name], parameter.grad, rtol=1e-3, atol=1e-6)


def test_the_output_layer_sees_response_places_only() -> None:
    model, batch = built("llama"), collate(SAMPLES, 0)
    loss, rows = ResponseLoss(model, SAMPLES, CPU), []
    model.get_output_embeddings().register_forward_hook(lambda _m, _i, out: rows.append(out.shape[0]))
    loss.total(batch)
    assert rows == [4 + 2 + 3]


def test_the_mean_is_over_tokens_not_over_batches() -> None:
    model = built("llama")
    loss = ResponseLoss(model, SAMPLES, CPU)
    whole = loss.mean([collate(SAMPLES, 0)])
    assert loss.mean([collate([sample], 0) for sample in SAMPLES]) == pytest.approx(whole, rel=1e-6)


def test_measuring_leaves_the_mode_of_the_model() -> None:
    model = built("llama").train()
    ResponseLoss(model, SAMPLES, CPU).mean([collate(SAMPLES, 0)])
    assert model.training


def test_damaged_weights_are_an_error() -> None:
    model = built("llama")
    loss = ResponseLoss(model, SAMPLES, CPU)
    torch.nn.init.constant_(model.lm_head.weight, float("nan"))
    with pytest.raises(ModelError, match="validation loss is nan"):
        loss.mean([collate(SAMPLES, 0)])
