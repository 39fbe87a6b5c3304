"""What the documentation prints runs as it stands: the README's Python, wishes and names, links."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from xpert.cli.app import main
from xpert.embedded import EMBEDDED_POOL, PEOPLE
from xpert.pool import open_pool
from xpert.records import Selection

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MERGING = (ROOT / "docs" / "merging.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The command lines of `xpert` in a page's code blocks, without comments."""
    lines = [line for block in blocks(text, "(?:ba)?sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("xpert ")]


def few_messages(folder: Path) -> None:
    rows = (PEOPLE / "wen.jsonl").read_text("utf-8").splitlines(keepends=True)
    (folder / "messages.jsonl").write_text("".join(rows[:12]), "utf-8")


def test_the_python_of_the_readme_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few_messages(tmp_path)
    (code,) = blocks(README, "python")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "my-own-adapter" / "adapter_config.json").is_file()
    assert "elementary" in capsys.readouterr().out


def test_the_line_of_data_that_the_readme_shows_is_read(tmp_path: Path) -> None:
    from xpert.data import read_samples

    (line,) = re.findall(r"`(\{\"prompt\".*?\})`", README)
    assert set(json.loads(line)) == {"prompt", "response"}
    (tmp_path / "messages.jsonl").write_text(line, "utf-8")
    assert read_samples(tmp_path / "messages.jsonl")[0].prompt == json.loads(line)["prompt"]


@pytest.mark.parametrize("page", [README, MERGING], ids=["README", "merging"])
def test_wishes_and_names_are_those_of_the_pool_of_the_package(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPERT_POOL", raising=False)
    with open_pool(EMBEDDED_POOL, read_only=True) as pool:
        known = {record.name for record in pool.list()}
    wishes = 0
    for command in commands(page):
        if "--want" in command:
            wishes += 1
            wanted = ["--want", command[command.index("--want") + 1]]
            assert main(["select", *wanted, "--json"]) == 0, command
            Selection.model_validate_json(json.dumps(_without_merge(capsys.readouterr().out)))
        if command[0] == "merge":
            named = {part.split("=")[0] for part in command[1:] if re.fullmatch(r"[a-z-]+=[0-9.]+", part)}
            named -= {part.split("=")[0] for part in command if part in _after(command, "--want")}
            named |= set(_after(command, "--without"))
            assert named <= known, command
    assert wishes >= 2


def _without_merge(printed: str) -> dict[str, object]:
    return {key: value for key, value in json.loads(printed).items() if key not in ("merge", "predicted")}


def _after(command: list[str], option: str) -> list[str]:
    return [b for a, b in zip(command, command[1:], strict=False) if a == option]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text("utf-8")):
        name, _, place = target.partition("#")
        file = page if not name else page.parent / name
        assert file.exists(), target
        if place:
            titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert place in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_the_files_that_the_readme_copies_are_there() -> None:
    for source in re.findall(r"^cp (\S+)", README, re.MULTILINE):
        assert (ROOT / source).is_file()
