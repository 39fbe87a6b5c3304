"""Every number of a run on pictures is checked at once, and everything random is a function of the seed."""

from __future__ import annotations

import pytest
import torch

from xpert.errors import SettingsError
from xpert.tuning import DiffusionSettings
from xpert.tuning.picture_batches import Choice, Crop, PicturePlan, crop_of, epoch_order


def test_all_faults_stand_in_one_error() -> None:
    with pytest.raises(SettingsError) as told:
        DiffusionSettings(rank=0, learning_rate=-1, method="dreambooth", color=1, target_modules=[])
    for words in (
        "rank: ",
        "learning_rate: ",
        "method: ",
        "color: no such setting; known are method",
        "needs at least",
    ):
        assert words in str(told.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_steps": 3, "epochs": 2}, "max_steps 3 and epochs 2 both say how long: give one"),
        ({"warmup_steps": 5}, "constant knows no warm-up, but warmup_steps is 5: use constant_with_warmup"),
        ({"validation_prompts": ("a", " ")}, "must hold no empty text"),
        ({"ema_decay": 1.0}, "ema_decay: .*less than 1, not 1.0"),
        ({"learning_rate": float("nan")}, "learning_rate: "),
    ],
)
def test_values_that_do_not_fit_name_rule_and_way_out(values: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        DiffusionSettings(**values)


def test_settings_are_frozen_and_their_digest_covers_what_shapes_the_weights() -> None:
    settings = DiffusionSettings()
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]
    assert settings.digest() == DiffusionSettings(save_every=3, validate_every=9, cache_latents_mib=1).digest()
    assert len({DiffusionSettings(**v).digest() for v in ({}, {"seed": 1}, {"batch_size": 2}, {"ema": True})}) == 4


def test_rates_and_steps_have_defaults_of_their_method() -> None:
    assert DiffusionSettings().rate == 1e-4 and DiffusionSettings(method="full").rate == 1e-5
    assert DiffusionSettings(learning_rate=0.5).rate == 0.5
    assert DiffusionSettings().steps(10) == 500 and DiffusionSettings(max_steps=7).steps(10) == 7
    assert DiffusionSettings(epochs=3, batch_size=2, accumulation_steps=2).steps(10) == 8
    assert DiffusionSettings(epochs=3, batch_size=2, accumulation_steps=2).steps(10, processes=2) == 4


def test_every_epoch_shows_every_picture_once_in_an_order_of_its_own() -> None:
    plan = PicturePlan(5, DiffusionSettings(epochs=3, batch_size=2, seed=4))
    seen = [choice.picture for choice in plan.choices()]
    assert [sorted(seen[i : i + 5]) for i in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert seen[:5] != seen[5:10] and seen[:5] == epoch_order(5, 4, 0)
    assert [plan.pictures_seen(steps) for steps in (0, 1, 2, 3)] == [0, 2, 4, 5]


def test_samples_do_not_depend_on_how_steps_are_cut() -> None:
    def positions(batch: int, parts: int, processes: int) -> list[list[int]]:
        settings = DiffusionSettings(batch_size=batch, accumulation_steps=parts, max_steps=3)
        plan = PicturePlan(5, settings, processes)
        return [
            sorted(p for part in range(parts) for i in range(processes) for p in plan.positions(step, part, i))
            for step in range(3)
        ]

    assert positions(8, 1, 1) == positions(1, 8, 1) == positions(2, 2, 2) == positions(1, 2, 4)
    assert positions(8, 1, 1)[1] == list(range(8, 16))


def test_draws_are_the_same_whenever_they_are_drawn() -> None:
    plain = PicturePlan(5, DiffusionSettings(seed=2))
    more = PicturePlan(5, DiffusionSettings(seed=2, noise_offset=0.1, input_perturbation=0.1, random_flip=True))
    torch.rand(3)
    first, again = plain.draws(7, (4, 2, 2), 1000), plain.draws(7, (4, 2, 2), 1000)
    assert torch.equal(first[1].noise, again[1].noise) and first[1].timestep == again[1].timestep
    richer = more.draws(7, (4, 2, 2), 1000)[1]
    assert torch.equal(richer.noise, first[1].noise) and first[1].offset is None and richer.offset is not None
    other = plain.draws(8, (4, 2, 2), 1000)[1]
    assert not torch.equal(other.noise, first[1].noise)
    assert 0.3 < sum(more.choice(p).flip for p in range(200)) / 200 < 0.7 and not plain.choice(0).flip


def test_crops_stay_within_the_picture_and_reach_its_edges() -> None:
    def crop(top: float, left: float, *, flip: bool = False, center: bool = False) -> Crop:
        return crop_of((300, 100), 50, Choice(0, top, left, flip, 0), center=center)

    assert crop(0.9, 0.0) == Crop(150, 50, 0, 0, False) and crop(0, 0.9999).left == 100
    assert crop(0.9, 0.9, center=True).left == 50
    assert crop(0, 0.1).corner == (0, 10) and crop(0, 0.1, flip=True).corner == (0, 90)
    assert crop_of((100, 300), 50, Choice(0, 0.999, 0.5, False, 0), center=False) == Crop(50, 150, 100, 0, False)
