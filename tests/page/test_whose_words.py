"""The page learns from a person's own words: what may hold somebody else's is refused, and no turn is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONVERSATION = "it looks like a conversation, and the page cannot tell which words are yours"
REFUSED = {
    "android.txt": "12/31/23, 21:05 - Ann: hello\n12/31/23, 21:06 - Ben: hi\nand more\n",
    "ios.txt": "[31.12.23, 21:05:10] Ann: hello\n\u200e[31.12.23, 21:06:11] Ben: hi\n",
    "american.txt": "1/2/24, 9:05\u202fPM - Ann: one\n1/2/24, 9:06\u202fPM - Ben: two\n",
    "japanese.txt": "2024/01/02 21:05 - 太郎: 一\n2024/01/02 21:06 - 花子: 二\n",
    "irc.txt": "[21:05] <ann> hello\n[21:06] <ben> hi\n",
    "teams.txt": "Ann Ray  31.12.2023 21:05\nhello\nBen  31.12.2023 21:06\nhi\n",
    "assistant.md": "**You:** why?\n\nwell\n\n**Assistant:** because\n",
    "script.txt": "Ann: one\nBen: two\nAnn: three\nBen: four\n",
    "table.csv": "sender,text\nAnn,hello\nBen,hi\n",
    "rows.jsonl": '{"author": "Ann", "text": "hello"}\n{"author": "Ben", "text": "hi"}\n',
    "spaced.csv": "Date;Sender Name;Text\n1;Ann;hello\n2;Ben;hi\n",
}
OTHER_KINDS = {
    "page.html": "<html><body>hello</body></html>", "feed.xml": "<?xml version='1.0'?><a/>", "all.vcf": "BEGIN:VCARD",
    "film.srt": "1\n00:00:01,000 --> 00:00:02,000\nhello\n", "main.js": "console.log(1)", "run.log": "INFO started",
    "mail.eml": "From: a@b.c\nSubject: x\n\nhello", "noname": "hello\n\nyou", "settings.yaml": "a: 1\nb: 2",
    "page.txt": "<!doctype html><html><p>hello", "film.txt": "1\n00:00:01,000 --> 00:00:02,000\nhello\n",
    "all.txt": "BEGIN:VCARD\nFN:Ann\nEND:VCARD", "mail.txt": "From: a@b.c\nTo: d@e.f\nSubject: x\n\nhello",
    "main.txt": "(function () { return 1; })();",
}  # fmt: skip
READ: dict[str, tuple[str, int]] = {
    "diary.txt": ("31.12.2023\n\nToday: we walked, at 21:05 we came home.\n\nNote: buy milk.\n\nNote: and tea.", 4),
    "letters.md": ("Dear Ann,\n\nit is late: 21:05.\n\nYours", 3),
    "questions.txt": ("Q: what?\nA: that\nQ: why?\nA: so", 4),
    "text.jsonl": ('{"messages": [{"role": "user", "text": "a"}, {"role": "user", "parts": ["b", {"text": "c"}]}]}', 2),
    "parts.json": ('[{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]', 1),
    "columns.jsonl": ('{"messages": {"role": ["user", "assistant", "user"], "content": ["a", "b", "c"]}}', 2),
    "bare.jsonl": ('{"role": ["user", "assistant", "user"], "content": ["a", "b", "c"]}', 2),
    "picture.jsonl": (
        '{"messages": [{"role": "user", "content": [{"type": "image", "a": 1}]}, {"role": "user", "content": "a"}]}', 1
    ),
    "excel.csv": ("sep=;\r\nprompt;response\r\na;b\r\nc, d;e\r\n", 2),
    "tabs.csv": ("prompt\tresponse\na\tb\n", 1),
    "joined.csv": ("\ufeffprompt,response\na,b\n\ufeffprompt,response\nc,d\nprompt,response\ne,f\n", 3),
    "joined.jsonl": ('\ufeff{"text": "a"}\n\ufeff{"text": "b"}\n', 2),
}  # fmt: skip
SETTINGS = json.dumps({"evaluate_every": None})


def encode(node: Any, folder: Path, file: Path, text: str) -> Any:
    file.write_text(text, "utf-8", newline="")
    return node.run("encode", folder, file, SETTINGS)


@pytest.mark.parametrize("name", REFUSED)
def test_a_conversation_is_not_taken_for_the_persons_words(
    name: str, node: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    done = encode(node, reference("llama").export, tmp_path / name, REFUSED[name])
    assert done.returncode == 1 and CONVERSATION in done.stderr
    assert "hello" not in done.stderr and "Ben" not in done.stderr


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_other_kinds_of_text_are_refused(name: str, node: Any, reference: Callable[[str], Any], tmp_path: Path) -> None:
    done = encode(node, reference("llama").export, tmp_path / name, OTHER_KINDS[name])
    assert done.returncode == 1 and "take your own texts out" in done.stderr and "hello" not in done.stderr


@pytest.mark.parametrize("name", READ)
def test_own_words_are_read_whole(name: str, node: Any, reference: Callable[[str], Any], tmp_path: Path) -> None:
    text, count = READ[name]
    done = encode(node, reference("llama").export, tmp_path / name, text)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["learned"]) == count


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"messages": [{"role": "user", "words": "secret"}]}', "no text was found in this turn"),
        ("a.csv", "my secret diary of May,it rained\nx,y\n", "whose names look like texts and are not shown"),
        ("a.csv", "prompt,response\na,b\n\ufeffquestion,answer\nc,d\n", "another file begins here"),
        ("a.csv", "prompt,response\na,b\nresponse,prompt\nc,d\n", "another file begins here"),
    ],
)
def test_what_cannot_be_read_is_named_without_its_words(
    name: str, text: str, said: str, node: Any, reference: Callable[[str], Any], tmp_path: Path
) -> None:
    done = encode(node, reference("llama").export, tmp_path / name, text)
    assert done.returncode == 1 and said in done.stderr and "secret" not in done.stderr and "rained" not in done.stderr
