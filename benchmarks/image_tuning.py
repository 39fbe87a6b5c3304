"""What tuning on pictures costs beside the loop that one would write with diffusers, accelerate and peft.

    python benchmarks/image_tuning.py --json OUT [--check] [--base PIPELINE] [--data FOLDER]

Both sides tune the same pipeline on the same pictures with the same settings, each run in a process of its own, in
turns. Time is that of the whole run after the imports: loading, encoding, all steps and saving; ours checks every
picture besides and keeps a checkpoint. It is the processor time on a CPU, where other programs disturb the clock on the
wall, and the clock on the wall elsewhere. Memory is the highest resident set above that after the imports, on CUDA the
most that was allocated. Ratios are ours / plain, the median over the repeats; below 1 is better.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Promise, add_output_arguments, finish, guarded, progress

from xpert.embedded import EMBEDDED_PIPELINES
from xpert.errors import ModelError
from xpert.tuning import DiffusionSettings

EMBEDDED = "xpert/diffusion"
SIDES = ("ours", "plain")
METHODS = ("lora", "full")


def arguments() -> argparse.ArgumentParser:
    """The options of the benchmark, and those with which it calls itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", help=f"Stable Diffusion pipeline; default: {EMBEDDED}, or a tiny one without it")
    parser.add_argument("--data", type=Path, help="folder of pictures with metadata.jsonl; default: drawn ones")
    parser.add_argument("--pictures", type=int, default=20, help="how many are drawn")
    parser.add_argument("--resolution", type=int, help="default: the pipeline's own")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a run")
    parser.add_argument("--batch", type=int, default=4, help="pictures of a batch")
    parser.add_argument("--random-crop", action="store_true", help="crop anywhere: then nothing can be kept")
    parser.add_argument("--precision", default="no", choices=("no", "fp16", "bf16"), help="mixed precision, on CUDA")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side and method")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--room", type=Path, help=argparse.SUPPRESS)
    add_output_arguments(parser)
    return parser


def settings_of(args: argparse.Namespace, method: str) -> DiffusionSettings:
    """What both sides tune with."""
    return DiffusionSettings(
        method=method,
        max_steps=args.steps,
        batch_size=args.batch,
        resolution=args.resolution,
        center_crop=not args.random_crop,
        random_flip=True,
        mixed_precision=args.precision,
        save_every=10 * args.steps,
    )


def measure(args: argparse.Namespace) -> None:
    """One run of one side, in this process; its figures are the last line of standard output."""
    import datasets
    import torch
    from plain_diffusion import plain_diffusion

    from xpert.data.pictures import open_pictures
    from xpert.models.loading import choose_device
    from xpert.models.reference import ModelReference
    from xpert.tuning import tune_diffusion

    torch.set_num_threads(args.threads)
    datasets.config.HF_DATASETS_CACHE = args.room / "cache"
    settings, out = settings_of(args, args.methods[0]), args.room / "out"
    device, before = choose_device(), resident_bytes("VmRSS")
    times = -time.perf_counter(), -time.process_time()
    if args.side == "ours":
        losses = tune_diffusion(
            ModelReference(args.base), open_pictures(str(args.data)), out, settings, device=str(device)
        ).train_losses
    else:
        losses = plain_diffusion(Path(args.base), args.data, out, args.resolution, settings)
    if device.type == "cuda":
        torch.cuda.synchronize()
    found = {
        "wall_s": times[0] + time.perf_counter(),
        "cpu_s": times[1] + time.process_time(),
        "peak_bytes": resident_bytes("VmHWM") - before,
        "device": device.type,
        "loss": statistics.fmean(losses),
        "steps": len(losses),
    }
    if device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(found))


def resident_bytes(which: str) -> int:
    """Bytes of this process in memory: now (VmRSS), or at most so far (VmHWM)."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text("utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(which)).split()[1])
    import resource  # no /proc, as on macOS: the highest so far stands for both

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def one_run(args: argparse.Namespace, side: str, method: str) -> dict[str, float]:
    """A run of one side in a process of its own."""
    with tempfile.TemporaryDirectory() as room:
        given = ["--base", args.base, "--data", args.data, "--steps", args.steps, "--batch", args.batch]
        given += ["--resolution", args.resolution, "--threads", args.threads, "--precision", args.precision]
        given += ["--side", side, "--methods", method, "--room", room]
        given += ["--random-crop"] if args.random_crop else []
        command = [sys.executable, __file__, *map(str, given)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ModelError(f"{side}, {method}: the run failed: {done.stderr[-1000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def compare(args: argparse.Namespace) -> tuple[dict[str, object], list[Promise]]:
    """All runs, side by side: medians, ratios and what is promised of them."""
    results: dict[str, object] = {}
    promises: list[Promise] = []
    total = len(args.methods) * args.repeats * len(SIDES)
    with progress() as show:
        done = 0
        for method in args.methods:
            runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for repeat in range(args.repeats):
                for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
                    runs[side].append(one_run(args, side, method))
                    done += 1
                    show("runs", done, total)
            clock = "cpu_s" if runs["ours"][0]["device"] == "cpu" else "wall_s"
            ratios = {
                name: statistics.median(a[key] / b[key] for a, b in zip(runs["ours"], runs["plain"], strict=True))
                for name, key in (("time", clock), ("memory", "peak_bytes"))
            }
            results[method] = {
                **{side: {key: statistics.median(r[key] for r in runs[side]) for key in ("wall_s", "cpu_s", "loss")}
                   | {"peak_mib": statistics.median(r["peak_bytes"] for r in runs[side]) / 2**20}
                   for side in SIDES},
                "clock": clock,
                "time_ratio": ratios["time"],
                "memory_ratio": ratios["memory"],
            }  # fmt: skip
            promises += [
                Promise(f"{method}: {name}, ours / plain", ratio, at_most=1.0) for name, ratio in ratios.items()
            ]
    return results, promises


def main() -> None:
    args = arguments().parse_args()
    if args.side is not None:
        measure(args)
        return
    from xpert.models.loading import choose_device
    from xpert.models.pipelines import resolve_pipeline
    from xpert.models.reference import ModelReference
    from xpert.testing.tiny_pictures import tiny_pictures, tiny_pipeline
    from xpert.tuning.diffusion_start import check_start

    with tempfile.TemporaryDirectory() as room:
        if args.base is None and not EMBEDDED_PIPELINES[EMBEDDED].is_dir():
            args.base = str(tiny_pipeline(Path(room) / "base"))
        args.base = str(resolve_pipeline(args.base or EMBEDDED))
        start = check_start(ModelReference(args.base), settings_of(args, "lora"), choose_device("cpu"))
        args.resolution = start.resolution
        if args.data is None:
            args.data = tiny_pictures(Path(room) / "pictures", count=args.pictures, size=args.resolution * 5 // 4)
        results, promises = compare(args)
        setup = {"base": Path(args.base).name, "resolution": args.resolution, "steps": args.steps, "batch": args.batch}
    finish("image_tuning", {**setup, "pictures": args.pictures, **results}, promises, args, device=choose_device())


if __name__ == "__main__":
    guarded(main)
