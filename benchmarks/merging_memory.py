"""What merging whole models costs beside mergekit: peak memory and processor time.

    python benchmarks/merging_memory.py --json OUT [--check] [--width 768] [--layers 8] [--models 3]

Both sides merge the same random Llamas in fp32, tensor by tensor, each run in a process of its own, in turns. Memory is
counted above that of the process after a merge of tiny models, which loads whatever is loaded late:

    peak_mib      highest resident set (VmHWM); pages of mapped files count, although the system can take them back
    private_mib   highest memory of the process's own (RssAnon), looked at every few milliseconds
    in_tensors    private memory in sizes of the model's largest tensor

Processor time is that of the whole merge; ours digests every file and looks for NaN in it besides. Ratios are ours /
mergekit, the median over the repeats; below 1 is better. LoRA adapters of the same base are merged in passing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import Promise, add_output_arguments, finish, guarded, progress
from image_tuning import resident_bytes

from xpert.errors import ModelError, SettingsError, extra_install

SIDES = ("ours", "mergekit")
METHODS = {"task-arithmetic": {}, "ties": {"density": 0.5}}
MOST_TENSORS = {"task-arithmetic": lambda models: 5, "ties": lambda models: models + 5}
"""Promised: base, sum, the difference being made and what a step needs; TIES keeps all differences of a tensor."""
MOST_APART = 1e-5
"""Promised: of numbers that are equally large, where not all are kept, each side keeps others."""


def arguments() -> argparse.ArgumentParser:
    """The options of the benchmark, and those with which it calls itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=768, help="hidden size of the Llama")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=24_000)
    parser.add_argument("--models", type=int, default=3, help="how many are merged")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side and method")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--side", choices=(*SIDES, "lora"), help=argparse.SUPPRESS)
    parser.add_argument("--room", type=Path, help=argparse.SUPPRESS)
    add_output_arguments(parser)
    return parser


