"""The benchmark of a left-out style knows the styles of the recipes, by their names in the embedded pool."""

from xpert.embedded import EMBEDDED_POOL
from xpert.pool import open_pool


def test_its_styles_are_those_of_the_embedded_pool(load) -> None:
    names = load("left_out").NAMES
    assert names["8"] == "expert-neutral-detailed"
    with open_pool(EMBEDDED_POOL, read_only=True) as pool:
        assert sorted(names.values()) == sorted(record.name for record in pool.list())
