"""`xpert merge` and wishes as a person uses them: on a tiny base, offline."""

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from xpert.pool import open_pool
from xpert.records import PoolRecord
from xpert.testing.tiny_family import tiny_tuned


def records(pool: Path) -> list[PoolRecord]:
    with open_pool(pool, read_only=True) as opened:
        return opened.list()


def wish_for(pool: Path, *names: str) -> str:
    """Three times the words that some models of the pool have together: they have little of any."""
    found = [record.explanation for record in records(pool) if record.name in names]
    total = [3 * sum(e.words[k].coefficient for e in found if e) for k in range(2)]
    return f"formal={total[0]:.3f},poetic={total[1]:.3f}"


def test_given_weights_make_a_plain_adapter_that_is_explained(world: Any, run: Any, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    done = run("merge", "calm=0.5", "loud=0.25", "--pool", world.pool, "--out", out, "--json")
    assert done.code == 0, done.err + done.out
    told = done.document
    assert (told["kind"], told["weights"], told["error"]) == ("lora", {"calm": 0.5, "loud": 0.25}, 0.0)
    assert set(told["predicted"]) == {word["word"] for word in told["measured"]["words"]} == {"formal", "poetic"}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.base), out)
    asked = torch.tensor([[1, 2, 3]])
    merged = model(asked).logits
    with model.disable_adapter():
        assert not torch.equal(model(asked).logits, merged)
    assert run("explain", out, "--pool", world.pool).code == 0
    tuned = run("tune", world.data, "--from", out, "--base", world.base, "--out", tmp_path / "on", "--max-steps", "1")
    assert tuned.code == 0, tuned.err
    card = (tmp_path / "on" / "README.md").read_text("utf-8")
    assert ", a merge: 0.50 `" in card and "merged_from:" in card
    shown = run("merge", "calm=0.5", "loud=0.25", "--pool", world.pool, "--out", tmp_path / "again")
    assert "0.50 calm + 0.25 loud" in shown.out and "predicted" in shown.out and "measured" in shown.out


def test_a_lower_rank_says_what_it_costs(world: Any, run: Any, tmp_path: Path) -> None:
    line = ("merge", "calm=0.5", f"{world.adapters[2]}=0.5", "--pool", world.pool, "--rank", "1", "--no-explain")
    done = run(*line, "--out", tmp_path / "small", "--json")
    assert done.code == 0, done.err
    assert done.document["rank"] == 1 and 0 < done.document["error"] < 1
    assert done.document["measured"] is None
    assert {t.shape[0] for n, t in load_file(tmp_path / "small/adapter_model.safetensors").items() if "_A" in n} == {1}
    assert "of their length" in run(*line, "--out", tmp_path / "shown").out


