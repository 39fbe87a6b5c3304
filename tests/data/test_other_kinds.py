"""Saved pages, tables of other languages and YAML are nobody's prose, whatever their file is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample

PAGE = (
    "{}Subject: Page\nDate: Mon, 1 Jan 2024 00:00:00 -0000\nMIME-Version: 1.0\nContent-Type: multipart/related;\n"
    '\ttype="text/html";\n\tboundary="--B"\n\n\n----B\nContent-Type: text/html\n\n'
    "<html><body><p>somebody else's words</p></body></html>\n----B--\n"
)
TEXTS = {
    "blink": PAGE.format("From: <Saved by Blink>\nSnapshot-Content-Location: https://example.org/\n"),
    "explorer": PAGE.format('From: "Saved by Windows Internet Explorer 11"\n'),
    "table": "Datum;Von;Nachricht\n1;Mia;hi\n2;Wen;yo\n",
    "tabs": "Absender\tInhalt\nMia\thi\nWen\tyo\n",
    "pipes": "autor|mensaje\nMia|hi\nWen|yo\n",
    "yaml": "- from: Mia\n  text: hi\n- from: Wen\n  text: yo\n",
    "turns": "messages:\n  - role: user\n    content: hi\n  - role: assistant\n    content: ho\n",
    "blocks": "- sender: Mia\n  body: |\n    hi\n    there\n- sender: Wen\n  body: yo\n",
}


@pytest.mark.parametrize("suffix", [".txt", ".md", ".dat", ".mht", ".eml"])
@pytest.mark.parametrize("name", TEXTS)
def test_they_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    file = tmp_path / f"me{suffix}"
    file.write_text(TEXTS[name], encoding="utf-8")
    with pytest.raises(DataError, match="which is not read as your own prose: "):
        read_samples(file)


@pytest.mark.parametrize(
    "text", ["Name, place\nI came, saw\nI won, lost", "- Milk: two\n- Text: call Wen\n- Bread: one"]
)
def test_lists_of_words_are_prose(tmp_path: Path, text: str) -> None:
    file = tmp_path / "me.txt"
    file.write_text(text, encoding="utf-8")
    assert read_samples(file) == [Sample(None, line) for line in text.split("\n")]
