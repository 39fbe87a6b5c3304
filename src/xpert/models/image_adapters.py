"""What personalizes a diffusion pipeline, on disk: LoRA matrices of its U-Net, or a whole U-Net.

Knows files, names and shapes; never unpickles, never imports what a file names. A LoRA adds (alpha / r) B A to the
weights of the layers it targets. LoRAs of text encoders, DoRA and other formats than diffusers' own are refused: they
could be neither merged nor compared as a difference of the U-Net.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from xpert.errors import DamagedModelError, MismatchError, MissingModelError
from xpert.models.cards import CARD, card_digest, card_facts, check_card
from xpert.models.headers import check_finite, read_header, strict_json
from xpert.models.image_lora import lora_layers, peft_facts, scaled_layers, stated_settings
from xpert.models.lora_settings import LoraSettings
from xpert.models.magnitudes import check_magnitudes, read_magnitudes
from xpert.models.pipelines import pipeline_digest
from xpert.models.reference import folder_digest
from xpert.models.sizes import check_sizes, check_total
from xpert.printing import printable

LORA_WEIGHTS = "pytorch_lora_weights.safetensors"
UNET_WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET_CONFIG = "config.json"
ImageAdapterKind = Literal["image-lora", "unet"]


@dataclass(frozen=True, slots=True)
class ImageAdapterFacts:
    """What the files of an image adapter say.

    Attributes:
        folder: where they lie.
        kind: "image-lora" or "unet".
        files: names of the files that make it; its digest covers their names and contents, not the card.
        digest: SHA-256 over those.
        rank: largest LoRA rank; 0 for a whole U-Net.
        scale: alpha / r of a LoRA's usual layers, 1 for a U-Net.
        target_modules: sorted last names of the adapted layers; empty for a U-Net.
        shapes: tensor name -> shape.
        size_bytes: bytes of the files and, where there is one, of the card.
        base_digest: `base_sha256` of the card, None where it has none.
        card: the card; beside the parts where the adapter is the U-Net of a pipeline. None: there is none.
        settings: ranks and alphas of single layers, as the file's metadata states them; None: the scale is `scale`.
    """

    folder: Path
    kind: ImageAdapterKind
    files: tuple[str, ...]
    digest: str
    rank: int
    scale: float
    target_modules: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    size_bytes: int
    base_digest: str | None
    card: Path | None = None
    settings: LoraSettings | None = None

    def scale_of(self, module: str) -> float:
        """What B A of one layer is multiplied by."""
        return self.scale if self.settings is None else self.settings.scale_of(module)

    @property
    def weights(self) -> Path:
        """The file of the tensors."""
        return self.folder / (LORA_WEIGHTS if self.kind == "image-lora" else UNET_WEIGHTS)


def is_image_adapter(folder: Path) -> bool:
    """Whether a folder holds something that personalizes a pipeline: a LoRA, a U-Net, or a pipeline around one."""
    return any((folder / name).is_file() for name in (LORA_WEIGHTS, UNET_WEIGHTS, f"unet/{UNET_WEIGHTS}"))


def image_adapter_digest(folder: Path) -> str:
    """The digest of what personalizes a pipeline in a folder, as `inspect_image_adapter` has it; checks nothing."""
    if (folder / LORA_WEIGHTS).is_file():
        return folder_digest(folder, (LORA_WEIGHTS,))
    whole = (folder / "unet" / UNET_WEIGHTS).is_file()
    return folder_digest(folder / "unet" if whole else folder, (UNET_CONFIG, UNET_WEIGHTS))


def inspect_image_adapter(folder: Path) -> ImageAdapterFacts:
    """Read the header, the configuration and the card of an image adapter, and look for NaN; loads no model.

    Of a whole pipeline, its U-Net is the adapter.

    Raises:
        MissingModelError: no such folder, or a file of it is missing or cannot be read.
        DamagedModelError: another format, a header that lies, NaN or infinite numbers.
    """
    try:
        return _inspect(folder)
    except OSError as error:
        raise MissingModelError(
            f"{folder} cannot be read ({error.strerror or error}): check path and rights"
        ) from error


def _inspect(folder: Path) -> ImageAdapterFacts:
    if not folder.is_dir():
        raise MissingModelError(f"no adapter folder {folder}: give the folder that `xpert image tune` wrote")
    cards = [folder / CARD]
    if (folder / "unet" / UNET_WEIGHTS).is_file():
        folder = folder / "unet"
        cards.append(folder / CARD)
    card = next((file for file in cards if file.is_file()), None)
    base_digest = None if card is None else card_digest(card_facts(card), "base_sha256")
    kind: ImageAdapterKind = "image-lora" if (folder / LORA_WEIGHTS).is_file() else "unet"
    files = (LORA_WEIGHTS,) if kind == "image-lora" else (UNET_CONFIG, UNET_WEIGHTS)
    for name in files:
        if not (folder / name).is_file():
            pickled = sorted(p.name for p in folder.glob("*.bin"))
            hint = f" (there is {', '.join(pickled)}, but unpickling runs code and is refused)" if pickled else ""
            raise MissingModelError(
                f"{folder} holds no {name}{hint}: give a folder with {LORA_WEIGHTS}, or one with {UNET_CONFIG} and "
                f"{UNET_WEIGHTS}, as diffusers writes them"
            )
    digest = folder_digest(folder, files)
    if card is not None:
        check_card(card, digest)
    entries = read_header(folder / files[-1])
    shapes = {entry.name: entry.shape for entry in entries}
    rank, scale, settings = 0, 1.0, None
    targets: tuple[str, ...] = ()
    if kind == "image-lora":
        layers = lora_layers(shapes, folder / files[-1])
        rank = max(a[0] for a, _ in layers.values())
        settings = stated_settings(folder / files[-1], layers)
        scale = 1.0 if settings is None else settings.alpha / settings.rank
        targets = tuple(sorted({_short(module) for module in layers}))
        check_magnitudes(
            folder / files[-1], read_magnitudes(folder / files[-1], entries), scaled_layers(shapes, settings)
        )
    else:
        check_finite(folder / files[-1], entries)
    return ImageAdapterFacts(
        folder=folder,
        kind=kind,
        files=files,
        digest=digest,
        rank=rank,
        scale=scale,
        target_modules=targets,
        shapes=shapes,
        size_bytes=sum(file.stat().st_size for file in (*(folder / name for name in files), card) if file is not None),
        base_digest=base_digest,
        card=card,
        settings=settings,
    )


def _short(module: str) -> str:
    """The part of a layer's name that people put into a list of targets: to_q, to_out.0, conv1."""
    parts = module.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


