"""What a model reads is what was asked, the same on any day; a stranger's template cannot hang, hide or change it."""

import json
import shutil
import time
from datetime import datetime
from pathlib import Path

import pytest

from xpert.errors import DamagedModelError, DataError, MismatchError
from xpert.export.prompts import prompt_template
from xpert.models import templates
from xpert.models.adapters import check_fit, inspect_adapter
from xpert.models.chats import chat_frame, render_chat, render_chats
from xpert.models.generation import special_tokens
from xpert.models.loading import load_model
from xpert.models.reference import ModelReference, tokenizer_digest
from xpert.summarizing.language import LanguageSummarizer
from xpert.testing.tiny import CHAT_TEMPLATE, tiny_adapter, tiny_base, tiny_tokenizer

PROMPT = '  What is <b>bread</b> & "butter"?\nTell me {{ all }}.  '
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASKS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
PARTS = (
    "{% for m in messages %}<|{{ m.role }}|>{% for part in m.content if part.type == 'text' %}{{ part.text }}"
    "{% endfor %}{% endfor %}<|assistant|>"
)


def with_template(template: object):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "prompt", "system", "wanted"),
    [
        (CHATML + ASKS, "Hi", "Be kind.", "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
         "<|im_start|>assistant\n"),
        # A template that never writes where an answer starts: as it writes it before an answer that is there.
        (CHATML, "Hi", None, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        # The system turn raises, vanishes, is changed: it stands in front of the prompt.
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML + ASKS, "Hi",
         "Be kind.", "<|im_start|>user\nBe kind.\n\nHi<|im_end|>\n<|im_start|>assistant\n"),
        ("{% for m in messages if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% endfor %}", "Hi", "Be kind.",
         "[INST] Be kind.\n\nHi [/INST]"),
        ("{% for m in messages %}{% if m.role == 'system' %}{{ m.content | upper }}{% else %}({{ m.content }})"
         "{% endif %}{% endfor %}", "Hi", "Be kind.", "(Be kind.\n\nHi)"),
        ("{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
         "{{ raise_exception('alternate') }}{% endif %}({{ m.content }}){% endfor %}", "Hi", "Be kind.",
         "(Be kind.\n\nHi)"),
        # Content as a list of parts, with a system turn and without.
        (PARTS, "Hi", "Be kind.", "<|system|>Be kind.<|user|>Hi<|assistant|>"),
        (PARTS, "Hi", None, "<|user|>Hi<|assistant|>"),
        # One that needs a system turn.
        ("{{ messages[0].content }}{% for m in messages[1:] %}({{ m.content }}){% endfor %}", "Hi", "Be kind.",
         "Be kind.(Hi)"),
        ("{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
         "{% for m in messages %}({{ m.content }}){% endfor %}", "Hi", None, "()(Hi)"),
        # Space is taken off, and nothing else.
        ("{% for m in messages %}({{ m.content | trim }}){% endfor %}", "  Hi <3 \n", None, "(Hi <3)"),
        # Two first tokens become one.
        ("{{ bos_token }}{{ bos_token }}({{ messages[0].content }})", "Hi", None, "<|bos|>(Hi)"),
        # Thinking is off, and a thought that is opened nevertheless is closed.
        ("({{ messages[0].content }}){% if enable_thinking is not defined or enable_thinking %}<think>{% else %}"
         "<think>\n\n</think>\n\n{% endif %}", "Hi", None, "(Hi)<think>\n\n</think>\n\n"),
        ("({{ messages[0].content }})<think>\n", "Hi", None, "(Hi)<think>\n</think>\n\n"),
        # Several templates: the default, or the only one for plain chats.
        ({"tool_use": "{{ tools[0] }}", "default": "({{ messages[0].content }})"}, "Hi", None, "(Hi)"),
        ({"tool_use": "{{ tools[0] }}", "chat": "({{ messages[0].content }})"}, "Hi", None, "(Hi)"),
        # No frame, but the prompt stands in it.
        ("{% for m in messages %}({{ m.content }}|{{ m.content | length }}){% endfor %}", "Hi", None, "(Hi|2)"),
        ("{% generation %}({{ messages[0].content }}){% endgeneration %}{% for x in [1, 2] %}{% break %}{% endfor %}",
         "Hi", None, "(Hi)"),
        ("{% set ns = namespace(a='(') %}{% set ns.a = ns.a + messages[0].content %}{{ ns.a }}){{ [1] | tojson }}",
         "Hi", None, "(Hi)[1]"),
    ],
)  # fmt: skip
def test_prompt_and_system_stand_in_what_is_read(
    template: object, prompt: str, system: str | None, wanted: str
) -> None:
    assert render_chat(with_template(template), prompt, system) == wanted


