"""From a backbone's name to two frozen encoders, built by open_clip.

Weights are random, from open_clip's cache, or from a file; nothing is downloaded.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
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
from barbench.models.towers.base import Backbone, VisionTower
from barbench.models.towers.clip import ClipText, ClipVision
from barbench.models.towers.eva import EvaVision, resize
from barbench.models.towers.layouts import to_open_clip
from barbench.models.towers.resnet import ResNetVision
from barbench.spec.backbone import (
    HEAD_WEIGHTS,
    MERGES,
    PRETRAINED,
    RANDOM,
    WEIGHTS,
    BackboneConfig,
    backbone_config,
    not_weights,
)

_scalar = np.int64(0).__reduce__()[0]  # numpy moved it between its versions; the value says where it is
_UNREADABLE = (RuntimeError, pickle.UnpicklingError, SafetensorError, EOFError, OSError, ValueError, StopIteration)
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
"""Keys under which training code keeps a state dict, the likeliest first."""
_NUMPY_SCALARS: list[Any] = [np.dtype, type(np.dtype(np.int64)), type(np.dtype(np.float64)), _scalar]
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
    if not config.convolutional:  # a ResNet resizes its positions in every forward pass
        model["vision_cfg"] = {**model["vision_cfg"], "image_size": size}
    custom = bool(model.pop("custom_text", False))
    source = None if weights == RANDOM else _locate(config, weights)
    if device != "meta" and weights != RANDOM:
        source = find_weights(config, weights)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        clip: Any = (CustomTextCLIP if custom else CLIP)(**model)
    if source is not None and device != "meta":
        _fill(clip, _read(source, config), source, antialias)
    rotary = hasattr(clip.visual, "trunk")
    if rotary:
        resize(clip.visual, size, antialias)  # after loading: timm builds it at its own size
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        vision = _vision(clip.visual, size)
    clip.eval().requires_grad_(False)
    text = ClipText(clip.text if custom else clip)
    head = config.folder / HEAD_WEIGHTS if config.folder else None
    found = head if head and head.is_file() else None
    return Backbone(name, weights, vision, text, size, _tokenizer(_merges(config.folder)), config.head, found)


def _vision(visual: Any, size: int) -> VisionTower:
    """The tower around open_clip's vision encoder; a ResNet's draws random weights."""
    if hasattr(visual, "trunk"):
        return EvaVision(visual)
    return ResNetVision(visual, size) if hasattr(visual, "attnpool") else ClipVision(visual)


def _merges(folder: Path | None) -> Path | None:
    """The folder's own byte-pair merges; None: CLIP's."""
    return folder / MERGES if folder is not None and (folder / MERGES).is_file() else None


@lru_cache
def _tokenizer(merges: Path | None) -> Callable[..., Tensor]:
    tokenizer: Callable[..., Tensor] = SimpleTokenizer(str(merges)) if merges else SimpleTokenizer()
    return tokenizer


def _locate(config: BackboneConfig, weights: str) -> Path | None:
    """The file that holds `weights`, whether it is there or not; None for a tag that open_clip's cache lacks."""
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
    return file


def find_weights(config: BackboneConfig, weights: str) -> Path:
    """The file that holds weights.

    Args:
        config: of the backbone.
        weights: as for `load_backbone`, other than random.

    Returns:
        A file that exists.

    Raises:
        UnknownName: if the backbone has no such weights.
        UsageError: if they are for another activation.
        MissingData: if they are not on this machine.
    """
    file = _locate(config, weights)
    if file is None or not file.is_file():
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
        try:
            file = Path.home() / ".cache" / "clip" / Path(url).name
        except RuntimeError:  # no home folder
            return None
        return file if file.is_file() else None
    return None


def _read(file: Path, config: BackboneConfig) -> dict[str, Tensor]:
    """Tensors by name from safetensors, a torch state dict (without running code), or OpenAI's TorchScript archive."""
    try:
        if reason := not_weights(file):
            raise DataError(f"{file} holds no weights: it is {reason}")
        state = _scripted(file) if _is_script(file) else _state_dict(file)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's text advises to run the file's code
            asked = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
            reason = f"it asks for {asked[1]}, and only tensors are read" if asked else "it is no plain state dict"
        raise DataError(f"cannot read weights from {file}: {reason}") from None
    if all(key in state for key in _JIT_EXTRAS) and not config.model.get("quick_gelu"):
        raise UsageError(f"{file} holds OpenAI's weights, which need QuickGELU; use {config.name}-quickgelu")
    return to_open_clip({name: value.float() for name, value in state.items() if name not in _JIT_EXTRAS})


def _state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, freed of what training code wraps around them; runs no code."""
    if file.suffix == ".safetensors":
        loaded: Any = load_state_dict(str(file))
    else:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    return unwrapped(loaded, file)


def unwrapped(loaded: Any, file: Path) -> dict[str, Tensor]:
    """The state dict in what a checkpoint holds: itself, under a usual key, or the only entry of a list.

    Args:
        loaded: what the file holds.
        file: for messages.

    Returns:
        Parameters by name, without a leading `module.`.

    Raises:
        DataError: for anything else; the message says what is there.
    """
    while not _is_state(loaded):
        if isinstance(loaded, list | tuple) and len(loaded) == 1:
            loaded = loaded[0]
            continue
        key = next((k for k in WRAPPERS if isinstance(loaded, dict) and isinstance(loaded.get(k), dict)), None)
        if key is None:
            held = f"the keys {', '.join(map(str, list(loaded)[:8]))}" if isinstance(loaded, dict) else "no dict"
            raise DataError(f"{file} holds {held}, and no tensors by name, alone or under {', '.join(WRAPPERS)}")
        loaded = loaded[key]
    names = list(loaded)
    prefix = "module." if names and all(name.startswith("module.") for name in names) else ""
    return {name.removeprefix(prefix): value for name, value in loaded.items()}


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


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
    except (RuntimeError, AttributeError) as error:
        raise DataError(f"the positions in {file} do not fit the backbone: {error}") from None
    if differences := _differences(state, clip.state_dict()):
        raise DataError(f"the weights in {file} do not fit the backbone: {'; '.join(differences)}")
    clip.load_state_dict(state)


def _differences(given: dict[str, Tensor], due: dict[str, Tensor]) -> list[str]:
    """How two sets of parameters differ in names and sizes, each kind with its number and its first."""
    absent, other = [n for n in due if n not in given], [n for n in given if n not in due]
    sizes = [n for n in due if n in given and due[n].shape != given[n].shape]
    found = [f"{len(absent)} parameters are absent, the first is {absent[0]}"] if absent else []
    found += [f"{len(other)} are not the backbone's, the first is {other[0]}"] if other else []
    if sizes:
        has, wants = tuple(given[sizes[0]].shape), tuple(due[sizes[0]].shape)
        found += [f"{len(sizes)} have another size, the first is {sizes[0]}: {has} instead of {wants}"]
    return found