@lru_cache(maxsize=8)
def _unet_shapes(folder: Path, digest: str) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape of a base's U-Net, built on torch's meta device; remembered by the base's digest."""
    import torch
    from diffusers import UNet2DConditionModel

    config = strict_json((folder / UNET_CONFIG).read_bytes(), str(folder / UNET_CONFIG))
    stored = check_sizes(folder, config)
    try:
        with torch.device("meta"):
            unet: Any = UNet2DConditionModel.from_config(config)
    except Exception as error:  # a configuration breaks in many ways: ZeroDivisionError, IndexError, TypeError, ...
        raise DamagedModelError(
            f"no U-Net can be built from {folder / UNET_CONFIG} ({type(error).__name__}: "
            f"{printable(str(error), 300)}): download or save the pipeline again"
        ) from error
    if stored is not None:
        check_total(folder, sum(p.numel() for p in unet.parameters()), stored, "quantization_config" in config)
    return {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}


def check_image_fit(facts: ImageAdapterFacts, base_folder: Path) -> None:
    """Refuse an image adapter that does not belong to a pipeline.

    Compared are the digest of the base where the adapter's card has it, then the shapes of all tensors against the
    base's U-Net: A (r, in, ...) and B (out, r, ...) of every adapted layer, or every tensor of a whole U-Net. A whole
    U-Net's configuration must be the base's, too: much of it changes what is painted and no shape.

    Raises:
        MismatchError: the text names what differs.
        DamagedModelError: a configuration is no plain JSON.
    """
    digest = pipeline_digest(base_folder)
    if facts.base_digest is not None and facts.base_digest != digest:
        raise MismatchError(
            f"image adapter {facts.folder} was tuned on base {facts.base_digest[:12]}…, but {base_folder} is "
            f"{digest[:12]}…: give the pipeline that it was tuned on"
        )
    wanted = _unet_shapes(base_folder / "unet", digest)
    if facts.kind == "unet":
        _check_config(facts, base_folder)
    faults = _lora_faults(facts, wanted) if facts.kind == "image-lora" else _unet_faults(facts, wanted)
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise MismatchError(
            f"image adapter {facts.folder} does not fit base {base_folder}: {'; '.join(faults[:3])}{more}: give the "
            "pipeline that it was tuned on"
        )


