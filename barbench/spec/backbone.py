"""Which backbones there are and how they are built, read from JSON files: listing them does not import open_clip.

A backbone is the embedded `tiny`, an open_clip model name, or a folder in open_clip's local format:
`open_clip_config.json` ({"model_cfg": ...}), `open_clip_model.safetensors`, and optionally `bpe.txt.gz` (merges of its
tokenizer) and `barbench.json` (its `HeadSpec`).
"""

import importlib.util
import json
import re
from dataclasses import astuple, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from barbench.errors import DataError, MissingData, UnknownName, UsageError
from barbench.values import number, read_key, text, whole

EMBEDDED = {name: Path(__file__).parents[1] / "models" / name for name in ("tiny", "tiny-eva", "tiny-l")}
CONFIG, WEIGHTS, MERGES, HEAD = "open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz", "barbench.json"
HEAD_WEIGHTS = "head.safetensors"
PAPER_SIZE = 416
RESNET = 32
"""Of CLIP's ResNets: pixels per cell of the last map, and how many times wider it is than the first."""
RANDOM, PRETRAINED, OPENAI = "random", "pretrained", "openai"
FILES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
SIZES = frozenset(
    ("image_size", "layers", "width", "patch_size", "head_width", "heads", "context_length", "vocab_size")
)
EVA02 = re.compile(r"eva02_(?!enormous)")


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """Sizes of the segmentation head (appendix C).

    Attributes:
        width: channels of neck and decoder.
        ffn: hidden channels of the decoder's MLPs.
        heads: attention heads of the decoder.
        layers: decoder layers.
        dropout: dropout probability of the decoder.
        neck: `etris` (`Neck`, the paper's) or `cris` (`PyramidNeck`).
    """

    width: int = 512
    ffn: int = 512
    heads: int = 8
    layers: int = 3
    dropout: float = 0.1
    neck: Literal["etris", "cris"] = "etris"


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """How a backbone is built.

    Attributes:
        name: what the user wrote.
        model: open_clip's model configuration.
        folder: the backbone's folder; None for the models that open_clip ships.
        head: sizes of the segmentation head.
    """

    name: str
    model: dict[str, Any]
    folder: Path | None
    head: HeadSpec

    def image_size(self, wanted: int | None) -> int:
        """Check an image size, or choose it.

        Args:
            wanted: side in pixels; None for the folder's own size, or the paper's 416 rounded up to whole patches.

        Returns:
            The side in pixels, a multiple of the patches' side.

        Raises:
            UsageError: if the patches do not divide `wanted`.
        """
        patch = self.patch
        if wanted is None:
            wanted = (
                -(-PAPER_SIZE // patch) * patch if self.folder is None else int(self.model["vision_cfg"]["image_size"])
            )
        if wanted < patch or wanted % patch:
            near = max(patch, round(wanted / patch) * patch)
            raise UsageError(
                f"{self.name}: an image size of {wanted} is not a multiple of its {patch}-pixel patches; use {near}"
            )
        return wanted

    def default_weights(self) -> str:
        """The weights that a run takes if none are named.

        Returns:
            `pretrained` for a folder (and `tiny`), `openai` for open_clip's QuickGELU models.

        Raises:
            UsageError: for other models, for which there are several weights and no obvious choice.
        """
        if self.folder is not None:
            return PRETRAINED
        if self.name.endswith("-quickgelu"):
            return OPENAI
        raise UsageError(f"--weights: say which weights {self.name} takes: random, a tag of open_clip, or a file")

    @property
    def context(self) -> int:
        """Tokens that the text tower can read; open_clip's default is CLIP's."""
        return int(self.model["text_cfg"].get("context_length", 77))

    @property
    def convolutional(self) -> bool:
        """Whether the vision tower is a ResNet."""
        return not isinstance(self.model["vision_cfg"].get("layers", 12), int)

    @property
    def width(self) -> int:
        """Channels of the vision tower, of a ResNet's last stage; timm has its size in the model's name."""
        vision = self.model["vision_cfg"]
        if self.convolutional:
            return RESNET * int(vision["width"])
        sizes = {"tiny": 192, "small": 384, "large": 1024}
        named = re.search(r"_(tiny|small|base|large)_", vision.get("timm_model_name", ""))
        return sizes.get(named[1], 768) if named else int(vision.get("width", 768))

    @property
    def patch(self) -> int:
        """Side of a patch in pixels, of a cell of a ResNet's last map; timm states it in the model's name."""
        vision = self.model["vision_cfg"]
        if self.convolutional:
            return RESNET
        named = re.search(r"_patch(\d+)", vision.get("timm_model_name", ""))
        return int(named[1] if named else vision["patch_size"])


def check_weights(weights: str | None, config: BackboneConfig | None = None) -> None:
    """Whether `weights` can be there, as far as can be told without torch.

    Args:
        weights: as for `load_backbone`.
        config: of the backbone, where it is known.

    Raises:
        MissingData: for a file that does not exist.
        UsageError: for a file that is plainly something else.
        UnknownName: for a word that a folder's backbone does not know.
    """
    if weights is None or weights == RANDOM:
        return
    if Path(weights).is_file():
        if reason := not_weights(Path(weights)):
            raise UsageError(f"--weights {weights} holds no weights: it is {reason}")
        return
    if weights == PRETRAINED and config is not None and config.folder is not None:
        if not (config.folder / WEIGHTS).is_file():
            raise MissingData(f"{config.folder / WEIGHTS} does not exist; give --weights random or a file")
        return
    if "/" in weights or Path(weights).suffix in FILES:
        raise MissingData(f"--weights {weights}: there is no such file")
    if config is not None and config.folder is not None:
        raise UnknownName("weights", weights, [PRETRAINED, RANDOM])


def not_weights(file: Path) -> str | None:
    """What a file is that is commonly found in the place of weights, in words; None where it may be weights."""
    with file.open("rb") as opened:
        start = opened.read(512).lstrip()
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if start[:1] == b"<":
        return "a web page, as a failed download leaves"
    return None


def backbone_names() -> list[str]:
    """Embedded backbones first, then every open_clip model that barbench supports."""
    return [
        *(n for n, folder in EMBEDDED.items() if (folder / CONFIG).is_file()),
        *(n for n, c in _shipped().items() if not _obstacle(c)),
    ]


def backbone_config(name: str) -> BackboneConfig:
    """Look up a backbone.

    Args:
        name: `tiny`, a model name of open_clip, or a folder.

    Returns:
        Its configuration.

    Raises:
        UnknownName: if there is no such model or folder.
        UsageError: if the architecture is one that barbench does not support.
        DataError: if the folder's files cannot be read.
    """
    folder = EMBEDDED.get(name) or (Path(name) if (Path(name) / CONFIG).is_file() else None)
    if folder is not None:
        model, head = _model(folder / CONFIG), HeadSpec()
        if (folder / HEAD).is_file():
            head = _head(folder / HEAD)
    elif name in _shipped():
        model, head = _shipped()[name], HeadSpec()
    else:
        raise UnknownName("backbone", name, backbone_names())
    if reason := _obstacle(model):
        raise UsageError(f"backbone {name!r} has {reason}, which barbench does not support yet")
    return BackboneConfig(name, model, folder, head)


def _obstacle(model: dict[str, Any]) -> str | None:
    """Why barbench does not support such a model, in words; None if it does."""
    vision, text = model["vision_cfg"], model["text_cfg"]
    special = (
        "block_type",
        "qk_norm",
        "scaled_cosine_attn",
        "scale_heads",
        "scale_attn_inner",
        "scale_attn",
        "scale_fc",
    )
    checks = {
        "a timm vision tower other than EVA02's with pre-norm blocks": not EVA02.match(
            vision.get("timm_model_name", "eva02_")
        ),
        "no class token readout in timm": vision.get("timm_pool", "token") != "token" or bool(vision.get("timm_proj")),
        "a Hugging Face text tower": "hf_model_name" in text,
        "a text decoder (CoCa)": "multimodal_cfg" in model,
        "attentional pooling": bool(vision.get("attentional_pool")),
        "no class token readout": vision.get("pool_type", "tok") != "tok" or bool(vision.get("final_ln_after_pool")),
        "patch dropout": bool(vision.get("patch_dropout")),
        "special attention blocks": any(part.get(key) for part in (vision, text) for key in special),
        "a text tower without causal mask": bool(text.get("no_causal_mask")),
        "a text tower with a class token": bool(text.get("embed_cls")),
        "a text readout other than the end-of-text token": text.get("pool_type", "argmax") != "argmax",
        "a text projection other than a matrix": text.get("proj_type", "linear") != "linear"
        or bool(text.get("proj_bias")),
    }
    return next((reason for reason, found in checks.items() if found), None)


def _head(file: Path) -> HeadSpec:
    """The sizes that a folder's own file gives; DataError names the key of a value that is none."""
    given = _read(file)
    try:
        if unknown := given.keys() - {field.name for field in fields(HeadSpec)}:
            raise ValueError(f"there is no {sorted(unknown)[0]!r}")
        read = {"dropout": number, "neck": text}
        values: dict[str, Any] = {key: read_key(given, key, read.get(key, whole)) for key in given}
        head = HeadSpec(**values)
        if head.neck not in ("etris", "cris") or not 0 <= head.dropout < 1 or min(astuple(head)[:4]) < 1:
            raise ValueError("sizes are from 1 on, dropout from 0 to 1, and neck is etris or cris")
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    return head


def _model(file: Path) -> dict[str, Any]:
    """open_clip's configuration in a folder's file: its sizes are whole numbers there, text would end in open_clip."""
    model = _read(file)
    model = model.get("model_cfg", model)
    try:
        read_key(model, "embed_dim", whole)
        for part in ("vision_cfg", "text_cfg"):
            sizes = read_key(model, part, dict)
            for key in SIZES & sizes.keys():
                if not isinstance(sizes[key], list):  # of a ResNet: blocks of each stage
                    sizes[key] = read_key(sizes, key, whole)
            model = {**model, part: sizes}
        if "timm_model_name" not in model["vision_cfg"]:
            for key in ("image_size", "width", "layers"):
                read_key(model["vision_cfg"], key, lambda value: value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{file} is not open_clip's configuration: {error}") from None
    return {**model, "embed_dim": whole(model["embed_dim"])}


@lru_cache(maxsize=1)
def _shipped() -> dict[str, dict[str, Any]]:
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.submodule_search_locations
    files = sorted((Path(spec.submodule_search_locations[0]) / "model_configs").glob("*.json"))
    configs = {file.stem: _read(file) for file in files}
    return {name: c for name, c in configs.items() if {"embed_dim", "vision_cfg", "text_cfg"} <= c.keys()}


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{file} holds no JSON object")
    return value