def test_a_wish_needs_no_data_and_no_model(world: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpert.opening.open_explainer", None)
    done = run("select", "--want", wish_for(world.pool, "calm", "loud"), "--pool", world.pool, "--json")
    assert done.code == 0, done.err
    assert done.document["reference"] == "none" and done.document["person"]["digests"]["prompts"] == "wish"
    assert done.document["merge"]["weights"] and done.document["merge"]["gain"] > 0
    told = run("select", "--want", "formal=0.8,poetic", "--pool", world.pool, "--json").document["person"]["words"]
    assert {word["word"]: round(word["coefficient"], 6) for word in told} == {"formal": 0.8, "poetic": 1.0}
    shown = run("select", "--want", wish_for(world.pool, "calm", "loud"), "--pool", world.pool)
    assert "nearest:" in shown.out and "wished" in shown.out


def test_merging_for_a_wish_and_for_a_person(world: Any, run: Any, tmp_path: Path) -> None:
    wish = wish_for(world.pool, "calm", "loud")
    done = run("merge", "--want", wish, "--pool", world.pool, "--out", tmp_path / "wished", "--rounds", "1", "--json")
    assert done.code == 0, done.err + done.out
    assert done.document["plan"]["weights"] == done.document["weights"]
    line = ("merge", "--for", world.data, "--with", "loud=0.5", "--without", "calm", "--pool", world.pool, "--json")
    without = run(*line, "--out", tmp_path / "mine")
    assert without.code == 0, without.err + without.out
    assert without.document["weights"] == {"loud": 0.5} and without.document["distance"] > 0
    assert run(*line, "--no-explain", "--out", tmp_path / "plain").document["distance"] is None


def test_two_folders_of_one_name_are_two_parents(world: Any, run: Any, tmp_path: Path) -> None:
    for place, adapter in zip(("a", "b"), world.adapters[1:], strict=True):
        shutil.copytree(adapter, tmp_path / place / "x")
    parents = (f"{tmp_path / 'a' / 'x'}=0.5", f"{tmp_path / 'b' / 'x'}=0.25")
    done = run("merge", *parents, "--base", world.base, "--pool", world.pool, "--out", tmp_path / "both", "--json")
    assert done.code == 0, done.err
    assert done.document["weights"] == {"x": 0.5, "x-2": 0.25}
    model = json.loads((tmp_path / "both" / "adapter_config.json").read_text())
    assert model["base_model_name_or_path"] == world.base.name
    assert str(world.base) not in (tmp_path / "both" / "README.md").read_text()


def test_given_weights_may_take_a_style_away(world: Any, run: Any, tmp_path: Path) -> None:
    done = run("merge", "calm=0.5", "loud=-0.25", "--pool", world.pool, "--out", tmp_path / "less", "--json")
    assert done.code == 0, done.err
    assert done.document["weights"] == {"calm": 0.5, "loud": -0.25} and done.document["predicted"]


def test_a_merge_whose_explanation_is_interrupted_is_gone(
    world: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("merge", "calm=0.5", "loud=0.25", "--pool", world.pool, "--out", tmp_path / "out", "--json")

    def interrupt(*_: Any, **__: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("xpert.explainer.Explainer.explain_adapter", interrupt)
        assert run(*line).code == 130
    assert not list(tmp_path.iterdir())
    assert run(*line).code == 0


def test_a_model_that_takes_no_part_is_not_chosen_and_the_command_says_so(world: Any, run: Any, tmp_path: Path) -> None:
    line = ("select", "--want", wish_for(world.pool, "loud"), "--without", "loud", "--most", "3", "--pool", world.pool)
    done = run(*line, "--json")
    assert {ranked["name"] for ranked in done.document["ranking"]} == {"calm"}
    own_pool = Path(shutil.copytree(world.pool, tmp_path / "pool"))
    added = run("pool", "add", world.adapters[2], "--name", "third", "--pool", own_pool)
    assert added.code == 0, added.err
    wanted = ("--with", "calm", "--with", "third=0.5", "--without", "loud", "--most", "2")
    shown = run("select", "--want", wish_for(own_pool, "loud"), *wanted, "--pool", own_pool)
    command = " ".join(shown.out.split()).partition("xpert merge ")[2]
    for option in ("--with calm", "--with third=0.5", "--without loud", "--most 2"):
        assert option in command, shown.out


def test_a_persons_word_may_be_wished_away(world: Any, run: Any, tmp_path: Path) -> None:
    """0 alone leaves the base, and is refused; moved to from a person's own point it is a wish."""
    alone = run("merge", "--want", "formal=0", "--pool", world.pool, "--out", tmp_path / "alone")
    assert alone.code == 2 and "cancel each other" in alone.err
    line = ("--want", "formal=0", "--with", "calm=0.5", "--pool", world.pool, "--json")
    done = run("merge", "--for", world.data, *line, "--no-explain", "--out", tmp_path / "mine")
    assert done.code == 0, done.err
    assert done.document["weights"]["calm"] == 0.5
    wrong = ("merge", "--for", world.data, "--want", "purple", "--pool", world.pool, "--out", tmp_path / "x")
    assert "no word 'purple'" in run(*wrong).err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("merge", "--out", "x"), 2, "give models with weights"),
        (("merge", "calm", "--out", "x"), 2, "write NAME=WEIGHT"),
        (("merge", "calm=1", "--want", "formal", "--out", "x"), 2, "give models with weights"),
        (("merge", "calm=1", "--most", "2", "--out", "x"), 2, "--most would do nothing"),
        (("merge", "calm=1", "--without", "loud", "--out", "x"), 2, "--without would do nothing"),
        (("merge", "nobody=1", "--out", "x"), 6, "no pLLM named 'nobody'"),
        (("merge", "calm=90", "--out", "x"), 2, "out of range"),
        (("merge", "--want", "formal=x", "--out", "x"), 2, "is no wish"),
        (("merge", "--want", "purple", "--out", "x"), 2, "no word 'purple': choose from formal, poetic"),
        (("merge", "--want", "formal", "--without", "nobody", "--out", "x"), 2, "no model 'nobody'"),
        (("merge", "--want", "formal", "--base", "b", "--out", "x"), 2, "--base would do nothing"),
        (("merge", "calm=1", "--method", "ties", "--out", "x"), 2, "give --density, such as 0.5"),
        (("merge", "calm=1", "--density", "0.5", "--out", "x"), 2, "has no density"),
        (("merge", "calm=1", "--seed", "3", "--out", "x"), 2, "--seed would do nothing"),
        (("merge", "calm=1", "--samples", "3", "--out", "x"), 2, "--samples would do nothing"),
        (("merge", "--want", "formal", "--no-explain", "--rounds", "1", "--out", "x"), 2, "--rounds would do nothing"),
        (("select",), 2, "nothing to select for"),
        (("select", "--want", "formal,formal=1"), 2, "twice"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(
    world: Any,
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, "--pool", world.pool)
    assert done.code == code, done.err
    assert said in " ".join(done.err.split())
    assert not list(tmp_path.iterdir())


def test_a_whole_model_among_the_parents_makes_one_that_is_explained(world: Any, run: Any, tmp_path: Path) -> None:
    tuned = tiny_tuned(world.base, tmp_path / "tuned", seed=7)
    done = run("merge", f"{tuned}=0.5", "calm=0.25", "--pool", world.pool, "--out", tmp_path / "whole", "--json")
    assert done.code == 0, done.err + done.out
    assert (done.document["kind"], done.document["rank"], done.document["predicted"]) == ("model", 0, None)
    assert len(done.document["measured"]["words"]) == 2
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "whole").config.model_type == "llama"
    again = run("explain", tmp_path / "whole", "--pool", world.pool, "--json")
    assert again.document["kind"] == "adapter"
    assert again.document["explanation"]["words"] == done.document["measured"]["words"]
    for name in ("tokenizer.json", "tokenizer_config.json", "README.md"):
        (tmp_path / "whole" / name).unlink()
    bare = run("explain", tmp_path / "whole", "--pool", world.pool, "--json")
    assert bare.document["explanation"]["words"] == done.document["measured"]["words"]
