"""One side of `device_training.py`, alone in its process; the last line of standard output holds its figures.

Imports at the top are the standard library's only, so that what a side loads is counted as its own. All sides start
from the same adapter, take the same steps on the same numbers with the same settings, and tell their losses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDES = ("onnx", "recompute", "eager", "labelled", "compiled", "node")
"""The last is no side of this program: it runs in Node.js."""
RATE, DECAY, CLIP = 1e-3, 0.01, 1.0
_PROMPT = 1 / 3
"""Share of a sequence that is asked and not learned."""


def resident_bytes(which: str) -> int:
    """Bytes of this process in memory: now (VmRSS), or at most so far (VmHWM)."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text("utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(which)).split()[1])
    import resource  # no /proc, as on macOS: the highest so far stands for both

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def batch_of(step: int, batch: int, length: int, vocabulary: int) -> tuple[Any, Any]:
    """Tokens (b, s), and places (m,) whose next token is learned."""
    import numpy as np

    ids = np.random.default_rng(step).integers(0, vocabulary, (batch, length))
    first = int(length * _PROMPT)
    return ids, np.array([row * length + place for row in range(batch) for place in range(first, length - 1)])


def onnx_side(args: argparse.Namespace) -> Callable[[int], float]:
    """ONNX Runtime, numpy, and nothing of torch."""
    import sys

    from xpert.runtime.interface import Batch, StepSettings
    from xpert.runtime.onnx_runtime import OnnxRuntime

    runtime = OnnxRuntime(args.export, threads=args.threads)
    vocabulary = runtime.manifest.sizes.vocabulary
    if any(name in sys.modules for name in ("torch", "transformers", "peft")):
        raise SystemExit("this side must not load torch")

    def step(number: int) -> float:
        ids, rows = batch_of(number, args.batch, args.length, vocabulary)
        batch = Batch(ids, rows, ids.reshape(-1)[rows + 1])
        return runtime.step([batch], StepSettings(RATE, DECAY, CLIP, args.side == "recompute")).loss

    return step


def torch_side(args: argparse.Namespace) -> Callable[[int], float]:
    """The loop that one writes with transformers and peft; `labelled` computes logits of learned places only."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    base: Any = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32)
    model: Any = PeftModel.from_pretrained(base, str(args.export / "adapter"), is_trainable=True).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    vocabulary = base.config.vocab_size
    run = torch.compile(model) if args.side == "compiled" else model

    def loss_of(ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        if args.side == "labelled":
            hidden = base.model(input_ids=ids, use_cache=False)[0]
            logits = base.lm_head(hidden.flatten(0, 1)[rows])
            return torch.nn.functional.cross_entropy(logits, ids.reshape(-1)[rows + 1])
        labels = torch.full_like(ids, -100)
        labels.view(-1)[rows + 1] = ids.reshape(-1)[rows + 1]
        loss: torch.Tensor = run(input_ids=ids, labels=labels, use_cache=False).loss
        return loss

    def step(number: int) -> float:
        ids, rows = (torch.from_numpy(part) for part in batch_of(number, args.batch, args.length, vocabulary))
        optimizer.zero_grad()
        loss = loss_of(ids, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES[:-1], required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--export", type=Path, required=True)
    for name in ("batch", "length", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    began = time.perf_counter(), time.process_time()
    step = onnx_side(args) if args.side in ("onnx", "recompute") else torch_side(args)
    losses, spent = [step(0)], []
    start = time.perf_counter() - began[0], time.process_time() - began[1]
    for number in range(1, args.steps):
        before = time.process_time()
        losses.append(step(number))
        spent.append(time.process_time() - before)
    figures = {
        "cpu_s_per_step": statistics.median(spent),
        "peak_bytes": resident_bytes("VmHWM"),
        "start_s": start[0],
        "start_cpu_s": start[1],
        "losses": losses,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
