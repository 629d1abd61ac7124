"""From a backbone's name to two frozen encoders, built by open_clip.

Weights are random, from open_clip's cache, or from a file; nothing is downloaded.
"""

import pickle
import warnings
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import try_to_load_from_cache
from open_clip.factory import load_state_dict
from open_clip.model import CLIP, CustomTextCLIP, convert_to_custom_text_state_dict, resize_pos_embed
from open_clip.tokenizer import SimpleTokenizer
from safetensors import SafetensorError
from torch import Tensor

from barbench.errors import DataError, MissingData, UnknownName, UsageError
from barbench.models.towers import embedded as _embedded  # noqa: F401  (registers its model with timm)
from barbench.models.towers.base import Backbone
from barbench.models.towers.clip import ClipText, ClipVision
from barbench.models.towers.configs import (
    HEAD_WEIGHTS,
    MERGES,
    PRETRAINED,
    RANDOM,
    WEIGHTS,
    BackboneConfig,
    backbone_config,
)
from barbench.models.towers.eva import EvaVision, resize

_UNREADABLE = (RuntimeError, pickle.UnpicklingError, SafetensorError, EOFError, OSError, ValueError, StopIteration)
_JIT_EXTRAS = ("input_resolution", "context_length", "vocab_size")


def load_backbone(
    name: str,
    weights: str | None = None,
    image_size: int | None = None,
    *,
    device: str = "cpu",
    seed: int = 0,
    antialias: bool = True,
) -> Backbone:
    """Build two frozen encoders, in fp32 and evaluation mode, with positions resized to the image size.

    Args:
        name: what `backbone_config` accepts.
        weights: `random`, `pretrained` (the folder's own), a tag of open_clip (from its cache only), or a file. None:
            the backbone's default.
        image_size: side of the square images in pixels; None: the backbone's default.
        device: `cpu`, or `meta` for shapes without values, where weights are never read.
        seed: of random weights.
        antialias: of the bicubic resizing of positions: on as in open_clip, off as in ETRIS.

    Returns:
        The encoders, their tokenizer and sizes.

    Raises:
        UnknownName: if there is no such backbone, or it has no such weights.
        UsageError: if backbone, weights and image size do not go together.
        MissingData: if the weights are not on this machine.
        DataError: if the weights cannot be read or do not fit.
    """
    config = backbone_config(name)
    weights = weights or config.default_weights()
    model = dict(config.model)
    size = config.image_size(image_size)
    model["vision_cfg"] = {**model["vision_cfg"], "image_size": size}
    custom = bool(model.pop("custom_text", False))
    source = None if weights == RANDOM else _locate(config, weights, check=device != "meta")
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        clip: Any = (CustomTextCLIP if custom else CLIP)(**model)
    if source is not None and device != "meta":
        _fill(clip, _read(source, config), source, antialias)
    rotary = hasattr(clip.visual, "trunk")
    if rotary:
        resize(clip.visual, size, antialias)  # after loading: timm builds it at its own size
    clip.eval().requires_grad_(False)
    vision = EvaVision(clip.visual) if rotary else ClipVision(clip.visual)
    text = ClipText(clip.text if custom else clip)
    head = config.folder / HEAD_WEIGHTS if config.folder else None
    found = head if head and head.is_file() else None
    return Backbone(name, weights, vision, text, size, _tokenizer(config.folder), config.head, found)


@lru_cache
def _tokenizer(folder: Path | None) -> Callable[..., Tensor]:
    """The folder's own byte-pair merges, or CLIP's."""
    merges = folder / MERGES if folder is not None else None
    own = merges is not None and merges.is_file()
    tokenizer: Callable[..., Tensor] = SimpleTokenizer(str(merges)) if own else SimpleTokenizer()
    return tokenizer


def _locate(config: BackboneConfig, weights: str, check: bool) -> Path | None:
    """The file that holds `weights`; without `check` it may be missing."""
    if Path(weights).is_file():
        return Path(weights)
    if config.folder is not None:
        if weights != PRETRAINED:
            raise UnknownName("weights", weights, [PRETRAINED, RANDOM])
        file: Path | None = config.folder / WEIGHTS
    else:
        tag = open_clip.get_pretrained_cfg(config.name, weights)
        if not tag:
            known = open_clip.list_pretrained_tags_by_model(config.name)
            raise UnknownName(f"weights of {config.name}", weights, [RANDOM, *known])
        quick = bool(config.model.get("quick_gelu"))
        if bool(tag.get("quick_gelu")) != quick:
            other = config.name.removesuffix("-quickgelu") if quick else f"{config.name}-quickgelu"
            raise UsageError(f"the {weights} weights need another activation than {config.name} has; use {other}")
        file = _cached(tag)
    if check and (file is None or not file.is_file()):
        where = f"{file} does not exist" if file else "open_clip's cache does not hold them"
        raise MissingData(
            f"{weights} weights of {config.name}: {where}. Give --weights random or a file, or fetch them where there "
            f"is a network: python -c \"import open_clip; open_clip.create_model('{config.name}', '{weights}')\""
        )
    return file


def _cached(tag: dict[str, Any]) -> Path | None:
    """A file of open_clip's pretrained `tag` from an earlier download."""
    if hub := tag.get("hf_hub"):
        repo, _, file = hub.rpartition("/")
        names = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
        for found in (try_to_load_from_cache(repo, name) for name in names):
            if isinstance(found, str):
                return Path(found)
    if url := tag.get("url"):
        file = Path.home() / ".cache" / "clip" / Path(url).name
        return file if file.is_file() else None
    return None


def _read(file: Path, config: BackboneConfig) -> dict[str, Tensor]:
    """Tensors by name from safetensors, a torch state dict (without running code), or OpenAI's TorchScript archive."""
    try:
        state: dict[str, Tensor] = _scripted(file) if _is_script(file) else load_state_dict(str(file))
    except _UNREADABLE as error:
        raise DataError(f"cannot read weights from {file}: {error}") from None
    if all(key in state for key in _JIT_EXTRAS) and not config.model.get("quick_gelu"):
        raise UsageError(f"{file} holds OpenAI's weights, which need QuickGELU; use {config.name}-quickgelu")
    return {name: value.float() for name, value in state.items() if name not in _JIT_EXTRAS}


def _is_script(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _scripted(file: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        archive: Any = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    return dict(archive.state_dict())


def _fill(clip: Any, state: dict[str, Tensor], file: Path, antialias: bool) -> None:
    """Load strictly after resizing the vision positions."""
    if isinstance(clip, CustomTextCLIP):
        state = convert_to_custom_text_state_dict(state)
    try:
        resize_pos_embed(state, clip, antialias=antialias)
        clip.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        raise DataError(f"the weights in {file} do not fit the backbone: {error}") from None