@pytest.mark.parametrize("template", [CHATML + ASKS, PARTS, CHAT_TEMPLATE, CHATML])
@pytest.mark.parametrize("system", [None, ' Be <kind> & "calm".\n'])
def test_nothing_of_a_prompt_is_changed(template: str, system: str | None) -> None:
    text = render_chat(with_template(template), PROMPT, system)
    assert text.count(PROMPT) == 1 and (system is None or text.count(system) == 1)
    assert render_chats(with_template(template), [PROMPT, "a"], system)[0] == text


def test_what_transformers_makes_is_what_is_read() -> None:
    tokenizer = tiny_tokenizer()
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": PROMPT}]
    for messages in (turns, turns[1:]):
        wanted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert render_chat(tokenizer, PROMPT, "Be kind." if len(messages) == 2 else None) == wanted


@pytest.mark.parametrize(
    "change",
    ["upper", "e", "tojson", "replace('e', 'i')", "truncate(40)", "wordwrap(20)", "title", "striptags", "first"],
)
def test_a_template_that_changes_prompts_is_refused(change: str) -> None:
    tokenizer = with_template("{% for m in messages %}({{ m.content | " + change + " }}){% endfor %}")
    with pytest.raises(DamagedModelError, match=r"not prefix \+ prompt \+ suffix: of .* it makes .* plainer"):
        render_chat(tokenizer, "Hi")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "does not come to an end"),
        ("{% for a in range(99999) %}{% for b in range(9999) %}word {% endfor %}{% endfor %}", "longer than"),
        ("{% for a in range(10**9) %}x{% endfor %}", "Range too big"),
        ("{{ 'a' * 10**10 }}", "too much memory"),
        ("{{ [1] * 10**10 }}", "too much memory"),
        ("{{ '%99999999999d' % 1 }}", "too much memory"),
        ("{{ 7 ** (7 ** 9) }}", "does not come to an end"),
        (
            "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
            "memory|an end",
        ),
        ("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "calls itself"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "calls itself"),
        ("{% for m in messages %}", "TemplateSyntaxError"),
        ("{{ unheard_of(messages) }}", "'unheard_of' is undefined"),
        ("{{ messages[0].a.b.c }}", "UndefinedError"),
        ("{% include 'other' %}", "TypeError|TemplateNotFound|no loader"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "SecurityError"),
        ("{{ raise_exception('not for you') }}", "not for you"),
        ("Hello.", "not prefix"),
        ({"tool_use": "a", "rag": "b"}, "several chat templates"),
        ("{{ '\\ud800' }}({{ messages[0].content }})", "half a character"),
        ("\ud83d({{ messages[0].content }})", "half a character"),
        ({"default": 5}, "several chat templates"),
        (7, "several chat templates"),
    ],
)
def test_a_template_that_cannot_be_used_is_an_error_at_once(template: object, why: str) -> None:
    render_chat(tiny_tokenizer(), "Hi")  # the process is there
    began = time.process_time(), time.perf_counter()
    with pytest.raises(DamagedModelError, match=why):
        render_chat(with_template(template), "Hi", None)
    assert time.process_time() - began[0] < 1 and time.perf_counter() - began[1] < 8
    assert render_chat(tiny_tokenizer(), "Hi").endswith("Hi<|end|><|assistant|>")


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize(("prompt", "system"), [("Hi \ud83d", None), ("\udcff", None), ("Hi", "be \udc00")])
def test_half_a_character_is_no_prompt(prompt: str, system: str | None, chat: bool) -> None:
    with pytest.raises(DataError, match=r"half a character \(U\+D.*as UTF-8"):
        render_chat(tiny_tokenizer(chat=chat), prompt, system)


