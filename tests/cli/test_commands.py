"""Commands that are printed can be pasted into a shell."""

import shlex

from xpert.cli.commands import command_line


def test_what_was_given_is_there_and_quoted() -> None:
    said = command_line("image", "explain", "my model", base="a/b", pool=None, device="auto", samples=50, num_sample=8)
    assert said == "xpert image explain 'my model' --base a/b --num-sample 8"
    odd = "it's $HOME; rm -rf *"
    assert shlex.split(command_line("image", "merge", **{"for": odd}, out="merged", image_column="photo")) == [
        "xpert", "image", "merge", "--for", odd, "--out", "merged", "--image-column", "photo",
    ]  # fmt: skip
