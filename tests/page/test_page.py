"""What the page spares a person: waiting, a crash, a wrong tick, a key that others see; in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from xpert.models.reference import file_digest
from xpert.runtime.serving import PAGE

CHECKING = "checking that this browser computes rightly"
SMALL: list[list[Any]] = [
    ["paste", "one\n\ntwo\n\nthree\n\nfour"], ["set", {"max_steps": 2, "evaluate_every": 2}],
]  # fmt: skip
SLOW = """
const tell = self.postMessage.bind(self);
self.postMessage = (news) => {
  tell(news);
  const began = performance.now();
  if (news.kind === "said" && !news.done) while (performance.now() - began < 150);
};
"""


def changed(folder: Path, to: Path, **memory: int) -> Path:
    """A copy of an export whose manifest says something else of memory."""
    shutil.copytree(folder, to)
    manifest = json.loads((to / "manifest.json").read_text())
    manifest["memory"].update(memory)
    del manifest["seal"]
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


def with_worker(change: Callable[[str], str], to: Path) -> Path:
    """The page with another worker."""
    shutil.copytree(PAGE, to)
    worker = to / "worker.js"
    worker.write_text(change(worker.read_text("utf-8")), "utf-8")
    return to


def test_the_golden_check_is_remembered_until_something_changes(
    browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    folder = reference("llama").export

    def opened(exported: Path = folder, **more: Any) -> dict[str, Any]:
        port = urlsplit(browser.url).port or 0
        told = browser.use(exported, [["open"]], port=port, kept=False, **more)
        assert told["faults"] == []
        shown: dict[str, Any] = told["shown"]["last"]
        assert (CHECKING in shown["stages"]) != (", as checked before" in shown["facts"])
        return shown

    assert CHECKING in opened()["stages"]
    again = opened()
    assert CHECKING not in again["stages"] and re.search(r"within \de-\d+ of the reference, as checked", again["facts"])
    other = changed(folder, tmp_path / "other", label_bytes=9)
    assert CHECKING in opened(other)["stages"]
    assert CHECKING in opened(agent="Another/1.0")["stages"]
    (build,) = set(re.findall(r'"([0-9a-f]{16})"', (PAGE / "worker.js").read_text("utf-8")))
    page = with_worker(lambda text: text.replace(build, "0" * 16), tmp_path / "page")
    assert CHECKING in opened(page=page)["stages"]
    assert CHECKING not in opened()["stages"]


def test_a_check_that_fails_is_not_remembered(browser: Any, reference: Callable[[str], Any], tmp_path: Path) -> None:
    folder = shutil.copytree(reference("llama").export, tmp_path / "export")
    golden = json.loads((folder / "golden.json").read_text())
    golden["steps"][1]["loss"] += 0.01
    (folder / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((folder / "manifest.json").read_text())
    facts = {"size_bytes": (folder / "golden.json").stat().st_size, "sha256": file_digest(folder / "golden.json")}
    manifest["files"]["golden.json"] = facts
    del manifest["seal"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    told = browser.use(folder, [["open"], ["show", "first"], ["close"], ["open"]])
    for shown in (told["shown"]["first"], told["shown"]["last"]):
        assert "computes another loss than the reference" in shown["fault"]


def test_yours_comes_first_and_stop_ends_it_at_the_next_token(
    browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    page = with_worker(lambda text: SLOW + text, tmp_path / "page")
    acts = [["open"], ["click", "certain"], ["interrupt", "What is 3?", "mine", 1], ["show", "mine"],
            ["interrupt", "What is 3?", "base", 1], ["show", "base"], ["ask", "What is 3?"]]  # fmt: skip
    told = browser.use(reference("llama").export, acts, page=page)
    assert told["faults"] == []
    mine, base, whole = (told["shown"][name] for name in ("mine", "base", "last"))
    assert whole["mine"] and whole["base"] and whole["ask-said"] is None
    assert mine["base"] == "–"  # it had not begun
    assert whole["mine"].startswith(mine["mine"]) and len(mine["mine"]) < len(whole["mine"]) / 2
    assert base["mine"] == whole["mine"]
    assert whole["base"].startswith(base["base"]) and len(base["base"]) < len(whole["base"]) / 2
    assert told["times"]["2 interrupt"] < told["times"]["6 ask"] / 2


def test_spare_memory_is_ticked_for_runs_that_had_it(browser: Any, reference: Callable[[str], Any]) -> None:
    live: list[tuple[list[Any], bool]] = [
        (["spare"], True), (["set", {"learning_rate": 0.01}], True), (["set", {"batch_size": 4}], False),
        (["set", {"batch_size": 1}], True), (["set", {"gradient_checkpointing": "false"}], False),
        (["set", {"accumulation_steps": 8, "max_length_tokens": 64}], False), (["spare"], True), (["spare"], False),
        (["set", {"batch_size": 1}], False),
    ]  # fmt: skip
    run: list[list[Any]] = [["click", "start"], ["end"], ["close"], ["open"]]
    acts: list[list[Any]] = [["open"], *SMALL]
    for number, (act, _) in enumerate(live):
        acts += [act, ["wait", 0.5], ["show", str(number)]]
    acts += [*run, ["show", "one at a time"], ["click", "over"], ["wait", 1], *SMALL, ["spare"], ["wait", 0.5], *run]
    told = browser.use(reference("llama").export, acts)
    assert told["faults"] == []
    for number, (act, wanted) in enumerate(live):
        assert told["shown"][str(number)]["spare"] == wanted, act
    assert not told["shown"]["one at a time"]["spare"]
    assert told["shown"]["one at a time"]["estimate"].endswith("tokens at once.")
    assert told["shown"]["last"]["spare"]


@pytest.mark.parametrize(("gib", "fits"), [(2, False), (4, True)])
def test_a_base_that_a_device_has_no_memory_for_is_not_loaded(
    gib: int, fits: bool, browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    """Half of the device's memory is for the page; this base takes 1.4 GiB."""
    folder = changed(reference("llama").export, tmp_path / "export", fixed_bytes=1100 * 2**20)
    shown = browser.use(folder, [["open"]], memory=gib)["shown"]["last"]
    loaded = any("base.safetensors" in path for _, path, _ in browser.asked)
    assert (shown["fault"] is None) == fits == loaded
    if not fits:
        assert re.fullmatch(
            rf'even with "Spare memory" and a message of a few words .+ needs about 14\d\d MiB, {512 * gib} MiB are '
            "there: use a device with more memory, export with --int8, or export a smaller base",
            shown["fault"],
        )