def test_an_error_does_not_say_what_was_asked() -> None:
    secret = "{% if messages[0].content | length > 5000 %}{{ raise_exception(messages[0].content) }}{% endif %}"
    tokenizer = with_template(secret + "({{ messages[0].content }}|{{ messages[0].content | length }})")
    with pytest.raises(DamagedModelError) as told:
        render_chat(tokenizer, "my secret " * 600)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "dated",
    [
        "{{ strftime_now('%d %b %Y') }}",
        "{% if not day is defined %}{% set day = strftime_now('%Y-%m-%d') %}{% endif %}{{ day }}",
        "{{ strftime_now('%A %H:%M:%S %s %j') }}",
        "{{ [1, 2, 3, 4, 5, 6, 7, 8, 9] | random }}{{ lipsum(1) }}",
    ],
)
def test_a_text_is_the_same_on_any_day(dated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tmp_path)
    (base / "chat_template.jinja").write_text(f"[{dated}]" + CHATML + ASKS)
    seen = []
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        templates._WORKER_HERE.close()
        from xpert.models import chats

        chats._chat.cache_clear()
        loaded = load_model(ModelReference(str(base)), device="cpu")
        frozen = prompt_template(loaded.tokenizer, loaded.model.generation_config)
        text = render_chat(loaded.tokenizer, "Hi")
        assert text == frozen.prefix + "Hi" + frozen.suffix
        seen.append((text, LanguageSummarizer(loaded).identity))
    assert seen[0] == seen[1]
    assert f"{datetime.now():%Y-%m-%d}" not in seen[0][0]


def test_the_frame_of_a_device_is_the_one_here() -> None:
    for template in (CHATML, CHATML + ASKS, PARTS, "({{ messages[0].content | trim }})<think>"):
        tokenizer = with_template(template)
        frame = chat_frame(tokenizer)
        for prompt in ("Hi", PROMPT, ""):
            assert frame.around(prompt) == render_chat(tokenizer, prompt)
    with pytest.raises(DamagedModelError, match=r"not prefix \+ prompt \+ suffix"):
        chat_frame(with_template("({{ messages[0].content }}|{{ messages[0].content | length }})"))


def test_first_tokens_are_written_once() -> None:
    chat, plain = tiny_tokenizer(), tiny_tokenizer(chat=False)
    assert not special_tokens(chat) and special_tokens(plain)
    ids = chat(render_chat(chat, "Hi"), add_special_tokens=special_tokens(chat))["input_ids"]
    assert ids.count(chat.bos_token_id) == 1


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json"])
def test_another_template_is_another_tokenizer(place: str, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    own = tokenizer_digest(base)
    bare = tiny_base(tmp_path / "bare", chat=False)
    assert tokenizer_digest(bare) == own  # XPerT's own template and none add nothing to the digest of the words
    tiny_adapter(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "README.md").write_text(f"---\nxpert:\n  tokenizer_sha256: {own}\n---\n")
    facts = inspect_adapter(tmp_path / "adapter")
    check_fit(facts, base)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    if place.endswith(".jinja"):
        (other / place).write_text(CHATML)
    else:
        (other / "chat_template.jinja").unlink()
        stated = json.loads((other / place).read_text())
        (other / place).write_text(json.dumps({**stated, "chat_template": CHATML}))
    assert tokenizer_digest(other) != own
    with pytest.raises(MismatchError, match="was tuned with tokenizer"):
        check_fit(facts, other)
    (other / "tokenizer_config.json").write_text("{")
    with pytest.raises(DamagedModelError, match=r"tokenizer_config\.json"):
        tokenizer_digest(other)
