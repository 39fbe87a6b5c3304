"""The nucleus is that of transformers' own warpers, whether the likeliest tokens hold it or not."""

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from xpert.models.sampling import NucleusSampling

IDS = torch.zeros((6, 1), dtype=torch.long)


def plain(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    scores = TemperatureLogitsWarper(temperature)(IDS, logits)
    return TopPLogitsWarper(top_p)(IDS, scores)


@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0, 6.0])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.8, 0.95), (1.0, 0.5), (0.1, 0.01), (2.5, 0.999)])
def test_the_same_tokens_are_kept_as_by_sorting_all(spread: float, temperature: float, top_p: float) -> None:
    logits = torch.randn((6, 3000), generator=torch.Generator().manual_seed(4)) * spread
    logits += torch.linspace(0, 1e-3, 3000)  # no two alike: among equal ones the order would decide
    ours, wanted = NucleusSampling(temperature, top_p, 64)(IDS, logits), plain(logits, temperature, top_p)
    apart = (ours.isfinite() != wanted.isfinite()).sum(-1)
    assert int(apart.max()) <= 1  # sums in another order may differ by the one token at the border
    both = ours.isfinite() & wanted.isfinite()
    assert torch.equal(ours[both], wanted[both])


def test_rows_with_narrow_and_wide_nuclei_stand_in_one_batch() -> None:
    logits = torch.zeros((6, 500))
    logits[:3, 7] = 50.0  # one sure token; the other rows are flat, far beyond the likeliest 16
    logits[3:] += torch.linspace(0, 0.1, 500)
    kept = NucleusSampling(1.0, 0.9, 16)(IDS, logits).isfinite().sum(-1).tolist()
    assert kept[:3] == [1, 1, 1]
    assert all(440 <= count <= 460 for count in kept[3:])


@pytest.mark.parametrize("vocabulary", [3, 16])
def test_a_vocabulary_smaller_than_the_first_look(vocabulary: int) -> None:
    logits = torch.randn((6, vocabulary), generator=torch.Generator().manual_seed(1))
    assert torch.equal(NucleusSampling(0.8, 0.95, 16)(IDS, logits), plain(logits, 0.8, 0.95))


def test_a_nucleus_of_everything_keeps_everything() -> None:
    logits = torch.randn((6, 300), generator=torch.Generator().manual_seed(2))
    assert torch.equal(NucleusSampling(0.5, 1.0, 16)(IDS, logits), logits / 0.5)


def test_the_same_seed_draws_the_same_tokens_as_the_plain_way() -> None:
    logits = torch.randn((6, 5000), generator=torch.Generator().manual_seed(9)) * 3
    ours, wanted = NucleusSampling(0.8, 0.95)(IDS, logits), plain(logits, 0.8, 0.95)
    for seed in range(50):
        torch.manual_seed(seed)
        one = torch.multinomial(ours.softmax(-1), 1)
        torch.manual_seed(seed)
        assert torch.equal(one, torch.multinomial(wanted.softmax(-1), 1))
