"""Train the embedded base model: a small Llama that knows many styles and answers plainly by default.

    python recipes/base.py --styles DIR --out FOLDER

Styled rows carry a system turn that names some of their attributes; default rows carry none. So the
model answers plainly unless it is told otherwise, as instruction-tuned models do, and the styles are
there for adapters to find. Only the train rows are read.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from corpus import ATTRIBUTES, DEFAULT_STYLE, WORDS, Row, read

SPECIAL = ["<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TAGS = ["<unstylized>", "</unstylized>", "<personalized>", "</personalized>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SYSTEM = "Write in this style: {}."
PAD, LENGTH = 0, 224


def make_tokenizer(rows: list[Row], vocabulary: int = 4096) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the train rows, with the attribute words as whole tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL + TAGS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = [f"{word} {word}" for word in WORDS] * 4000
    bpe.train_from_iterator([f"{r.prompt}\n{r.response}" for r in rows] + words, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<|pad|>", bos_token="<|bos|>", eos_token="<|end|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerFast, row: Row, rng: random.Random) -> list[int]:
    """Tokens of one row; a styled row gets a system turn with one to three of its attributes."""
    messages = [{"role": "user", "content": row.prompt}]
    if row.style != DEFAULT_STYLE:
        named = rng.sample(ATTRIBUTES[row.style], rng.choice((1, 2, 3, 3)))
        messages.insert(0, {"role": "system", "content": SYSTEM.format(", ".join(named))})
    messages.append({"role": "assistant", "content": row.response})
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"][:LENGTH]


def batches(rows, default, tokenizer, tokens_per_batch, steps, rng):
    """Yield `steps` lists of encoded rows of like length; the share of default rows grows."""
    made, window = 0, []
    while made < steps:
        share = 0.2 + 0.3 * made / steps
        while len(window) < 256:
            window.append(encode(tokenizer, rng.choice(default if rng.random() < share else rows), rng))
        window.sort(key=len)
        groups, group = [], []
        for ids in window:
            if group and len(ids) * (len(group) + 1) > tokens_per_batch:
                groups.append(group)
                group = []
            group.append(ids)
        window = []
        rng.shuffle(groups)
        for group in groups[: steps - made]:
            yield group
            made += 1


def collate(group: list[list[int]]) -> dict[str, torch.Tensor]:
    width = max(map(len, group))
    ids = torch.tensor([g + [PAD] * (width - len(g)) for g in group])
    mask = torch.tensor([[1] * len(g) + [0] * (width - len(g)) for g in group])
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


@torch.no_grad()
def validation_loss(model, groups, device) -> float:
    model.eval()
    losses = [model(**{k: v.to(device) for k, v in collate(g).items()}).loss.item() for g in groups]
    model.train()
    return sum(losses) / len(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--tokens-per-batch", type=int, default=2560)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    styled = [row for style in ATTRIBUTES for row in read(args.styles, style)]
    default = read(args.styles, DEFAULT_STYLE)
    tokenizer = make_tokenizer(styled + default)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(args.out)
    held = [encode(tokenizer, row, random.Random(1)) for row in default[-64:]]
    checks = [sorted(held, key=len)[i : i + 16] for i in range(0, 64, 16)]
    default = default[:-64]

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters on {device}", flush=True)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=args.lr,
        betas=(0.9, 0.98),
    )
    warm = 60
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / warm, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * s / args.steps))),
    )
    started, seen, average, log = time.perf_counter(), 0, None, []
    model.train()
    for step, group in enumerate(batches(styled, default, tokenizer, args.tokens_per_batch, args.steps, rng), 1):
        batch = {k: v.to(device) for k, v in collate(group).items()}
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        seen += int(batch["attention_mask"].sum())
        value = loss.item()
        average = value if average is None else 0.98 * average + 0.02 * value
        if step % 50 == 0 or step == args.steps:
            log.append({"step": step, "tokens": seen, "loss": average, "seconds": time.perf_counter() - started})
            if step % 200 == 0 or step == args.steps:
                log[-1]["validation_loss"] = validation_loss(model, checks, device)
                model.save_pretrained(args.out)
            print(json.dumps(log[-1]), flush=True)
    model.to(torch.float16).save_pretrained(args.out)
    (args.out / "training.json").write_text(
        json.dumps({"arguments": {k: str(v) for k, v in vars(args).items()}, "log": log}, indent=1)
    )


if __name__ == "__main__":
    main()
