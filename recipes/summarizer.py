"""Train the embedded summarizer: a small causal LM that names the style that sets two texts apart.

    python recipes/summarizer.py --styles DIR --base FOLDER --out FOLDER [--leave-out 8]

Stage 1 reads pairs of real answers to the same prompt. Stage 2 adds the base model's own answers, as
the reference and, under a system turn, as the styled side, so that crude text is not taken for a
style. The target is uniform over the words that hold for the second text and not for the first; for
two plain texts it is uniform over all words. Stage 3 asks for single words from both sides, from which
word vectors are made, and teaches to end after the word.

The left-out style is in no stage, so that the log tells how rightly an unseen combination is described; with
`--learn-left-out` stage 3 learns it after all, and so the shipped model was made. With `--lengths`, stage 3
tells two texts of one manner apart by length, which it needs where a style stays left out.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from xpert.records import OutputPair
from xpert.summarizing.instruction import ask_pair, ask_word

from base import SYSTEM
from corpus import ATTRIBUTES, CONTRARY, DEFAULT_STYLE, WORDS, Row, read

PAD = 0
Goal = tuple[float, ...]
TARGETS = {word: tuple(float(w == word) for w in WORDS) for word in WORDS}
SAME = tuple(1 / len(WORDS) for _ in WORDS)
POSITIVE, NEGATIVE = [WORDS.index(w) for w in WORDS[::2]], [WORDS.index(w) for w in WORDS[1::2]]


def target(style: str, against: str | None = None) -> tuple[float, ...]:
    """Uniform over the attributes of `style` that `against` lacks."""
    named = [w in ATTRIBUTES[style] and (against is None or w not in ATTRIBUTES[against]) for w in WORDS]
    return tuple(n / sum(named) for n in named)


@dataclass
class Corpus:
    """Real answers by style and prompt, and the base model's own for stage 2.

    `made_plain` holds two draws of the base a prompt; `made_styled` one answer a style and prompt, under a
    system turn, for the same prompts in every style; `plain_pairs` the base's answer beside a real plain one.
    """

    real: dict[str, list[Row]]
    plain: list[Row]
    made_plain: dict[str, list[str]] = field(default_factory=dict)
    made_styled: dict[str, dict[str, str]] = field(default_factory=dict)
    plain_pairs: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.styles = sorted(self.real)
        self.by_prompt = {style: {row.prompt: row.response for row in rows} for style, rows in self.real.items()}


def cut(text: str, words: int) -> str:
    parts = text.split(" ")
    return text if len(parts) <= words else " ".join(parts[:words]) + " ..."


def draw(
    corpus: Corpus, rng: random.Random, stage: int, lengths: bool = False
) -> tuple[str, tuple[float, ...], tuple[Goal, Goal] | None]:
    """One question, the distribution over WORDS that answers it, and one for each text alone."""
    made = stage > 1 and rng.random() < 0.75
    sides = (SAME, SAME)
    kind = rng.random()
    if kind < 0.08:
        word, swapped = rng.choice(WORDS), stage == 3 and rng.random() < 0.5
        return ask_word(word, swapped=swapped), TARGETS[CONTRARY[word] if swapped else word], None
    if made:
        first, second, goal, sides = draw_made(corpus, rng, kind)
    elif kind < 0.16:
        first, second = (r.response for r in rng.sample(corpus.plain, 2))
        goal = SAME
    elif kind < 0.28:
        style = rng.choice(corpus.styles)
        first, second = rng.choice(corpus.plain).response, rng.choice(corpus.real[style]).response
        goal = target(style)
        sides = (SAME, goal)
    else:
        left, right = rng.sample(corpus.styles, 2)
        row = rng.randrange(len(corpus.real[left]))
        other = row if kind < 0.9 else rng.randrange(len(corpus.real[right]))
        first, second = corpus.real[left][row].response, corpus.real[right][other].response
        goal = target(right, left)
        sides = (target(left), target(right))
    words = int(math.exp(rng.uniform(math.log(40), math.log(400))))
    head = rng.randint(20, 48)
    pair = OutputPair(prompt="", reference=cut(first, words), response=cut(second, words))
    if goal is SAME and lengths:
        goal = by_length(pair)
    return ask_pair(pair, head=head, tail=rng.randint(8, 18)), goal, sides


def by_length(pair: OutputPair) -> Goal:
    """Two texts of one manner are told apart by length, if at all.

    Otherwise the model reads *concise* and *detailed* off the other attributes that go with them in the styles.
    """
    ratio = len(pair.response.split()) / max(1, len(pair.reference.split()))
    return TARGETS["detailed"] if ratio >= 1.5 else TARGETS["concise"] if ratio <= 1 / 1.5 else SAME


def draw_made(corpus: Corpus, rng: random.Random, kind: float) -> tuple[str, str, Goal, tuple[Goal, Goal]]:
    """Two texts of which at least one is the base model's own."""
    prompt, style = rng.choice(list(corpus.made_plain)), rng.choice(corpus.styles)
    goal = target(style)
    if kind < 0.17:
        first, second = rng.sample(corpus.made_plain[prompt], 2)
        return first, second, SAME, (SAME, SAME)
    if kind < 0.26:
        return *rng.choice(corpus.plain_pairs), SAME, (SAME, SAME)
    if kind < 0.60:
        return rng.choice(corpus.made_plain[prompt]), corpus.by_prompt[style][prompt], goal, (SAME, goal)
    prompt = rng.choice(list(corpus.made_styled[style]))
    if kind < 0.86:
        return rng.choice(corpus.made_plain[prompt]), corpus.made_styled[style][prompt], goal, (SAME, goal)
    other = rng.choice([s for s in corpus.styles if s != style])
    texts = corpus.made_styled[other][prompt], corpus.made_styled[style][prompt]
    return *texts, target(style, other), (target(other), goal)


