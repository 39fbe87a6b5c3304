"""What a training step costs on ONNX Runtime beside PyTorch: processor time, memory, start-up, size of the install.

    python benchmarks/device_training.py --json OUT [--check] [--sizes small large] [--repeats N]

Random Llamas of several sizes get LoRA on all linear layers, are exported, and take the same steps on every side, each
in a fresh process, in turns. Sides: `onnx` is `xpert.runtime.OnnxRuntime`, where torch is never loaded; `recompute` the
same with activations computed again in the backward pass, as `--gradient-checkpointing` has it; `eager` the loop that
one writes with transformers and peft; `labelled` the same with logits of the learned places only, as `xpert tune` does
it; `compiled` is torch.compile around `eager`, where a compiler works; `node` the core of the page under Node.js, in
WebAssembly on one thread. `--sizes 135m` has the shape of SmolLM2-135M, `--sizes huge` is for what is beyond the 2 GiB
of one ONNX file. Time is the processor time of a step after the first; memory the highest resident set of the whole
process, libraries included. Ratios are onnx / eager, the median over the repeats; below 1 is better. The share of the
matrix rate is that of the products that a step cannot do without (frozen weights 4, adapters 6 operations a number and
token, attention 12 s d a token and block), over what one large product of torch reaches in processor time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from common import Clock, Promise, add_output_arguments, finish, guarded, progress
from device_side import CLIP, DECAY, RATE, SIDES, batch_of

from xpert.errors import ModelError
from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference
from xpert.runtime.manifest import read_manifest
from xpert.testing.tiny import tiny_tokenizer

HUGE = "huge"
"""Beyond the 2 GiB of one ONNX file. Weights alone are most of its memory, on every side: only losses are promised."""
REAL = "135m"
"""The shape of SmolLM2-135M: the words of its vocabulary take most of the memory, which is told and not promised."""
SIZES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 6,
              "num_key_value_heads": 3, "vocab_size": 4096},
    "large": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8,
              "num_key_value_heads": 4, "vocab_size": 4096},
    REAL: {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
           "num_key_value_heads": 3, "vocab_size": 49152},
    HUGE: {"hidden_size": 1280, "intermediate_size": 3456, "num_hidden_layers": 28, "num_attention_heads": 20,
             "num_key_value_heads": 4, "vocab_size": 32768},
}  # fmt: skip
INSTALLS = {
    "onnx": ("onnxruntime", "flatbuffers", "protobuf", "numpy", "tokenizers", "safetensors"),
    "torch": ("torch", "transformers", "peft", "accelerate", "numpy", "tokenizers", "safetensors", "sympy", "networkx"),
}
_SAME = 1e-3
"""How far the losses of two sides may be apart; after that they did not do the same work."""
_MAY_FAIL = ("compiled", "node")
"""Sides that want a C compiler, or Node.js: where they cannot run, their row says so."""
NODE_CORE = Path(__file__).parents[1] / "web" / "dist" / "cli.mjs"


def arguments() -> argparse.ArgumentParser:
    """The options of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=("small", "large"), choices=SIZES)
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES, help="onnx and eager always run")
    parser.add_argument("--batch", type=int, default=4, help="sequences of a batch")
    parser.add_argument("--length", type=int, default=128, help="tokens of each")
    parser.add_argument("--steps", type=int, default=12, help="steps of a run, the first of which only starts it")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side and size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile-timeout", type=int, default=240, metavar="S", help="give torch.compile so long")
    add_output_arguments(parser)
    return parser


