"""Finds and reads files of pretrained weights: safetensors, torch state dicts, and OpenAI's TorchScript archives."""

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import open_clip
import timm
import torch
from huggingface_hub import try_to_load_from_cache
from open_clip.factory import load_state_dict
from safetensors import SafetensorError
from torch import Tensor

from barbench.errors import DataError, MissingData, UnknownName, UsageError
from barbench.models.names import TowerName
from barbench.models.towers.builder import State
from barbench.spec.backbone import (
    PRETRAINED,
    RANDOM,
    WEIGHTS,
    BackboneConfig,
    backbone_config,
    check_weights,
    split_weights,
)
from barbench.spec.weights import not_weights, shards, weights_file

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
"""Keys under which training code keeps a state dict, the likeliest first."""
INSERTED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What wrappers of torch put into the names of the parameters that they hold."""
PREFIXES = ("module.", "model.", "clip.", "clip_model.")
"""What DataParallel, Lightning, and models that hold a CLIP put in front of all names."""
_UNREADABLE = (RuntimeError, pickle.UnpicklingError, SafetensorError, EOFError, OSError, ValueError, StopIteration)
# numpy's scalars may be loaded beside tensors. numpy moved their constructor between its versions: asked of a value.
_scalar = np.int64(0).__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [np.dtype, type(np.dtype(np.int64)), type(np.dtype(np.float64)), _scalar]
# Entries of OpenAI's archives that are no weights.
_JIT_EXTRAS = ("input_resolution", "context_length", "vocab_size")


class Source(NamedTuple):
    """Weights of one model of a backbone.

    Attributes:
        part: `vision` or `text` of a pair of models; None: both encoders are of one model.
        config: the backbone whose tags there are, and whose activation they must be for.
        weights: random, a tag, a file, or `pretrained`.
    """

    part: TowerName | None
    config: BackboneConfig
    weights: str


def sources(config: BackboneConfig, weights: str) -> list[Source]:
    """The weights of each model of a backbone; arguments as for `load_backbone`."""
    if config.pair is None:
        return [Source(None, config, weights)]
    vision, text = split_weights(weights, config)
    return [Source("vision", config, vision), Source("text", backbone_config(config.pair[1]), text)]


def locate_weights(source: Source) -> Path | None:
    """Find the file of some weights.

    Args:
        source: other than random.

    Returns:
        The file, whether it exists or not; None for a tag of open_clip or timm that the cache does not hold.

    Raises:
        UnknownName: if the backbone has no such weights.
        UsageError: if they are for another activation, or a file that holds none.
    """
    part, config, weights = source
    if config.folder is not None and weights == PRETRAINED:
        return config.folder / WEIGHTS
    file = weights_file(weights)
    if file is not None:
        check_weights(weights, None if part == "vision" else config)
        return file
    if part == "vision":
        check_weights(weights)  # a file that does not exist
        return _cached_by_timm(config, weights)
    if config.folder is not None:
        raise UnknownName("weights", weights, [PRETRAINED, RANDOM])
    # open_clip's tags may name a mean and deviation of their own; barbench takes those of the backbone's configuration.
    tag = open_clip.get_pretrained_cfg(config.name, weights)
    if not tag:
        known = open_clip.list_pretrained_tags_by_model(config.name)
        raise UnknownName(f"weights of {config.name}", weights, [RANDOM, *known])
    quick = bool(config.model.get("quick_gelu"))
    if bool(tag.get("quick_gelu")) != quick:
        other = config.name.removesuffix("-quickgelu") if quick else f"{config.name}-quickgelu"
        raise UsageError(f"the {weights} weights need another activation than {config.name} has; use {other}")
    return _cached(tag)


def find_weights(source: Source) -> Path | None:
    """The file that holds weights.

    Args:
        source: which weights.

    Returns:
        A file that exists; None for random weights.

    Raises:
        UnknownName: if the backbone has no such weights.
        UsageError: if they are for another activation.
        MissingData: if they are not on this machine.
    """
    if source.weights == RANDOM:
        return None
    file = locate_weights(source)
    # How they can be fetched, where there is a network.
    if file is None or not file.is_file():
        part, config, weights = source
        library = "open_clip"
        fetch = f"import open_clip; open_clip.create_model('{config.name}', '{weights}')"
        if part == "vision":
            library = "timm"
            fetch = f"import timm; timm.create_model('{_timm_tag(config, weights)}', pretrained=True)"
        where = f"{file} does not exist" if file else f"{library}'s cache does not hold them"
        raise MissingData(
            f"{weights} weights of {config.name}: {where}. Give --weights random or a file, or fetch them where there "
            f'is a network: python -c "{fetch}"'
        )
    return file


def _timm_tag(config: BackboneConfig, weights: str) -> str:
    return f"{config.model['vision_cfg']['timm_model_name']}.{weights}"


def _cached_by_timm(config: BackboneConfig, weights: str) -> Path | None:
    """A file of timm's pretrained tag from an earlier download; UnknownName for a tag that timm does not have."""
    name = config.model["vision_cfg"]["timm_model_name"]
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
    if weights not in tags:
        raise UnknownName(f"weights of {name}", weights, [RANDOM, *tags])
    # timm's own repositories are named like the tags.
    found = try_to_load_from_cache(f"timm/{_timm_tag(config, weights)}", "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _cached(tag: dict[str, Any]) -> Path | None:
    """A file of open_clip's pretrained `tag` from an earlier download."""
    # In the cache of the Hugging Face Hub, else where OpenAI's own code puts them.
    if hub := tag.get("hf_hub"):
        repository, _, file_name = hub.rpartition("/")
        names = [file_name] if file_name else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
        for name in names:
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str):
                return Path(found)
    if url := tag.get("url"):
        try:
            file = Path.home() / ".cache" / "clip" / Path(url).name
        except RuntimeError:  # no home folder
            return None
        return file if file.is_file() else None
    return None


