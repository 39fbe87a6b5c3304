"""The page on a graphics processor: here one in software, right but slow, so the base has two blocks.

What a graphics processor must not do to a person: compute wrongly without a word, or lose the run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from xpert.runtime.serving import PAGE

GRAPHICS = {"/graphics.js", "/ort-wasm-simd-threaded.asyncify.mjs", "/ort-wasm-simd-threaded.asyncify.wasm"}
INSTEAD = "the graphics processor is not used: computing in WebAssembly instead, because "
LOSABLE = """
const request = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...given) {
  const device = await request.apply(this, given);
  new BroadcastChannel("lose").onmessage = () => device.destroy();
  return device;
};
"""
FAKE = """
const limits = { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: LARGEST };
const adapter = { limits, features: new Set(), info: { isFallbackAdapter: false, description: "fake" },
  requestDevice: async () => { throw new Error("no device today"); } };
Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => adapter } });
"""
REAL = """
Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { value: false });
"""
WRONG = """
const create = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (given) {
  return create.call(this, { ...given, code: given.code.replaceAll("exp(", "1.01 * exp(") });
};
"""


def page_with(hook: str, folder: Path) -> Path:
    """The page with a worker that first runs a hook."""
    shutil.copytree(PAGE, folder)
    worker = folder / "worker.js"
    worker.write_text(hook + worker.read_text("utf-8"), "utf-8")
    return folder


def needs_graphics(browser: Any, folder: Path) -> None:
    """Skips where the browser has no graphics processor at all."""
    if not browser.use(folder, [["adapter"]], gpu=True)["adapter"]:
        pytest.skip("this Chromium gives no graphics processor, not even one in software")
    browser.asked.clear()


def test_forty_steps_through_a_killed_tab_and_offline_are_those_of_pytorch_and_a_loss_ends_no_run(
    browser: Any, shallow: Callable[[str], Any], family: str, tmp_path: Path
) -> None:
    known = shallow(family)
    folder = known.export
    needs_graphics(browser, folder)
    acts = [["open"], ["show", "opened"], ["file", str(known.data)], ["set", known.settings],
            ["click", "start"], ["step", 17], ["kill"]]  # fmt: skip
    page = page_with(LOSABLE, tmp_path / "page")
    first = browser.use(folder, acts, page=page, query="?compute=webgpu", gpu=True)
    assert {path for _, path, _ in browser.asked} >= GRAPHICS
    # The server is gone. After step 40 the graphics processor is, too, and the run goes on by itself.
    acts = [["open"], ["show", "again"], ["click", "continue"], ["step", 40], ["lose"], ["end"],
            ["take", "weights", str(tmp_path / "mine.safetensors")]]  # fmt: skip
    second = browser.drive(f"{browser.url}?compute=webgpu", acts, gpu=True)
    assert first["faults"] == [] == second["faults"]
    again = second["shown"]["again"]
    assert "(WebGPU, " in first["shown"]["opened"]["facts"] and "(WebGPU, " in again["facts"]
    assert 17 <= int(again["step"]) < 40
    assert f"{INSTEAD}it was lost" in second["shown"]["last"]["facts"]
    with safe_open(tmp_path / "mine.safetensors", framework="np") as file:
        progress = json.loads(file.metadata()["xpert"])["progress"]
    assert progress["step"] == 48
    validation = [loss for _, loss in progress["validation_losses"]]
    assert [*progress["train_losses"], *validation] == pytest.approx(known.torch, abs=1e-5)


@pytest.mark.parametrize(
    ("largest", "why"),
    [("2 ** 30", "Error: no device today"), ("999", "the base's largest matrix takes 1 MiB in one piece")],
)
def test_a_graphics_processor_that_fails_is_named_and_the_processor_computes(
    largest: str, why: str, browser: Any, shallow: Callable[[str], Any], tmp_path: Path
) -> None:
    page = page_with(FAKE.replace("LARGEST", largest), tmp_path / "page")
    shown = browser.use(shallow("llama").export, [["open"]], page=page)["shown"]["last"]
    assert shown["fault"] is None
    assert "(WebAssembly)" in shown["facts"] and INSTEAD + why in shown["facts"]


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (REAL + WRONG, f"{INSTEAD}onnxruntime-web .* computes another loss than the reference on the golden batch"),
        (REAL, r"a golden step took the graphics processor [0-9.]+ s, WebAssembly [0-9.]+ s"),
    ],
)
def test_one_that_computes_wrongly_or_slowly_is_not_used(
    hook: str, why: str, browser: Any, shallow: Callable[[str], Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--all-families"):
        pytest.skip("compiles shaders in software for half a minute: --all-families")
    folder = shallow("llama").export
    needs_graphics(browser, folder)
    shown = browser.use(folder, [["open"]], page=page_with(hook, tmp_path / "page"), gpu=True)["shown"]["last"]
    assert shown["fault"] is None and "(WebAssembly)" in shown["facts"]
    assert re.search(why, shown["facts"])


def test_without_one_nothing_of_it_is_fetched_and_who_insists_on_it_is_told(
    browser: Any, shallow: Callable[[str], Any]
) -> None:
    folder = shallow("llama").export
    shown = browser.use(folder, [["open"]], query="?compute=auto")["shown"]["last"]
    assert "(WebAssembly)" in shown["facts"] and "graphics processor" not in shown["facts"]
    shown = browser.use(folder, [["open"]], query="?compute=webgpu")["shown"]["last"]
    assert shown["fault"].startswith("the graphics processor cannot be used: the browser gives none. Choose another")
    assert not GRAPHICS & {path for _, path, _ in browser.asked}