def test_a_step_that_does_not_fit_is_told_before_it_is_started_and_sparing_helps(
    browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    plenty = {"token_bytes": 2**30, "recompute_token_bytes": 2**10, "pair_bytes": 0, "recompute_pair_bytes": 0}
    folder = changed(reference("llama").export, tmp_path / "export", **plenty)
    acts = [["open"], *SMALL, ["show", "plain"], ["click", "start"], ["wait", 1.5], ["show", "refused"], ["spare"],
            ["wait", 1], ["show", "spared"], ["click", "start"], ["end"]]  # fmt: skip
    told = browser.use(folder, acts, memory=2)
    plain, refused, spared = (told["shown"][name] for name in ("plain", "refused", "spared"))
    assert 'That is more than the 1074 MB that are there: tick "Spare memory".' in plain["estimate"]
    assert re.search(
        r"a step of 8 x \d+ tokens needs about \d+ MiB, 1024 MiB are there: tick \"Spare memory\"", refused["said"]
    )
    assert "That is more" not in spared["estimate"]
    assert told["shown"]["last"]["step"] == "2"


def test_with_a_key_the_page_works_and_without_a_server_too_and_the_key_is_not_shown(
    browser: Any, reference: Callable[[str], Any]
) -> None:
    folder = reference("llama").export
    told = browser.use(folder, [["open"]], bind="0.0.0.0")
    keyed, port = browser.url, urlsplit(browser.url).port
    bare = keyed.partition("?")[0]
    assert told["faults"] == [] and "?key=" in keyed
    assert told["shown"]["last"]["address"] == bare
    assert {status for _, _, status in browser.asked} == {200}
    for url in (bare, keyed):  # the server is gone
        shown = browser.drive(url, [["open"], *SMALL, ["click", "start"], ["end"], ["click", "over"]])["shown"]["last"]
        assert shown["fault"] is None and shown["address"] == bare
    # Another start, another key: who comes without it works with what was kept, who brings it sees the new export.
    browser.asked.clear()
    browser.use(folder, [["open"]], port=port, bind="0.0.0.0", first=lambda: setattr(browser, "url", bare))
    assert ("GET", "/export/manifest.json", 403) in browser.asked
    browser.asked.clear()
    told = browser.use(folder, [["open"]], port=port, bind="0.0.0.0")
    assert told["shown"]["last"]["address"] == bare and browser.url != keyed
    assert ("GET", "/export/manifest.json", 200) in browser.asked


def test_a_damaged_copy_in_the_browser_is_fetched_again(
    browser: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(reference("llama").export, tmp_path / "export")
    graph = folder / "train.onnx"
    whole = graph.read_bytes()
    told = browser.use(folder, [["open"]], first=lambda: graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])))
    assert "train.onnx is another file than was written" in told["shown"]["last"]["fault"]
    graph.write_bytes(whole)
    shown = browser.use(folder, [["open"]], port=urlsplit(browser.url).port)["shown"]["last"]
    assert shown["fault"] is None and "rightly" in shown["facts"]
