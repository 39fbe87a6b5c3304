"""The phone's story with a real browser: explain a person, export, tune in the page, bring back, explain again.

    python examples/phone/demo.py --out build/phone-demo      (or: make phone-demo)

A sample person's messages choose a pLLM of the embedded pool. It is exported and served; a Chromium of phone size opens
the page, tunes on the messages until a loss, and downloads the weights. They come back as a plain peft adapter, whose
explanation has moved toward the person: distances are ||cu - c||, in units of a full style.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from xpert.data import read_samples, sample_person
from xpert.device.personalize import select_for
from xpert.embedded import EMBEDDED_POOL, PEOPLE
from xpert.errors import ModelError, SettingsError, XpertError
from xpert.export import ExportSettings, export
from xpert.models.reference import ModelReference
from xpert.opening import open_explainer
from xpert.pool import open_pool
from xpert.records import Explanation
from xpert.runtime import adopt
from xpert.runtime.serving import PageServer
from xpert.space.distance import gap

DRIVER = Path(__file__).parents[2] / "web" / "drive.mjs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUESTION = "Why does it rain?"


def arguments() -> argparse.ArgumentParser:
    """The options of the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--person", default="wen", help="a sample person: mia, noor, viktor or wen")
    parser.add_argument("--target", type=float, default=4.5, help="tune until this loss on the person's kept messages")
    parser.add_argument("--out", type=Path, default=Path("build/phone-demo"), help="folder for adapter and screenshots")
    return parser


def program(*names: str) -> str:
    """The first of some programs that is installed."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise SettingsError(f"{names[0]} is not installed: install it, or use `xpert phone serve` with your browser")
    return found


def in_the_page(folder: Path, data: Path, target: float, out: Path) -> dict[str, Any]:
    """Use the page as a person does: phone size first, a desktop at the end; returns what it showed."""
    settings = {"max_steps": 60, "evaluate_every": 5, "target_validation_loss": target}
    shots = [str(out / f"{name}.png") for name in ("1-phone-open", "2-phone-training", "3-phone-done", "4-desktop")]
    acts = [
        ["open"], ["file", str(data)], ["set", settings], ["shot", shots[0]], ["click", "start"], ["step", 12],
        ["shot", shots[1]], ["end"], ["ask", QUESTION], ["shot", shots[2]], ["size", 1280, 900], ["wait", 0.5],
        ["shot", shots[3]], ["take", "weights", str(out / "from-the-phone.safetensors")],
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="xpert-phone-") as room, PageServer(folder, port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = program(*BROWSERS)
        plan = {"url": server.url, "browser": browser, "profile": f"{room}/profile", "acts": acts}
        (Path(room) / "plan.json").write_text(json.dumps(plan), "utf-8")
        command = [program("node"), str(DRIVER), f"{room}/plan.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        server.shutdown()
    if done.returncode:
        raise ModelError(f"the page did not get to the end: {done.stderr.strip()}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def row(table: Table, name: str, explanation: Explanation | None, person: Explanation) -> float:
    """Add a line: distance to the person and strongest words; None is the base, which lies at zero."""
    own = np.asarray(person.position)
    other = np.zeros_like(own) if explanation is None else np.asarray(explanation.position)
    words = () if explanation is None else explanation.strongest()
    distance = gap(own, other)
    table.add_row(name, f"{distance:.2f}", ", ".join(f"{w.word} {w.coefficient:.2f}" for w in words))
    return distance


def run(args: argparse.Namespace, console: Console) -> bool:
    """The whole story; True where the explanation has moved toward the person."""
    began, out = time.perf_counter(), args.out
    data = PEOPLE / f"{sample_person(args.person)}.jsonl"
    for names in (("node",), BROWSERS):
        program(*names)  # before anything is computed
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with open_pool(EMBEDDED_POOL, read_only=True) as pool:
        explainer = open_explainer(pool)
        selection = select_for(read_samples(data), pool, explainer)
        chosen = next((record for record in pool.list() if record.name == selection.choice), None)
        start = None if chosen is None else str(pool.adapter_path(chosen.name))
        console.print(f"{args.person} starts from {selection.choice or 'the base'}: {selection.reason}")
        manifest = export(ModelReference("xpert/base", start), out / "export", ExportSettings(max_length_tokens=256))
    console.print(f"exported: {sum(file.size_bytes for file in manifest.files.values()) / 1e6:.1f} MB")
    told = in_the_page(out / "export", data, args.target, out)
    last = told["shown"]["last"]
    console.print(f"in the browser: {last['state']}")
    console.print(f"{QUESTION}\n  base:  {last['base']!r}\n  yours: {last['mine']!r}")
    mine = adopt(out / "export", out / "from-the-phone.safetensors", out / "adapter")
    table = Table("", "distance to the person", "strongest words")
    after = explainer.explain_adapter(mine)
    person = selection.person
    row(table, "base", None, person)
    before = row(table, "start", None if chosen is None else chosen.explanation, person)
    moved = row(table, "from the phone", after, person) < before
    row(table, args.person, person, person)
    console.print(table)
    console.print(f"{time.perf_counter() - began:.0f} s; adapter and screenshots: {out.resolve()}")
    return moved


def main() -> None:
    console = Console(highlight=False, markup=False)
    try:
        moved = run(arguments().parse_args(), console)
    except XpertError as error:
        sys.exit(f"error: {error}")
    if not moved:
        sys.exit("the explanation has not moved toward the person")


if __name__ == "__main__":
    main()