def build(room: Path, width: int, layers: int, vocabulary: int, models: int) -> int:
    """Write a random base, models tuned from it by random numbers, and LoRAs; bytes of the largest tensor."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from xpert.testing.tiny import tiny_tokenizer
    from xpert.testing.tiny_family import tiny_lora

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=8 * width // 3, num_hidden_layers=layers,
        num_attention_heads=4, tie_word_embeddings=True, dtype="float32",
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(room / "base")
    tiny_tokenizer().save_pretrained(room / "base")
    start = load_file(room / "base" / "model.safetensors")
    for number in range(models):
        shutil.copytree(room / "base", room / f"m{number}")
        moved = {name: tensor + 0.01 * torch.randn_like(tensor) for name, tensor in start.items()}
        save_file(moved, room / f"m{number}" / "model.safetensors", {"format": "pt"})
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        tiny_lora(room / "base", room / f"l{number}", number, r=8 * (number + 1), target_modules=names)
    return max(tensor.nbytes for tensor in start.values())


def merge(side: str, room: Path, out: Path, method: str) -> None:
    """Merge all models of a room with equal weights."""
    from xpert.merging.merge import merge_models

    kind = "l" if side == "lora" else "m"
    folders = sorted(folder for folder in room.iterdir() if folder.name.startswith(kind))
    weight = round(1 / len(folders), 3)
    if side != "mergekit":
        parents = {folder.name: (folder, weight) for folder in folders}
        merge_models(parents, room / "base", out, method=method, **METHODS[method])
        return
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    models = [{"model": str(folder), "parameters": {"weight": weight, **METHODS[method]}} for folder in folders]
    stated = {
        "merge_method": method.replace("-", "_"),
        "base_model": str(room / "base"),
        "models": models,
        "parameters": {"normalize": False},
        "dtype": "float32",
    }
    run_merge(MergeConfiguration.model_validate(stated), str(out), MergeOptions(quiet=True))


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """The highest private memory of this process while the block runs, in bytes."""
    found, over = {"private_bytes": 0.0}, threading.Event()

    def look() -> None:
        while not over.wait(0.003):
            found["private_bytes"] = max(found["private_bytes"], float(resident_bytes("RssAnon")))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def measure(args: argparse.Namespace) -> None:
    """One run of one side, in this process; its figures are the last line of standard output."""
    import torch

    torch.set_num_threads(args.threads)
    method, room = args.methods[0], args.room
    merge(args.side, room / "tiny", room / "tiny-out", method)
    shutil.rmtree(room / "tiny-out")
    before, own_before = resident_bytes("VmRSS"), resident_bytes("RssAnon")
    whole = -time.perf_counter(), -time.process_time()
    with watched() as found:
        merge(args.side, room / "large", room / "out", method)
    print(
        json.dumps(
            {
                "wall_s": whole[0] + time.perf_counter(),
                "cpu_s": whole[1] + time.process_time(),
                "peak_mib": (resident_bytes("VmHWM") - before) / 2**20,
                "private_mib": (found["private_bytes"] - own_before) / 2**20,
            }
        )
    )


def one_run(args: argparse.Namespace, room: Path, side: str, method: str) -> dict[str, float]:
    """A run of one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--room", room, "--methods", method]
    done = subprocess.run(
        [*map(str, command), "--threads", str(args.threads)], capture_output=True, text=True, cwd=room
    )
    if done.returncode:
        raise ModelError(f"{side}, {method}: the run failed: {done.stderr[-1000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def apart(ours: Path, theirs: Path) -> float:
    """The share of numbers in which two models differ by more than 1e-6."""
    from xpert.merging.stored import open_stored
    from xpert.models.whole_models import inspect_whole_model

    one, other = (open_stored(inspect_whole_model(folder).weights) for folder in (ours, theirs))
    if one.shapes != other.shapes:
        return float("nan")
    differing = sum(int(((one.read(name) - other.read(name)).abs() > 1e-6).sum()) for name in one.shapes)
    return differing / sum(one.read(name).numel() for name in one.shapes)


def compare(args: argparse.Namespace, room: Path, largest: int) -> tuple[dict[str, object], list[Promise]]:
    """All runs, side by side: medians, ratios and what is promised of them."""
    results: dict[str, object] = {}
    promises: list[Promise] = []
    with progress() as show:
        done, total = 0, len(args.methods) * (args.repeats * len(SIDES) + 1)
        for method in args.methods:
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for repeat in range(args.repeats):
                for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
                    shutil.rmtree(room / side, ignore_errors=True)
                    runs[side].append(one_run(args, room, side, method))
                    (room / "out").rename(room / side)
                    done += 1
                    show("runs", done, total)
            lora = one_run(args, room, "lora", method)
            shutil.rmtree(room / "out")
            sides = {
                side: {key: statistics.median(run[key] for run in runs[side]) for key in runs[side][0]}
                for side in SIDES
            }
            ratios = {
                key: statistics.median(a[key] / b[key] for a, b in zip(runs["ours"], runs["mergekit"], strict=True))
                for key in ("peak_mib", "private_mib", "cpu_s")
            }
            tensors = sides["ours"]["private_mib"] * 2**20 / largest
            share = apart(room / "ours", room / "mergekit")
            results[method] = {
                **sides, "ratio": ratios, "in_tensors": tensors, "share_apart": share, "lora": lora,
            }  # fmt: skip
            most = MOST_TENSORS[method](args.models)
            promises += [
                Promise(f"{method}: peak memory, ours / mergekit", ratios["peak_mib"], at_most=1.0),
                Promise(f"{method}: private memory, ours / mergekit", ratios["private_mib"], at_most=1.0),
                Promise(f"{method}: private memory in sizes of the largest tensor", tensors, at_most=most),
                Promise(f"{method}: share of numbers more than 1e-6 apart", share, at_most=MOST_APART),
            ]
    return results, promises


def main() -> None:
    args = arguments().parse_args()
    if args.side is not None:
        measure(args)
        return
    try:
        import mergekit  # noqa: F401
    except ImportError:
        raise SettingsError(f"mergekit is not installed; {extra_install('test')}") from None
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        build(room / "tiny", 32, 1, 300, 2)
        largest = build(room / "large", args.width, args.layers, args.vocabulary, args.models)
        size = (room / "large" / "base" / "model.safetensors").stat().st_size
        results, promises = compare(args, room, largest)
    setup = {"model_mib": size / 2**20, "largest_tensor_mib": largest / 2**20, "models": args.models}
    finish("merging_memory", {**setup, **results}, promises, args)


if __name__ == "__main__":
    guarded(main)
