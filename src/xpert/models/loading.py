"""From a reference to a model in memory, ready to answer.

Knows transformers and peft; never sees personal data. Nothing is loaded before it was checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from xpert.errors import DamagedModelError, MissingModelError, ModelError, SettingsError
from xpert.models.adapters import check_fit, inspect_adapter
from xpert.models.attaching import attach
from xpert.models.base_files import check_base_files, check_loaded, misfit
from xpert.models.quantized import quantization
from xpert.models.reference import ModelReference, model_digest, resolve_folder, tokenizer_digest
from xpert.models.remote_code import refuse_code
from xpert.models.skeletons import skeleton
from xpert.models.token_tables import fit_tokenizer, fresh_generation_config, read_config
from xpert.models.whole_models import check_whole_fit, inspect_whole_model, is_whole_model
from xpert.printing import printable


@dataclass
class LoadedModel:
    """A causal LM in evaluation mode with its tokenizer (left padding) and the digests of its files."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    folder: Path
    digest: str
    tokenizer_digest: str


def choose_device(device: str = "auto") -> torch.device:
    """The device to run on: CUDA, then Apple's MPS, then the CPU, unless one is named.

    Raises:
        SettingsError: no such device here, or one that holds no numbers.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        if chosen.type == "meta":
            raise RuntimeError("the meta device holds no numbers")
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {device!r} is not available here: use cpu, cuda, mps or auto") from error
    return chosen


def choose_dtype(device: torch.device, dtype: torch.dtype | None = None) -> torch.dtype:
    """bf16 on CUDA, fp32 elsewhere (bf16 products are slow on most CPUs), unless one is named."""
    if dtype is not None:
        return dtype
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_model(
    reference: ModelReference,
    *,
    device: str = "auto",
    dtype: torch.dtype | None = None,
    like: LoadedModel | None = None,
) -> LoadedModel:
    """Load a causal LM, with its adapter where the reference names one.

    Args:
        reference: which.
        device: auto, cpu, cuda, ...
        dtype: of its weights; None: what suits the device.
        like: a model whose tokenizer this one has, so that it needs no tokenizer files.

    Raises:
        MissingModelError: no such model or adapter.
        DamagedModelError: a file cannot be read, lacks tensors of the model, holds NaN or needs code of its own.
        MismatchError: the adapter belongs to another base.
        SettingsError: no such device here.
    """
    folder = resolve_folder(reference.model, reference.revision)
    digest = model_digest(folder)
    refuse_code(folder)
    chosen = choose_device(device)
    if reference.adapter is not None:
        check_fit(inspect_adapter(Path(reference.adapter)), folder)
    check_base_files(folder)
    skeleton(folder)
    try:
        config = read_config(folder)
        tokenizer = like.tokenizer if like else _read_tokenizer(folder)
        read: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            generation_config=fresh_generation_config(folder, config),
            dtype=choose_dtype(chosen, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except ImportError as error:
        raise MissingModelError(
            f"model folder {folder} needs a package that is not installed ({printable(str(error), 300)}): install it, "
            "or give another base"
        ) from error
    except OSError as error:
        raise MissingModelError(f"model folder {folder} is not complete: {error}") from error
    except Exception as error:
        # Damage shows as many things here: SafetensorError, RuntimeError on shapes, JSON errors.
        if (how := quantization(folder)) is not None:
            raise ModelError(
                f"base {folder} is quantised ({printable(how, 60)}) and cannot be read on this machine "
                f"({printable(str(error), 300)}): give the base in bf16 or fp32"
            ) from error
        if "ignore_mismatched_sizes" in str(error):  # transformers' own text says how to go on with random numbers
            raise misfit(folder) from error
        raise DamagedModelError(f"model folder {folder} cannot be read ({error}): download it again") from error
    model, report = read
    check_weights(model, report["missing_keys"], folder)
    check_loaded(model, report, folder)
    if like is None:
        fit_tokenizer(tokenizer, model.get_input_embeddings().weight.shape[0], model.generation_config, folder)
        _check_tokenizer(tokenizer, folder)
    model = model.to(chosen).eval().requires_grad_(False)
    words = like.tokenizer_digest if like else tokenizer_digest(folder)
    loaded = LoadedModel(model, tokenizer, chosen, folder, digest, words)
    if reference.adapter is not None:
        loaded.model = attach(loaded.model, Path(reference.adapter)).eval()
    return loaded


def check_weights(model: Any, missing: Collection[str], folder: Path) -> None:
    """Refuse what transformers only warns of: tensors that it filled with random numbers, and NaN."""
    if missing:
        raise DamagedModelError(
            f"model folder {folder} lacks {len(missing)} tensors of its own configuration, the first "
            f"{min(missing)!r}: download it again"
        )
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise DamagedModelError(f"model folder {folder}: {name} holds NaN or infinite numbers: download it again")


def _read_tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)


def _check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer that reads no text: some are built of another model's files, and fail only then."""
    try:
        ids = tokenizer("A line, ünïcödé 语 🙂\n")["input_ids"]
        tokenizer.decode([*ids, *tokenizer.all_special_ids], skip_special_tokens=True)
    except Exception as error:  # the library raises plain Exception, and some classes call themselves for ever
        raise DamagedModelError(
            f"the tokenizer of {folder} reads no text ({printable(str(error), 200)}): its tokenizer_config.json is of "
            "another model; download it again"
        ) from error


@contextmanager
def adapted(loaded: LoadedModel, adapter: Path) -> Iterator[LoadedModel]:
    """The same base in memory with an adapter on; off again, and gone, at the end.

    Meanwhile `loaded` itself answers with the adapter too: it is the same memory.

    Raises:
        DamagedModelError, MissingModelError, MismatchError: as `load_model`.
        SettingsError: an adapter is on already.
    """
    if hasattr(loaded.model, "peft_config"):
        raise SettingsError(
            f"an adapter is on {loaded.folder} already, so {adapter} cannot be put on: load the base alone"
        )
    check_fit(inspect_adapter(adapter), loaded.folder)
    wrapped = attach(loaded.model, adapter).eval()
    try:
        yield LoadedModel(
            wrapped, loaded.tokenizer, loaded.device, loaded.folder, loaded.digest, loaded.tokenizer_digest
        )
    finally:
        loaded.model = wrapped.unload()


@contextmanager
def personalized(loaded: LoadedModel, folder: Path) -> Iterator[LoadedModel]:
    """A personalized model of a base in memory: the base with an adapter on, or a whole model loaded beside it.

    Raises:
        DamagedModelError, MissingModelError, MismatchError: it cannot be read, or is not one of this base.
    """
    if not is_whole_model(folder):
        with adapted(loaded, folder) as model:
            yield model
        return
    check_whole_fit(inspect_whole_model(folder), loaded.folder)
    yield load_model(ModelReference(str(folder)), device=str(loaded.device), dtype=loaded.model.dtype, like=loaded)
