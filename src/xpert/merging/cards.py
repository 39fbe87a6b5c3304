"""What a merge wrote: for programs a record, for people and pools a model card. Knows names, numbers and digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import ModelCardData

from xpert.merging.methods import METHODS, Recipe

Kind = Literal["lora", "model", "image-lora", "unet"]

_LIBRARIES = {
    "lora": ("peft", "text-generation", "lora", "A LoRA adapter"),
    "model": ("transformers", "text-generation", "full-weights", "A whole model"),
    "image-lora": ("diffusers", "text-to-image", "lora", "A LoRA"),
    "unet": ("diffusers", "text-to-image", "unet", "A U-Net"),
}
"""Kind -> library, task, tag, and what people call it."""


@dataclass(frozen=True)
class Merged:
    """What a merge wrote.

    Attributes:
        out: its folder.
        kind: "lora" or "model"; of a pipeline, "image-lora" or "unet".
        rank: of the LoRA; 0 for whole weights.
        weights: parent -> weight.
        digests: parent -> digest of its content.
        recipe: how it was merged.
        error: relative distance of a LoRA from the merged differences; 0 where it is their exact sum.
    """

    out: Path
    kind: Kind
    rank: int
    weights: dict[str, float]
    digests: dict[str, str]
    recipe: Recipe
    error: float = 0.0


def merged_card(merged: Merged, base_name: str, base_digests: Mapping[str, str]) -> str:
    """The text of README.md.

    Args:
        merged: what was written.
        base_name: how people call the base.
        base_digests: "base_sha256" and, for texts, "tokenizer_sha256".
    """
    library, task, tag, what = _LIBRARIES[merged.kind]
    method = METHODS[merged.recipe.method]
    numbers = _numbers(merged)
    data = ModelCardData(
        base_model=base_name,
        library_name=library,
        pipeline_tag=task,
        tags=[tag, "xpert", "merged"],
        xpert={
            **base_digests,
            "method": method.name,
            **numbers,
            "parents": [merged.digests[parent] for parent in merged.weights],
            "weights": list(merged.weights.values()),
        },
    )
    rows = "\n".join(f"| {p} | {weight:g} | `{merged.digests[p][:12]}` |" for p, weight in merged.weights.items())
    settings = "".join(f"| {name.replace('_', ' ')} | {value} |\n" for name, value in numbers.items())
    return f"""---
{data.to_yaml()}
---

# {merged.out.name}

{what} of `{base_name}`, merged with XPerT from {len(merged.weights)} personalized models of it.

| parent | weight | digest |
|---|---|---|
{rows}

| | |
|---|---|
| method | {method.name}: {method.sentence} |
| paper | {method.paper} |
{settings}{_how_to_open(merged, base_name)}"""


def _numbers(merged: Merged) -> dict[str, object]:
    """What the method was told, and how far the result is from it."""
    told = METHODS[merged.recipe.method].parameters
    numbers: dict[str, object] = {}
    if "density" in told:
        numbers["density"] = merged.recipe.density
    if "mean" in told:
        numbers["mean"] = merged.recipe.mean
    if "masks" in told:
        numbers["seed"] = merged.recipe.seed
    if merged.rank:
        numbers |= {"rank": merged.rank, "relative_error": float(f"{merged.error:.4g}")}
    return numbers


def _how_to_open(merged: Merged, base_name: str) -> str:
    if merged.kind == "lora":
        code = (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{base_name}")\n'
            'model = PeftModel.from_pretrained(base, "path/to/this/folder")'
        )
    elif merged.kind == "model":
        code = (
            "from transformers import AutoModelForCausalLM\n\n"
            'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")'
        )
    else:
        return ""
    return f"\n## How to open it\n\n```python\n{code}\n```\n"