def _check_config(facts: ImageAdapterFacts, base_folder: Path) -> None:
    """Compare configurations as diffusers reads them: what one leaves out has its default."""
    own, theirs = _unet_settings(facts.folder / UNET_CONFIG), _unet_settings(base_folder / "unet" / UNET_CONFIG)
    for key in sorted(own.keys() | theirs.keys()):
        if own.get(key) != theirs.get(key):
            raise MismatchError(
                f"image adapter {facts.folder} has {key} {str(own.get(key))[:60]} in its {UNET_CONFIG}, base "
                f"{base_folder} has {str(theirs.get(key))[:60]}: give the pipeline that it was tuned on"
            )


def _unet_settings(file: Path) -> dict[str, Any]:
    """What a U-Net's configuration sets, defaults filled in; keys that start with "_" tell where it comes from."""
    from diffusers import UNet2DConditionModel

    try:
        stated = strict_json(file.read_bytes(), str(file))
    except OSError as error:
        raise MissingModelError(f"{file} cannot be read ({error.strerror or error}): check path and rights") from error
    if "_use_default_values" in stated:
        raise DamagedModelError(f"{file} has _use_default_values, which hides what it sets: save the U-Net again")
    make: Any = UNet2DConditionModel.__init__
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.default is not parameter.empty
    }
    filled: dict[str, Any] = json.loads(json.dumps({**defaults, **stated}))  # tuples become lists, as in files
    return {key: value for key, value in filled.items() if not key.startswith("_")}


def _lora_faults(facts: ImageAdapterFacts, wanted: dict[str, tuple[int, ...]]) -> list[str]:
    faults = []
    for module, (a, b) in lora_layers(facts.shapes, facts.weights).items():
        weight = wanted.get(f"{module}.weight")
        if weight is None:
            faults.append(f"it has tensors for {module!r}, which is no layer of the U-Net")
        elif len(a) != len(weight) or len(b) != len(weight) or (a[1:], b[0], b[1]) != (weight[1:], weight[0], a[0]):
            faults.append(f"A and B of {module!r} have shapes {a} and {b}, its layer has {weight}")
    return faults


def _unet_faults(facts: ImageAdapterFacts, wanted: dict[str, tuple[int, ...]]) -> list[str]:
    faults = [f"it lacks {name!r}" for name in wanted if name not in facts.shapes]
    for name, shape in facts.shapes.items():
        if name not in wanted:
            faults.append(f"it has {name!r}, which the base does not have")
        elif wanted[name] != shape:
            faults.append(f"{name!r} has shape {shape}, the base has {wanted[name]}")
    return faults


def attach_image_adapter(pipeline: Any, facts: ImageAdapterFacts) -> None:
    """Put a checked adapter on a pipeline in memory: its LoRA matrices, or its U-Net in place of the base's.

    Raises:
        DamagedModelError: the files cannot be read.
    """
    from diffusers import UNet2DConditionModel

    try:
        if facts.kind == "image-lora":
            _load_lora(pipeline, facts)
        else:
            unet = UNet2DConditionModel.from_pretrained(
                str(facts.folder), dtype=pipeline.unet.dtype, use_safetensors=True, local_files_only=True
            )
            pipeline.register_modules(unet=unet.to(pipeline.unet.device))
    except Exception as error:  # each feature of peft and diffusers raises something else
        reason = printable(" ".join(str(error).split()), 300)
        raise DamagedModelError(
            f"image adapter {facts.folder} cannot be put on the pipeline ({type(error).__name__}: {reason}): save it "
            "again"
        ) from error


def _load_lora(pipeline: Any, facts: ImageAdapterFacts) -> None:
    """Load the matrices with ranks and alphas that were checked; nothing else that the file's metadata says counts."""
    state, _, _ = pipeline.lora_state_dict(str(facts.folder), weight_name=LORA_WEIGHTS, return_lora_metadata=True)
    ranks = {module: a[0] for module, (a, _) in lora_layers(facts.shapes, facts.weights).items()}
    own = facts.settings
    alphas = {module: float(rank) if own is None else own.alpha_of(module) for module, rank in ranks.items()}
    stated = peft_facts(ranks, alphas, 0.0 if own is None else own.dropout)
    pipeline.load_lora_into_unet(
        state,
        network_alphas=None,
        unet=pipeline.unet,
        adapter_name="personal",
        metadata={f"unet.{key}": value for key, value in stated.items()},
        _pipeline=pipeline,
    )