def axis_loss(logits: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
    """Each pair of contraries judged by itself: binary cross-entropy, summed over the three axes.

    Without it the words of a style compete for one unit of probability, and a combination is learned as a
    whole rather than by its parts.
    """
    sides = goals[:, POSITIVE] - goals[:, NEGATIVE]
    wanted = 0.5 + 0.5 * sides.sign()
    margin = logits[:, POSITIVE] - logits[:, NEGATIVE]
    return binary_cross_entropy_with_logits(margin, wanted, reduction="none").sum(-1).mean()


def encode(tokenizer, question: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def collate(questions: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, questions))
    ids = torch.tensor([[PAD] * (width - len(q)) + q for q in questions])
    return ids, (ids != PAD).long()


@torch.no_grad()
def accuracy(model, tokenizer, words, pairs: list[tuple[str, Goal]]) -> float:
    """Share of single pairs whose most probable word is among the right ones."""
    model.eval()
    right = 0
    for start in range(0, len(pairs), 50):
        ids, mask = collate([encode(tokenizer, q) for q, _ in pairs[start : start + 50]])
        logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits[:, -1, words]
        right += sum(
            goal[i] > 0 for i, (_, goal) in zip(logits.argmax(1).tolist(), pairs[start : start + 50], strict=True)
        )
    model.train()
    return right / len(pairs)


@torch.no_grad()
def answers(base, tokenizer, prompts: list[str], style: str | None, seed: int, tokens: int = 192) -> list[str]:
    """The base model's answers, sampled; under a system turn where a style is given."""
    torch.manual_seed(seed)
    texts = []
    for start in range(0, len(prompts), 64):
        chats = []
        for prompt in prompts[start : start + 64]:
            system = [{"role": "system", "content": SYSTEM.format(", ".join(ATTRIBUTES[style]))}] if style else []
            chats.append(
                tokenizer.apply_chat_template(
                    [*system, {"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
                )
            )
        inputs = tokenizer(
            chats,
            add_special_tokens=False,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            truncation=True,
            max_length=128,
        )
        out = base.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=tokens,
            do_sample=True,
            temperature=0.8,
            top_p=0.95,
            top_k=0,
        )
        for ids in out[:, inputs["input_ids"].shape[1] :]:
            ended = bool((ids == tokenizer.eos_token_id).any())
            texts.append(tokenizer.decode(ids, skip_special_tokens=True).strip() + ("" if ended else " ..."))
    return texts


def make_answers(corpus: Corpus, base, tokenizer, rng: random.Random, count: int) -> None:
    """Let the base answer: plain twice, under a system turn for each style, and beside real plain answers."""
    prompts = sorted(corpus.by_prompt[corpus.styles[0]])
    rng.shuffle(prompts)
    prompts = prompts[:count]
    first, second = (answers(base, tokenizer, prompts, None, seed) for seed in (1, 2))
    corpus.made_plain = {p: [a, b] for p, a, b in zip(prompts, first, second, strict=True)}
    some = prompts[: max(1, len(prompts) // 3)]
    for number, style in enumerate(corpus.styles):
        corpus.made_styled[style] = dict(zip(some, answers(base, tokenizer, some, style, 10 + number), strict=True))
    rows = rng.sample(corpus.plain, max(1, len(prompts) // 4))
    texts = answers(base, tokenizer, [r.prompt for r in rows], None, 3)
    corpus.plain_pairs = [(text, row.response) for text, row in zip(texts, rows, strict=True)]


@dataclass(frozen=True)
class Stage:
    """How one stage is trained.

    Attributes:
        number: 1, 2 or 3.
        steps: of the optimizer.
        lr: learning rate after warming up.
        seed: of the draws; each stage has its own.
        axes: weight of `axis_loss`.
        lengths: tell two texts of one manner apart by length.
    """

    number: int
    steps: int
    lr: float
    seed: int
    axes: float
    lengths: bool = False


def train(model, tokenizer, corpus: Corpus, stage: Stage, checks, out: Path) -> list[dict]:
    """Train the model one stage on, save it in `out` at every report, and return the reports."""
    rng = random.Random(stage.seed + stage.number)
    words = [tokenizer.convert_tokens_to_ids(w) for w in WORDS]
    closing = [tokenizer.convert_tokens_to_ids(tag) for tag in ("</unstylized>", "</personalized>")]
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=stage.lr,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 60, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * s / stage.steps)))
    )
    started, log, average, queue = time.perf_counter(), [], None, []
    model.train()
    for step in range(1, stage.steps + 1):
        if not queue:
            drawn = [draw(corpus, rng, stage.number, stage.lengths) for _ in range(16 * 8)]
            items = sorted(
                ((encode(tokenizer, q), goal, sides) for q, goal, sides in drawn), key=lambda item: len(item[0])
            )
            queue = [items[i : i + 16] for i in range(0, len(items), 16)]
            rng.shuffle(queue)
        group = queue.pop()
        ids, mask = collate([q for q, _, _ in group])
        goals = torch.tensor([goal for _, goal, _ in group])
        with_text = step < 0.6 * stage.steps and stage.number == 1
        answer = torch.tensor(words)[torch.multinomial(goals, 1)]
        hidden = model.model(
            input_ids=torch.cat([ids, answer], 1), attention_mask=torch.cat([mask, torch.ones_like(answer)], 1)
        ).last_hidden_state
        after, hidden = model.lm_head(hidden[:, -1]), hidden[:, :-1]
        logits = model.lm_head(hidden[:, -1])
        loss = -(goals * log_softmax(logits, -1)[:, words]).sum(-1).mean()
        # Each text alone is described where it closes: without this, comparing is learned late.
        total, asked = (
            loss + stage.axes * axis_loss(logits[:, words], goals),
            [i for i, (_, _, sides) in enumerate(group) if sides is not None],
        )
        for side, tag in enumerate(closing if asked else ()):
            place = (ids[asked] == tag).int().argmax(1)
            logits = model.lm_head(hidden[asked, place])
            wanted = torch.tensor([group[i][2][side] for i in asked])
            total = total - 0.5 * (wanted * log_softmax(logits, -1)[:, words]).sum(-1).mean()
            total = total + 0.5 * stage.axes * axis_loss(logits[:, words], wanted)
        if stage.number == 3:  # one word, and no more
            total = total + 0.1 * cross_entropy(after, torch.full((len(after),), tokenizer.eos_token_id))
        if with_text:
            logits = model.lm_head(hidden)
            labels = ids[:, 1:].masked_fill((mask[:, :-1] == 0) | torch.isin(ids[:, :-1], torch.tensor(closing)), -100)
            total = total + 0.2 * cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=-100)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        average = value if average is None else 0.98 * average + 0.02 * value
        if step % 100 == 0 or step == stage.steps:
            seconds = time.perf_counter() - started
            log.append({"stage": stage.number, "step": step, "loss": average, "seconds": seconds})
            log[-1]["accuracy"] = {name: accuracy(model, tokenizer, words, pairs) for name, pairs in checks.items()}
            print(json.dumps(log[-1]), flush=True)
            model.save_pretrained(out)
    return log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--leave-out", default="8")
    parser.add_argument("--learn-left-out", action="store_true", help="let stage 3 learn the left-out style too")
    parser.add_argument("--lengths", action="store_true", help="let stage 3 tell texts of one manner apart by length")
    parser.add_argument("--steps", type=int, nargs=3, default=(1500, 900, 600))
    parser.add_argument("--stage", type=int, choices=(1, 2, 3), help="run one stage only")
    parser.add_argument("--axes", type=float, default=0.3, help="weight of the loss by pairs of contraries")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--prompts", type=int, default=480, help="prompts that the base answers for stage 2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    rows = {s: read(args.styles, s) for s in ATTRIBUTES}
    held = {r.prompt for r in random.Random(0).sample(rows["1"], 80)}
    known = [s for s in ATTRIBUTES if s != args.leave_out]
    real = {s: [r for r in rows[s] if r.prompt not in held] for s in known}
    corpus = Corpus(real, read(args.styles, DEFAULT_STYLE))
    seen = Corpus({s: [r for r in rows[s] if r.prompt in held] for s in known}, corpus.plain[:200])
    rng = random.Random(7)
    checks = {"unseen prompts": [draw(seen, rng, 1)[:2] for _ in range(200)]}
    if args.leave_out in ATTRIBUTES:
        left = [r for r in rows[args.leave_out] if r.prompt in held]
        pairs = [
            (seen.real[s][i].response, r.response, target(args.leave_out, s)) for i, r in enumerate(left) for s in known
        ]
        checks["left-out style"] = [
            (ask_pair(OutputPair(prompt="", reference=cut(a, 150), response=cut(b, 150))), goal)
            for a, b, goal in rng.sample(pairs, 200)
        ]
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(args.out)
    log = []
    if args.stage in (None, 1):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=192,
                intermediate_size=512,
                num_hidden_layers=4,
                num_attention_heads=6,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters", flush=True)
        settings = Stage(1, args.steps[0], args.lr, args.seed, args.axes)
        log += train(model, tokenizer, corpus, settings, checks, args.out)
    else:
        model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32)
    if args.stage != 1:
        base = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32).eval()
    for stage in (2, 3) if args.stage is None else {args.stage} - {1}:
        if stage == 3 and args.learn_left_out:
            corpus = Corpus({s: [r for r in rows[s] if r.prompt not in held] for s in ATTRIBUTES}, corpus.plain)
        make_answers(corpus, base, tokenizer, rng, args.prompts // (1 if stage == 2 else 3))
        checks["with the base model's answers"] = [draw(corpus, rng, 2)[:2] for _ in range(200)]
        lengths = args.lengths and stage == 3
        settings = Stage(stage, args.steps[stage - 1], args.lr / 2, args.seed, args.axes, lengths)
        log += train(model, tokenizer, corpus, settings, checks, args.out)
    model.to(torch.float16).save_pretrained(args.out)
    (args.out / f"training{args.stage or ''}.json").write_text(
        json.dumps({"arguments": {k: str(v) for k, v in vars(args).items()}, "log": log}, indent=1)
    )


if __name__ == "__main__":
    main()
