"""What an exported folder holds: names, shapes, digests, limits. The contract between the exporter and every runtime.

Knows JSON and files; nothing of torch or of any runtime. The fields are explained in docs/phones.md, for runtimes in
other languages too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from xpert.errors import DamagedModelError, MismatchError, MissingModelError
from xpert.models.reference import file_digest
from xpert.printing import printable_name
from xpert.sealing import KEY, OPEN, is_whole, seal

FORMAT = 2
"""Goes up with every change after which an older runtime would compute something else."""

MANIFEST = "manifest.json"
BASE = "base.safetensors"
GOLDEN = "golden.json"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"
ADAPTER = "adapter"
PACK_BELOW_BYTES = 2**28
"""Weights packed in advance are up to a twentieth faster and take one more copy of the base: only small ones are."""

GRAPHS = {
    "train": "train.onnx",
    "recompute": "train-recompute.onnx",
    "evaluate": "evaluate.onnx",
    "generate": "generate.onnx",
}
"""The second takes the very steps of the first in less memory and more time."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BaseFacts(_Part):
    """The frozen base.

    Attributes:
        name: for people; a hub name or the last part of a folder.
        family: `model_type` of transformers.
        sha256: digest of its weights and configuration.
        tokenizer_sha256: digest of its vocabulary.
        dtype: float32, or int8 with one scale a row.
        weight_error: with int8, length of all rounding errors / length of all weights; else 0.
        loss_error: with int8, how far the loss of English messages moved, in nats a token; else 0.
    """

    name: str
    family: str
    sha256: str
    tokenizer_sha256: str
    dtype: str
    weight_error: float
    loss_error: float


class Sizes(_Part):
    """What a runtime must know of the decoder: the cache is (b, pairs, p, head_width) for each of the blocks."""

    blocks: int
    pairs: int
    head_width: int
    vocabulary: int


class Parameter(_Part):
    """One matrix of the adapter: its name in peft's file, its shape, and its first place in the long vector."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


class AdapterFacts(_Part):
    """The adapter: rank and alpha as its configuration gives them, and its matrices in the order of the vector.

    `dropout_left_out` is the LoRA dropout of the tuning that a given adapter comes from; the graphs have none.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    dropout_left_out: float = 0.0

    @property
    def size(self) -> int:
        """P, numbers of the long vector."""
        return sum(parameter.size for parameter in self.parameters)


class Optimizer(_Part):
    """Constants of AdamW inside the training graph; everything else of it is an input."""

    beta1: float
    beta2: float
    epsilon: float


class Prompt(_Part):
    """From what was asked to the text that the model reads: prefix + prompt + suffix.

    Attributes:
        prefix: before the prompt.
        suffix: after it, up to where the answer starts.
        strip: whether white space around the prompt is taken off.
        empty: the whole text where nothing was asked.
        add_special_tokens: whether the tokenizer adds its own special tokens to that text.
        first: token that starts a text which would be empty otherwise; None: there is none.
        begin: token that stays in front where a prompt is cut; None: there is none.
        end: token that is learned as the end of an answer; None: there is none.
        stops: tokens that end a generated answer.
        pad: token that fills up.
    """

    prefix: str
    suffix: str
    strip: bool
    empty: str
    add_special_tokens: bool
    first: int | None
    begin: int | None
    end: int | None
    stops: tuple[int, ...]
    pad: int


class Memory(_Part):
    """What a training step needs, in bytes: fixed + b s token + b s^2 pair + m label, for m labelled tokens.

    Attributes:
        fixed_bytes: whatever the batch is.
        token_bytes: of each token.
        pair_bytes: of each pair of tokens of a sequence.
        label_bytes: of each labelled token.
        recompute_token_bytes: instead of `token_bytes`, where activations are computed again.
        recompute_pair_bytes: instead of `pair_bytes`, likewise.
    """

    fixed_bytes: int
    token_bytes: int
    pair_bytes: int
    label_bytes: int
    recompute_token_bytes: int
    recompute_pair_bytes: int

    def estimate(
        self, batch_size: int, length_tokens: int, labels: int | None = None, *, recompute: bool = False
    ) -> int:
        """Bytes of a step; without `labels`, every token may be one."""
        tokens = batch_size * length_tokens
        marked = tokens if labels is None else labels
        token, pair = self.token_bytes, self.pair_bytes
        if recompute:
            token, pair = self.recompute_token_bytes, self.recompute_pair_bytes
        return self.fixed_bytes + tokens * token + tokens * length_tokens * pair + marked * self.label_bytes


