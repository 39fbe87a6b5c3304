"""The page in a real browser: the losses of PyTorch, through a killed tab; no word of a person's on the network."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from xpert.runtime import adopt


def test_forty_steps_through_a_killed_tab_are_those_of_pytorch_and_nothing_leaves(
    browser: Any, reference: Callable[[str], Any], family: str, tmp_path: Path
) -> None:
    known = reference(family)
    acts = [
        ["open"], ["file", str(known.data)], ["set", known.settings], ["show", "given"], ["click", "start"],
        ["step", 17], ["kill"], ["open"], ["show", "again"], ["click", "continue"], ["end"], ["ask", "What is 3?"],
        ["take", "folder", str(tmp_path / "adapter.zip")], ["take", "weights", str(tmp_path / "mine.safetensors")],
        ["close"], ["open"], ["show", "later"], ["click", "discard"], ["wait", 1],
    ]  # fmt: skip
    told = browser.use(known.export, acts, width=390)
    assert told["faults"] == []
    assert "24 messages: 19 to learn from, 5 to check with" in told["shown"]["given"]["counts"]
    assert 17 <= int(told["shown"]["again"]["step"]) < 40
    assert told["shown"]["again"]["state"].startswith("Paused. Everything is saved")
    assert told["shown"]["later"]["state"].startswith("Done: all steps are taken. Loss")
    assert told["shown"]["last"]["state"] is None and told["shown"]["last"]["counts"] == ""
    assert all(shown["wide"] <= 390 for shown in told["shown"].values())

    with safe_open(tmp_path / "mine.safetensors", framework="np") as file:
        progress = json.loads(file.metadata()["xpert"])["progress"]
    assert progress["step"] == 40
    validation = [loss for _, loss in progress["validation_losses"]]
    assert [*progress["train_losses"], *validation] == pytest.approx(known.torch, abs=1e-5)
    adopted = adopt(known.export, tmp_path / "mine.safetensors", tmp_path / "adopted")
    mine = load_file(adopted / "adapter_model.safetensors")
    theirs = load_file(known.onnx_adapter / "adapter_model.safetensors")
    assert max(float(abs(mine[name] - theirs[name]).max()) for name in theirs) <= 1e-4
    with zipfile.ZipFile(tmp_path / "adapter.zip") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("adapter/adapter_config.json"))["r"] == 4

    # The page loads its own files while it opens (acts 0, 7 and 15), and then there is silence.
    assert {request["act"] for request in told["requests"] if not _in_memory(request["url"])} <= {0, 7, 15}
    assert {request["method"] for request in told["requests"]} == {"GET"}
    own = {urlsplit(request["url"]).hostname for request in told["requests"]} - {None, ""}
    assert own == {"127.0.0.1"}
    assert {method for method, _, _ in browser.asked} == {"GET"} and {status for _, _, status in browser.asked} == {200}


def _in_memory(url: str) -> bool:
    return url.startswith(("blob:", "data:"))


def test_once_loaded_it_needs_no_server(browser: Any, reference: Callable[[str], Any]) -> None:
    browser.use(reference("llama").export, [["open"]])
    acts = [["open"], ["paste", "one\n\ntwo\n\nthree\n\nfour"], ["spare"], ["wait", 1], ["show", "given"],
            ["set", {"max_steps": 3, "evaluate_every": 3}], ["click", "start"], ["end"], ["ask", "What?"]]  # fmt: skip
    told = browser.drive(browser.url, acts)
    assert "4 messages: 3 to learn from, 1 to check with" in told["shown"]["given"]["counts"]
    assert "with one message of up to" in told["shown"]["given"]["estimate"]
    assert told["shown"]["last"]["step"] == "3" and told["shown"]["last"]["mine"] is not None


SMALL = [["paste", "one\n\ntwo\n\nthree\n\nfour"], ["set", {"max_steps": 3, "evaluate_every": 3}]]


def test_over_plain_http_from_another_device_it_trains_too(
    browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    folder, named = reference("llama").export, "phone.test"

    def elsewhere() -> None:
        browser.url = browser.url.replace("127.0.0.1", named)

    acts = [["open"], *SMALL, ["click", "start"], ["end"], ["take", "weights", str(tmp_path / "mine.safetensors")]]
    shown = browser.use(folder, acts, first=elsewhere, names=(named,), host=named)["shown"]["last"]
    assert shown["facts"].endswith("1 thread") and shown["step"] == "3"
    assert adopt(folder, tmp_path / "mine.safetensors", tmp_path / "mine").is_dir()


def test_a_second_tab_and_a_damaged_run_are_named(browser: Any, reference: Callable[[str], Any]) -> None:
    acts = [["open"], *SMALL, ["click", "start"], ["end"], ["damage"], ["open"], ["show", "second"], ["close"]]
    folder = reference("llama").export
    told = browser.use(folder, acts)
    assert told["shown"]["second"]["fault"].startswith("the page is open in another tab: close that one")
    told = browser.use(folder, [["open"]], port=urlsplit(browser.url).port)
    assert "the unfinished run cannot be read" in told["shown"]["last"]["said"]
    assert told["shown"]["last"]["state"] is None


@pytest.mark.parametrize(("hidden", "named"), [("indexedDB", "a database (IndexedDB)"), ("WebAssembly", "WebAssembly")])
def test_a_browser_that_lacks_something_is_told(
    hidden: str, named: str, browser: Any, reference: Callable[[str], Any]
) -> None:
    shown = browser.use(reference("llama").export, [["open"]], hide=[hidden])["shown"]["last"]
    assert shown["fault"] == f"This browser cannot train a model: it lacks {named}. Use a current browser."
    assert shown["estimate"] is None
    assert not any(path.startswith("/export/") for _, path, _ in browser.asked)


def test_an_export_that_is_damaged_while_it_is_served_is_named(
    browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(reference("llama").export, tmp_path / "export")
    graph = folder / "train.onnx"
    whole = graph.read_bytes()
    shown = browser.use(folder, [["open"]], first=lambda: graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])))
    assert "train.onnx is another file than was written" in shown["shown"]["last"]["fault"]
    assert "export or download it again" in shown["shown"]["last"]["fault"]


def test_an_export_that_can_never_fit_is_not_loaded(
    browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(reference("llama").export, tmp_path / "export")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["memory"]["fixed_bytes"] = 2**33
    del manifest["seal"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shown = browser.use(folder, [["open"]])["shown"]["last"]
    assert re.search(r"needs about 8\d{3} MiB, 4096 MiB are there: .* export with --int8", shown["fault"])
    assert not any("base.safetensors" in path for _, path, _ in browser.asked)