def read_weights(file: Path, config: BackboneConfig) -> State:
    """Read weights; runs no code from a torch file.

    Args:
        file: of the weights, or the index of their shards.
        config: of the backbone.

    Returns:
        Tensors in fp32, under the names of the file.

    Raises:
        DataError: if the file cannot be read.
        MissingData: if a shard is absent.
        UsageError: for OpenAI's weights on a backbone without QuickGELU.
    """
    state: State = {}
    for shard in shards(file):
        try:
            if reason := not_weights(shard):
                raise DataError(f"{shard} holds no weights: it is {reason}")
            state |= _scripted(shard) if _is_script(shard) else _state_dict(shard)
        except _UNREADABLE as error:
            raise DataError(f"cannot read weights from {shard}: {_reason(error)}") from None
    # OpenAI's archives are known by entries that are no weights.
    if all(key in state for key in _JIT_EXTRAS) and not config.model.get("quick_gelu"):
        raise UsageError(f"{file} holds OpenAI's weights, which need QuickGELU; use {config.name}-quickgelu")
    return {name: value.float() for name, value in state.items() if name not in _JIT_EXTRAS}


def _reason(error: BaseException) -> str:
    """Why a file cannot be read, in one line."""
    if isinstance(error, pickle.UnpicklingError):  # torch's text advises to run the file's code
        asked = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
        return f"it asks for {asked[1]}, and only tensors are read" if asked else "it is no plain state dict"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _state_dict(file: Path) -> State:
    """The tensors of a safetensors or torch file, without what training code wraps around them; runs no code."""
    if file.suffix == ".safetensors":
        loaded: object = load_state_dict(str(file))
    else:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    return _unwrapped(loaded, file)


def _unwrapped(loaded: object, file: Path) -> State:
    """The state dict in what a checkpoint holds: itself, under a usual key, or the only entry of a list.

    What wrappers of a module put into names is dropped. DataError, which says what the file holds, for anything else.
    """
    # Training code wraps a state dict once or several times.
    while not _is_state(loaded):
        if isinstance(loaded, list | tuple) and len(loaded) == 1:
            loaded = loaded[0]
            continue
        if not isinstance(loaded, dict):
            raise DataError(f"{file} holds no dict, and no tensors by name, alone or under {', '.join(WRAPPERS)}")
        inside = [loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict)]
        if not inside:
            held = f"the keys {', '.join(map(str, list(loaded)[:8]))}"
            raise DataError(f"{file} holds {held}, and no tensors by name, alone or under {', '.join(WRAPPERS)}")
        loaded = inside[0]
    return _without_prefixes({_without_wrappers(name): value for name, value in loaded.items()})


def _without_wrappers(name: str) -> str:
    """A name without what torch.compile, FSDP and activation checkpointing put into it, wherever they wrapped."""
    return ".".join(part for part in name.split(".") if part not in INSERTED)


def _without_prefixes(state: State) -> State:
    """The tensors without what all names begin with where the model was a part of another module."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_prefixes({name.removeprefix(prefix): value for name, value in state.items()})
    return state


def _is_state(value: object) -> TypeGuard[State]:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _is_script(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _scripted(file: Path) -> State:
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        archive: Any = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    return dict(archive.state_dict())