class FileFacts(_Part):
    """Size and SHA-256 of a file."""

    size_bytes: int
    sha256: str


class Manifest(_Part):
    """The whole of manifest.json.

    Attributes:
        format: of the folder; see `FORMAT`.
        opset: of the graphs.
        made_with: package -> version.
        base: the frozen base.
        sizes: of its decoder.
        adapter: the adapter that the graphs are written for.
        optimizer: constants of AdamW.
        prompt: the prompt template.
        length_tokens: longest sequence; the batch has no bound but memory.
        memory: what a step needs.
        files: path in the folder -> size and digest, of every file but this one.
        seal: SHA-256 of this file, see `xpert.sealing`; None: written before there were seals.
    """

    format: int
    opset: int
    made_with: dict[str, str]
    base: BaseFacts
    sizes: Sizes
    adapter: AdapterFacts
    optimizer: Optimizer
    prompt: Prompt
    length_tokens: int
    memory: Memory
    files: dict[str, FileFacts]
    seal: str | None = None


def read_manifest(folder: Path, *, verify: bool = True) -> Manifest:
    """The manifest of a folder, after a look at its files.

    Args:
        folder: what `xpert export` wrote.
        verify: compare the digest of every file too, not only its size.

    Raises:
        MissingModelError: no manifest, or a file that it names is not there.
        MismatchError: the folder has another format.
        DamagedModelError: the manifest cannot be read, or a file is not the one that was written.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise MissingModelError(f"{folder} holds no {MANIFEST}: give a folder that `xpert export` wrote")
    try:
        raw = json.loads(file.read_text("utf-8"))
        _check_format(raw, folder)
        manifest = Manifest.model_validate(raw)
        if not is_whole(file):
            raise ValueError("a byte of it changed since it was written")
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedModelError(f"{file} cannot be read ({reason}): export or download the folder again") from error
    for name, facts in manifest.files.items():
        _check_file(folder, name, facts, verify)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write manifest.json, sealed; the last file of a folder. Returns what was written."""
    told = manifest.model_dump(mode="json") | {KEY: OPEN}
    (folder / MANIFEST).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    seal(folder / MANIFEST)
    return Manifest.model_validate_json((folder / MANIFEST).read_text("utf-8"))


def check_file(folder: Path, name: str, manifest: Manifest) -> None:
    """See that one file of a folder is the one that was written; one that the manifest does not name is left alone.

    Raises:
        MissingModelError, DamagedModelError: it is not.
    """
    if (facts := manifest.files.get(name)) is not None:
        _check_file(folder, name, facts, True)


def _check_format(raw: Any, folder: Path) -> None:
    if not isinstance(raw, dict) or "format" not in raw:
        raise ValueError("it names no format")
    if raw["format"] != FORMAT:
        made = raw.get("made_with", {}).get("xpert", "unknown") if isinstance(raw.get("made_with"), dict) else "unknown"
        raise MismatchError(
            f"{folder} has format {raw['format']} (written by xpert {made}), this version reads format {FORMAT}: "
            "export the base again with this version, or use the version that wrote it"
        )


def _check_file(folder: Path, name: str, facts: FileFacts, verify: bool) -> None:
    path = folder / name
    if "\0" in name or folder.resolve() not in path.resolve().parents:
        raise DamagedModelError(
            f"{folder / MANIFEST} names {printable_name(name)!r}, which lies outside of the folder: export it again"
        )
    if not path.is_file():
        raise MissingModelError(f"{folder} lacks {name}: export or download the folder again")
    if path.stat().st_size != facts.size_bytes:
        raise DamagedModelError(
            f"{path} has {path.stat().st_size} bytes, {facts.size_bytes} were written: export or download it again"
        )
    if verify and (found := file_digest(path)) != facts.sha256:
        raise DamagedModelError(
            f"{path} is another file than was written (digest {found[:12]}…, the manifest says {facts.sha256[:12]}…): "
            "export or download it again"
        )
