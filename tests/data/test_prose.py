"""Prose is read as the person's own words, and nothing else is: neither way round."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from xpert.data import read_samples
from xpert.errors import DataError
from xpert.records import Sample

PROSE = {
    "story": (
        '"Where are you going?" said Mia.\n'
        "\n"
        '"To the sea," Wen answered. He looked at his watch: it was 9:05.\n'
        "\n"
        'Mia laughed: "Again?"\n'
        "\n"
        '"Again."'
    ),
    "story_lines": (
        "Mia stopped at the door.\n"
        "Mia: Hello?\n"
        "Wen: Come in.\n"
        "They sat down. It was raining outside and nobody spoke for a while.\n"
        "Mia: I brought cake.\n"
        "Then there was silence. The clock on the wall struck nine.\n"
        "Wen smiled."
    ),
    "diary_dates": (
        "31.12.2024\n"
        "Went to the sea. It rained.\n"
        "\n"
        "01.01.2025\n"
        "Slept long. Note: buy milk.\n"
        "\n"
        "02.01.2025\n"
        "Work: long day, too many meetings."
    ),
    "diary_times": (
        "2024-12-31 21:05\n"
        "A quiet evening. I thought: why not?\n"
        "\n"
        "2025-01-01 09:00\n"
        "Breakfast with Wen: eggs and toast.\n"
        "\n"
        "2025-01-02 22:10\n"
        "Tired."
    ),
    "diary_inline": (
        "12/31/24, 9:05 PM - Went out with friends, then home. I thought about one thing: sleep.\n"
        "1/1/25, 10:00 AM - Slept long.\n"
        "1/2/25, 9:00 PM - Back to work, and it was awful.\n"
        "1/3/25, 9:30 PM - Nothing new."
    ),
    "diary_bracket": (
        "[2024-12-31] Dear diary: what a year.\n[2025-01-01] Slept long.\n[2025-01-02] Work again: meetings."
    ),
    "diary_labels": (
        "Date: Monday\nMood: good\nToday I went to the park.\n\nDate: Tuesday\nMood: bad\nI stayed in bed."
    ),
    "meals": ("Breakfast: eggs\nLunch: soup\nDinner: rice\n\nBreakfast: toast\nLunch: salad\nDinner: fish"),
    "qa": ("Q: What is rain?\nA: Water that falls.\n\nQ: And snow?\nA: Frozen water.\n\nQ: Hail?\nA: Ice."),
    "faq": ("Question: What is rain?\nAnswer: Water that falls.\nQuestion: And snow?\nAnswer: Frozen water."),
    "notes": "Note: buy milk\nNote: call Wen\nTODO: fix the bike\nNote: water the plants",
    "md": (
        "# Notes\n"
        "\n"
        "Some thoughts on Python:\n"
        "\n"
        "```python\n"
        "import os\n"
        "def f(x):\n"
        '    return os.path.join(x, "a")\n'
        "class A:\n"
        "    pass\n"
        "```\n"
        "\n"
        "- **Tip:** use a list\n"
        "- **Note:** never guess\n"
        "- **Warning:** hot\n"
        "\n"
        "> Somebody said: be kind\n"
        "\n"
        "| a | b |\n"
        "|---|---|\n"
        "| 1 | 2 |\n"
    ),
    "md2": (
        "---\n"
        "title: My thoughts\n"
        "date: 2024-01-01\n"
        "tags: [a, b]\n"
        "---\n"
        "\n"
        "I like rain.\n"
        "\n"
        "1. First: go out.\n"
        "2. Second: get wet.\n"
        "3. Third: come home.\n"
    ),
    "md_html": (
        "# Hello\n"
        "\n"
        "<details>\n"
        "<summary>More</summary>\n"
        "\n"
        "I wrote this in one evening, and I still think that it holds up well.\n"
        "\n"
        "</details>\n"
        "\n"
        "<br>\n"
        "\n"
        "Goodbye, and thanks for reading all the way down to here."
    ),
    "poem": "The rain falls soft;\nthe night is long;\nI hear the sea;\nit sings a song.",
    "posts": "First post.\n  Second post.\n[Third] {post}\n",
    "recipe": (
        "Pancakes\n"
        "\n"
        "Ingredients:\n"
        "200 g flour\n"
        "2 eggs\n"
        "Method:\n"
        "1. Mix everything.\n"
        "2. Bake at 200 degrees for 10:30 minutes."
    ),
    "schedule": "08:00 Breakfast: eggs\n09:30 Gym\n12:00 Lunch: soup with Wen\n18:00 Dinner: rice",
    "letter": (
        "Dear Wen,\n\nthank you for your letter from Monday. I was happy to read it.\n\nYours,\nMia\n\nPS: Bring cake."
    ),
    "tweets": (
        "@wen I love this: so good!\n"
        "Just landed. Time: 9:05 PM. Tired.\n"
        "RT if you agree: rain is nice\n"
        "https://example.org: a nice page"
    ),
    "essay_colon": (
        "There are three things I like: rain, tea and books.\n"
        "There is one thing I hate: noise.\n"
        "The reason is simple: it is loud.\n"
        "My conclusion: stay home."
    ),
    "code_words": (
        "If you want to know: I am fine.\n"
        "For what it is worth: nothing.\n"
        "While I waited: rain.\n"
        "Return to sender.\n"
        "Class is over."
    ),
    "ellipsis": "I went home;\nI slept (well);\nI woke.",
    "json_word": "{sigh} what a day.\n[edit] I was wrong.\n{again} fine.",
    "numbers": "1. Get up\n2. Go out\n3. Come home",
    "quote": ("From my window I see the sea.\nTo be honest: it is grey today.\nSubject to change, as always."),
    "mail_words": "From: the heart\nI write to you. It rains.\n\nLove.",
    "math": "We know that x = 3 and y = 4.\nHence the sum is 7.\nI like that.",
    "goals": "Goal: run\nPlan: start\nResult: none\nGoal: read\nPlan: begin\nResult: two books",
    "csvish": "Mia, Wen, and I went out.\nWe, all three, had tea.\nIt was, in a word, good.",
    "text_word": "text, message, and silence\nI write, I wait.\nIt comes, it goes.",
    "interview_self": "Why do I write? Because I must.\nWhat do I write? Letters: long ones.",
    "german": (
        "Liebes Tagebuch,\nheute war ein langer Tag: Arbeit, Arbeit, Arbeit.\nMorgen: frei!\nÜbermorgen: wieder Arbeit."
    ),
    "de_diary": (
        "Montag, 3. Juni 2024, 21:05 Uhr\n"
        "Ich war am Meer.\n"
        "\n"
        "Dienstag, 4. Juni 2024, 22:10 Uhr\n"
        "Regen: den ganzen Tag.\n"
        "\n"
        "Mittwoch, 5. Juni 2024, 20:00 Uhr\n"
        "Nichts."
    ),
    "log_of_days": "Day 1: rain\nDay 2: sun\nDay 3: rain\nDay 1: sun again\nDay 2: fog",
    "arrows": "A --> B means that A leads to B.\nI drew it at 00:01 and again at 00:02.\nIt was good.",
    "changelog": "Added: a door\nFixed: the roof\nAdded: a window\nFixed: the door",
    "vocab": "English: rain\nGerman: Regen\nEnglish: snow\nGerman: Schnee",
    "glossary": "Rain: water that falls.\nSnow: frozen water.\nHail: ice.\nFog: a cloud on the ground.",
    "dates_month": (
        "May 17, 2022 9:00 PM\n"
        "It was a long day: I walked to the sea.\n"
        "\n"
        "May 18, 2022 9:30 PM\n"
        "I stayed in. Nothing to tell.\n"
        "\n"
        "May 19, 2022 8:00 PM\n"
        "Rain."
    ),
    "me_you": "You know me: I talk.\nAnd I know you: you listen.\nMe, I never learn.",
    "indented_code_md": (
        "My notes on shell:\n"
        "\n"
        "    ls -la\n"
        "    cd /tmp\n"
        "    rm x\n"
        "\n"
        "That is all I know, and it was enough for ten years."
    ),
    "one_word_lines": "yes\nno\nmaybe",
    "single": "I like rain.",
    "star_wars": (
        "Lunch at 12:30 - Mia: late as always.\n"
        "Dinner at 18:00 - Wen: early as always.\n"
        "I love them both. They are my friends, and we do this each Sunday.\n"
        "Then we go home, and the week begins again."
    ),
}

OTHERS = {
    "assigned": "window.settings = {\n  a: 1\n}",
    "html": '<html><body><div class="from">Mia</div><div class="text">hello</div></body></html>',
    "html2": "<!-- saved --><!DOCTYPE html>\n<html>\n<p>hi</p>",
    "frag": ('<div class="from">Mia</div>\n<div class="text">hello</div>\n<div class="from">Wen</div>'),
    "xml": '<?xml version="1.0"?>\n<smses><sms address="1" body="hi"/></smses>',
    "xml2": '<chat><m from="Mia">hi</m></chat>',
    "vcf": "BEGIN:VCARD\nVERSION:3.0\nFN:Mia\nEND:VCARD\n",
    "ics": "BEGIN:VCALENDAR\nSUMMARY:x\nEND:VCALENDAR",
    "srt": "1\n00:00:01,000 --> 00:00:02,000\nHi",
    "vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\nHi",
    "lrc": "[00:12.00]Line one\n[00:15.30]Line two",
    "ass": "[Script Info]\nTitle: x\n[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,Hi",
    "mail2": "Return-Path: <a@b>\nReceived: from x\n by y\nDate: Mon\nSubject: s\n\nHi",
    "fwd": (
        "Hello Wen, see below.\n"
        "\n"
        "-----Original Message-----\n"
        "From: Zoe\n"
        "Sent: Monday\n"
        "To: Mia\n"
        "Subject: x\n"
        "\n"
        "Some text of Zoe"
    ),
    "fwd_de": "Hallo,\n\nVon: Zoe\nGesendet: Montag\nAn: Mia\nBetreff: x\n\nText von Zoe",
    "js2": "const a = 1;\nfunction f(x) {\n  return x + a;\n}\nconsole.log(f(2));",
    "py": ('import os\n\ndef f(x):\n    y = os.path.join(x, "a")\n    return y\n\nprint(f("b"))\n'),
    "py2": (
        "from pathlib import Path\n"
        "class A(Base):\n"
        '    """Doc."""\n'
        "    def __init__(self, x):\n"
        "        self.x = x\n"
        "    def go(self):\n"
        "        for i in range(3):\n"
        "            print(i)\n"
        "        return None\n"
    ),
    "c": '#include <stdio.h>\nint main(void) {\n  printf("hi\\n");\n  return 0;\n}\n',
    "java": (
        "package a.b;\n"
        "import java.util.List;\n"
        "public class A {\n"
        "  private int x;\n"
        "  public void f() {\n"
        "    x = 2;\n"
        "  }\n"
        "}\n"
    ),
    "css": ".a {\n  color: red;\n  margin: 0;\n}\n#b {\n  top: 1px;\n}",
    "sql": "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\nSELECT * FROM a;",
    "sh": "#!/bin/sh\nls\n",
    "php": "<?php echo 1;",
    "tex": "\\documentclass{article}\n\\begin{document}\nHi\n\\end{document}",
    "rtf": "{\\rtf1\\ansi Hello}",
    "log": (
        "2024-01-01 12:00:00,123 INFO server started\n"
        "2024-01-01 12:00:01,123 WARNING disk full\n"
        "2024-01-01 12:00:02,123 ERROR: mia: no"
    ),
    "log2": "INFO: started\nERROR: x\nINFO: y",
    "syslog": "Jan  1 00:00:00 host sshd[123]: msg one\nJan  1 00:00:01 host sshd[123]: msg two",
    "access": (
        '127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326\n'
        '127.0.0.1 - - [10/Oct/2000:13:55:37 -0700] "GET /a HTTP/1.0" 200 2326'
    ),
    "json": '{"a": 1, "b": {"c": 2}}',
    "jsonl": '{"from": "Mia", "text": "a"}\n{"from": "Wen", "text": "b"}',
    "csv": "from,text\nMia,hello\nWen,what is up",
    "csv2": "Date;Sender;Message\n1;Mia;hello\n2;Wen;hi",
}

EXPORTS = {
    "mail": "From: mia@example.org\nSubject: Tea\n\nHello",
    "mbox": "From mia@example.org Mon Jan  1 00:00:00 2024\nFrom: Mia <mia@example.org>\nSubject: Tea\n\nHello\n",
    "tweets": 'window.YTD.tweets.part0 = [ {"tweet" : {"full_text":"Hello","id":"1"}} ]',
}

SUFFIXES = (
    ".html .htm .xml .vcf .srt .vtt .js .ts .ics .log .tex .rtf .py .c .sql .yaml .org .rst .eml .mbox .foo".split()
)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("suffix", [".txt", ".md", ".text", ".markdown"])
@pytest.mark.parametrize("name", PROSE)
def test_prose_is_read_whole(tmp_path: Path, name: str, suffix: str) -> None:
    samples = read_samples(write(tmp_path / f"me{suffix}", PROSE[name]))
    assert all(sample.prompt is None for sample in samples)
    read = [line.strip() for sample in samples for line in sample.response.split("\n") if line.strip()]
    assert read == [line.strip() for line in PROSE[name].split("\n") if line.strip()]


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_prose_is_refused_under_every_name(tmp_path: Path, name: str) -> None:
    for suffix, options in ((".txt", {}), (".md", {}), (".txt", {"format": "text"}), (".foo", {"format": "text"})):
        file = write(tmp_path / f"me{suffix}", OTHERS[name])
        with pytest.raises(DataError) as caught:
            read_samples(file, **options)
        text = str(caught.value)
        assert text.startswith(f"{file} seems to be ") and "which is not read as your own prose: " in text
        assert not any(line in text for line in OTHERS[name].splitlines() if len(line) > 3)


@pytest.mark.parametrize("suffix", [".txt", ".md", ".foo", ""])
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_under_another_name_is_no_prose(tmp_path: Path, name: str, suffix: str) -> None:
    file = write(tmp_path / f"me{suffix}", EXPORTS[name])
    if name == "mail":  # the headers of one mail may also stand in a letter
        with pytest.raises(DataError, match="name it .eml"):
            read_samples(file)
    else:
        me = "mia@example.org" if name == "mbox" else None
        assert read_samples(file, me=me) == [Sample(None, "Hello")]


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_under_another_name_is_no_prose(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError):
        read_samples(write(tmp_path / "me.foo", OTHERS[name]))


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_prose_under_a_name_that_does_not_promise_it(tmp_path: Path, suffix: str) -> None:
    text = "I like rain.\n\nAnd tea."
    file = write(tmp_path / f"me{suffix}", text)
    with pytest.raises(DataError, match="--format text") as caught:
        read_samples(file)
    assert str(file) in str(caught.value) and "rain" not in str(caught.value)
    assert read_samples(file, format="text") == [Sample(None, "I like rain."), Sample(None, "And tea.")]
    packed = tmp_path / f"me{suffix}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match="--format text"):
        read_samples(packed)


def test_long_lines_take_no_time(tmp_path: Path) -> None:
    for text in ("a.b " * 100_000, "<" * 200_000, " " * 200_000 + "x", "{" * 1000 + "x" * 200_000, "12:34 " * 50_000):
        read_samples(write(tmp_path / "me.txt", f"I like rain.\n{text}\n{text}\nAnd tea."))
