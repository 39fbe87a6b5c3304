"""The people that come with the package are known by name; of any other the error says who there is."""

import pytest

from xpert.data import sample_person
from xpert.embedded import people
from xpert.errors import SettingsError
from xpert.evaluation.demo import run_demo


@pytest.mark.parametrize("name", sorted(people()))
def test_a_sample_person_is_known_by_name(name: str) -> None:
    assert sample_person(name) == name
    assert sample_person(name, mark="@") == name


@pytest.mark.parametrize("name", ["nobody", "Wen", "@wen", ""])
def test_anyone_else_is_told_who_there_is(name: str) -> None:
    known = sorted(people())
    with pytest.raises(SettingsError) as told:
        sample_person(name)
    assert str(told.value) == f"no sample person '{name}': choose from {', '.join(known)}"
    with pytest.raises(SettingsError) as told:
        sample_person(name, mark="@")
    assert str(told.value) == f"no sample person '@{name}': choose from {', '.join('@' + n for n in known)}"


def test_the_demo_asks_the_same() -> None:
    with pytest.raises(SettingsError, match="no sample person 'nobody': choose from mia, noor, viktor, wen$"):
        run_demo("nobody")