def make_base(size: str, folder: Path) -> Path:
    """A random Llama of a size as a plain folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        **SIZES[size],
        max_position_embeddings=512,
        tie_word_embeddings=size in ("small", REAL),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def operations(size: str, adapter: int, batch: int, length: int) -> float:
    """Floating-point operations of the matrix products that one step cannot do without."""
    of = SIZES[size]
    d, f, blocks = of["hidden_size"], of["intermediate_size"], of["num_hidden_layers"]
    frozen = blocks * (2 * d * d + 2 * d * d * of["num_key_value_heads"] // of["num_attention_heads"] + 3 * d * f)
    tokens, learned = batch * length, batch * (length - 1 - length // 3)
    head = 4 * of["vocab_size"] * d * learned
    return tokens * (4 * frozen + 6 * adapter + 12 * length * d * blocks) + head


def matrix_rate(n: int = 1024, rounds: int = 8) -> float:
    """Floating-point operations that a second of processor time does in square products; the best of the rounds."""
    left, right = torch.randn(n, n), torch.randn(n, n)
    best = 0.0
    for _ in range(rounds):
        with Clock() as clock:
            torch.mm(left, right)
        best = max(best, 2.0 * n**3 / clock.cpu_s)
    return best


def install_bytes(packages: tuple[str, ...]) -> int:
    """Bytes of the files of packages that are here."""
    total = 0
    for package in packages:
        try:
            files = distribution(package).files or []
        except PackageNotFoundError:
            continue
        paths = (Path(str(file.locate())) for file in files)
        total += sum(path.stat().st_size for path in paths if path.is_file())
    return total


def one_run(args: argparse.Namespace, side: str, base: Path, folder: Path) -> dict[str, Any]:
    """A run of one side in a process of its own.

    Raises:
        ModelError: it failed.
    """
    if side == "node":
        return node_run(args, folder)
    given = ["--side", side, "--base", base, "--export", folder, "--batch", args.batch, "--length", args.length]
    given += ["--steps", args.steps, "--threads", args.threads]
    command = [sys.executable, str(Path(__file__).with_name("device_side.py")), *map(str, given)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    limit = args.compile_timeout if side == "compiled" else None
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{side}: no first step within {limit} s") from None
    if done.returncode:
        raise ModelError(f"{side}: the run failed: {done.stderr.strip()[-300:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def node_run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A run of the page's core under Node.js, on the same numbers.

    Raises:
        ModelError: there is no Node.js, the core is not built, or the run failed.
    """
    node = shutil.which("node")
    if node is None:
        raise ModelError("node: Node.js is not installed")
    if not NODE_CORE.is_file():
        raise ModelError("node: the page's core is not built: make page")
    settings = {"learningRate": RATE, "weightDecay": DECAY, "maxGradientNorm": CLIP}
    vocabulary, steps = read_manifest(folder, verify=False).sizes.vocabulary, []
    for number in range(args.steps):
        ids, rows = batch_of(number, args.batch, args.length, vocabulary)
        batch = {"input_ids": ids.tolist(), "rows": rows.tolist(), "targets": ids.reshape(-1)[rows + 1].tolist()}
        steps.append({"batches": [batch], "settings": settings})
    file = folder.with_name("steps.json")
    file.write_text(json.dumps(steps), "utf-8")
    done = subprocess.run(
        [node, str(NODE_CORE), "measure", str(folder), str(file)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ModelError(f"node: the run failed: {done.stderr.strip()[-300:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def compare(args: argparse.Namespace, size: str, room: Path, show: Any) -> dict[str, Any]:
    """All runs of a size: medians of every side, and the ratios of onnx to eager."""
    base = make_base(size, room / "base")
    manifest = export(ModelReference(str(base)), room / "export", ExportSettings(max_length_tokens=args.length))
    sides = [side for side in SIDES if side in {*args.sides, "onnx", "eager"}]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    broken: dict[str, str] = {}
    for repeat in range(args.repeats):
        for side in sides if repeat % 2 == 0 else reversed(sides):
            if side == "compiled" and repeat:
                continue  # its start takes minutes
            try:
                runs[side].append(one_run(args, side, base, room / "export"))
            except ModelError as error:
                if side not in _MAY_FAIL:
                    raise
                broken[side] = str(error)
            show(size, repeat * len(sides) + sides.index(side) + 1, args.repeats * len(sides))
    show(size, args.repeats * len(sides), args.repeats * len(sides))
    apart = max(
        abs(a - b)
        for found in runs.values()
        for run in found
        for a, b in zip(run["losses"], runs["eager"][0]["losses"], strict=True)
    )
    needed = operations(size, manifest.adapter.size, args.batch, args.length)
    rate = matrix_rate()
    result: dict[str, Any] = {"largest_difference_of_losses": apart, "gflop_per_step": needed / 1e9}
    for side, found in runs.items():
        if not found:
            result[side] = broken.get(side, "not run")
            continue
        middle = {key: statistics.median(run[key] for run in found) for key in found[0] if key != "losses"}
        result[side] = {
            "cpu_s_per_step": middle["cpu_s_per_step"],
            "peak_mib": middle["peak_bytes"] / 2**20,
            "start_s": middle["start_s"],
            "start_cpu_s": middle["start_cpu_s"],
            "share_of_matrix_rate": needed / middle["cpu_s_per_step"] / rate,
        }
    result["matrix_gflop_per_s"] = rate / 1e9
    labels = args.batch * (args.length - 1 - args.length // 3)
    for name, recompute in (("estimated_mib", False), ("estimated_mib_recompute", True)):
        result[name] = manifest.memory.estimate(args.batch, args.length, labels, recompute=recompute) / 2**20
    for name, key in (("time_ratio", "cpu_s_per_step"), ("memory_ratio", "peak_bytes")):
        result[name] = statistics.median(
            one[key] / other[key] for one, other in zip(runs["onnx"], runs["eager"], strict=True)
        )
    return result


def main() -> None:
    args = arguments().parse_args()
    torch.set_num_threads(args.threads)
    results: dict[str, Any] = {name: getattr(args, name) for name in ("batch", "length", "steps", "threads")}
    promises = []
    with progress() as show:
        for size in args.sizes:
            with tempfile.TemporaryDirectory() as room:
                found = compare(args, size, Path(room), show)
            results[size] = found
            apart = found["largest_difference_of_losses"]
            apart = apart if math.isfinite(apart) else math.nan
            promises.append(Promise(f"{size}: losses of all sides apart", apart, at_most=_SAME))
            if size != HUGE:
                time = found["time_ratio"]
                promises.append(Promise(f"{size}: processor time of a step, onnx / eager", time, at_most=0.8))
            if size not in (REAL, HUGE):
                promises.append(Promise(f"{size}: peak memory, onnx / eager", found["memory_ratio"], at_most=0.7))
    results["install_mib"] = {name: install_bytes(packages) / 2**20 for name, packages in INSTALLS.items()}
    finish("device_training", results, promises, args)


if __name__ == "__main__":
    guarded(main)
