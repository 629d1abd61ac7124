"""Which backbones there are and how they are built, read from JSON files: listing them does not import open_clip.

A backbone is the embedded `tiny`, an open_clip model name, a pair `VISION+TEXT` of timm's name of a DINOv2 and
open_clip's name of the model whose text tower is taken, or a folder in open_clip's local format:
`open_clip_config.json` ({"model_cfg": ...}), `open_clip_model.safetensors`, and optionally `bpe.txt.gz` (merges of its
tokenizer) and `barbench.json` (its `HeadSpec`).
"""

import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from barbench.errors import DataError, MissingData, UnknownName, UsageError
from barbench.spec.text import listed
from barbench.spec.weights import FOLDER_FILES, activation, not_weights, shards, weights_file
from barbench.values import number, read_key, text, whole

EMBEDDED = {name: Path(__file__).parents[1] / "models" / name for name in ("tiny", "tiny-eva", "tiny-l", "tiny-dino")}
CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
MERGES = "bpe.txt.gz"
HEAD = "barbench.json"
HEAD_WEIGHTS = "head.safetensors"
PAPER_SIZE = 416
RESNET_STRIDE = 32
"""Of CLIP's ResNets: pixels per cell of the last map, and how many times wider it is than the first."""
RANDOM = "random"
PRETRAINED = "pretrained"
OPENAI = "openai"
SPECIAL_BLOCKS = (
    *("block_type", "qk_norm", "scaled_cosine_attn"),
    *("scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"),
)
"""Keys of open_clip under which its attention blocks compute something else than CLIP's."""
EVA_SIZES = {
    "embedded": (96, 6),
    "tiny": (192, 12),
    "small": (384, 12),
    "base": (768, 12),
    "large": (1024, 24),
}
"""Width and depth of timm's EVA02 by the word for its size in the model's name; `embedded` is barbench's `tiny-eva`."""
DINO_SIZES = {
    "embedded": (96, 6),
    "small": (384, 12),
    "base": (768, 12),
    "large": (1024, 24),
}
"""Width and depth of timm's DINOv2 by the word for its size in the model's name; `embedded` is `tiny-dino`."""
DINO_SIZE = 448
"""Pixels: 32 x 32 patches, as DETRIS has."""
DINO_TEXT = "ViT-B-16-quickgelu"
"""The model whose text tower DETRIS and its successors take, beside -B and -L."""
DINO_WEIGHTS = "lvd142m"
"""timm's tag of the weights that DINOv2's authors published."""
ALIASES = {
    "dinov2-b": f"vit_base_patch14_reg4_dinov2+{DINO_TEXT}",
    "dinov2-l": f"vit_large_patch14_reg4_dinov2+{DINO_TEXT}",
    "dinov2-b-noreg": f"vit_base_patch14_dinov2+{DINO_TEXT}",
    "dinov2-l-noreg": f"vit_large_patch14_dinov2+{DINO_TEXT}",
}
"""Short names of pairs: DINOv2 with four registers and, -noreg, without."""
FILES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
SIZES = frozenset(
    ("image_size", "layers", "width", "patch_size", "head_width", "heads", "context_length", "vocab_size")
)

Model = dict[str, Any]
"""open_clip's configuration of a model: `embed_dim`, `vision_cfg`, `text_cfg`, …"""

NeckName = Literal["etris", "detris", "cris", "none"]
HeadForm = Literal["full", "linear"]
NECKS: tuple[NeckName, ...] = get_args(NeckName)
HEAD_FORMS: tuple[HeadForm, ...] = get_args(HeadForm)


@dataclass(frozen=True, slots=True)
class Normalization:
    """How a backbone wants its pixels: (value - mean) / std per channel, values in 0..1.

    Attributes:
        mean: of red, green and blue; also the color around letterboxed images.
        std: standard deviation of red, green and blue.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CLIP_NORMALIZATION = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """Sizes of the segmentation head (appendix C).

    Attributes:
        width: channels of neck and decoder.
        ffn: hidden channels of the decoder's MLPs.
        heads: attention heads of the decoder.
        layers: decoder layers.
        dropout: dropout probability of the decoder.
        neck: `etris` (`Neck`, the paper's), `detris` (the same with a residual connection), `cris` (`PyramidNeck`) or
            `none` (`PlainNeck`).
        form: `full`, or `linear`: one linear map of the last level and the sentence, whose neck is `none`.
    """

    width: int = 512
    ffn: int = 512
    heads: int = 8
    layers: int = 3
    dropout: float = 0.1
    neck: NeckName = "etris"
    form: HeadForm = "full"


class HeadChoice(NamedTuple):
    """The neck and the form of the head that a run asks for; None: the backbone's own."""

    neck: NeckName | None = None
    form: HeadForm | None = None

    def of(self, own: HeadSpec) -> HeadSpec:
        """The sizes of a backbone's head with this neck and form. A linear head has no neck, also where the backbone's
        own head has one; UsageError where one is asked for."""
        form = self.form or own.form
        if form == "full":
            return replace(own, neck=self.neck or own.neck, form=form)
        if self.neck not in (None, "none"):
            raise UsageError(
                f"--neck {self.neck}: a linear head reads the last level as it is, so its neck is none; leave --neck "
                "out, or give --head full"
            )
        return replace(own, neck="none", form=form)

    def changed(self, own: HeadSpec) -> "HeadChoice":
        """The same without what the backbone has anyway: equal for two ways to ask for one head."""
        chosen = self.of(own)
        return HeadChoice(
            None if chosen.neck == own.neck else chosen.neck,
            None if chosen.form == own.form else chosen.form,
        )

    @property
    def words(self) -> str:
        """As options of the command line."""
        words = []
        if self.neck is not None:
            words.append(f"--neck {self.neck}")
        if self.form is not None:
            words.append(f"--head {self.form}")
        return " ".join(words)


OWN_HEAD = HeadChoice()
"""The backbone's own."""


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of backbone: what its configuration says, known without torch. `models.towers` builds it by its name.

    Attributes:
        name: under which `models.towers.builders` has its builder.
        takes: whether a model's configuration is one of this family.
        width: channels of the vision tower, of a ResNet's last stage.
        depth: blocks of the vision tower, stages of a ResNet.
        patch: side of a patch in pixels, of a cell of a ResNet's last map.
        obstacles: reasons why barbench does not support such a model -> whether the model gives them.
        size: side of the images in pixels where none is asked for, rounded up to whole patches.
        transformer: whether the vision tower is a stack of blocks.
        aligned: whether words and patches share a joint space.
    """

    name: str
    takes: Callable[[Model], bool]
    width: Callable[[Model], int]
    depth: Callable[[Model], int]
    patch: Callable[[Model], int]
    obstacles: Callable[[Model], dict[str, bool]]
    size: int = PAPER_SIZE
    transformer: bool = True
    aligned: bool = True


def _timm_name(model: Model) -> str:
    """The name of the vision tower in timm; empty where open_clip builds it by itself."""
    return str(model["vision_cfg"].get("timm_model_name", ""))


def _open_clip_obstacles(model: Model) -> dict[str, bool]:
    """What the towers for open_clip's own transformers cannot do."""
    vision = model["vision_cfg"]
    text = model["text_cfg"]
    changed_blocks = any(part.get(key) for part in (vision, text) for key in SPECIAL_BLOCKS)
    return {
        "a Hugging Face text tower": "hf_model_name" in text,
        "a text decoder (CoCa)": "multimodal_cfg" in model,
        "attentional pooling": bool(vision.get("attentional_pool")),
        "no class token readout": vision.get("pool_type", "tok") != "tok" or bool(vision.get("final_ln_after_pool")),
        "patch dropout": bool(vision.get("patch_dropout")),
        "special attention blocks": changed_blocks,
        "a text tower without causal mask": bool(text.get("no_causal_mask")),
        "a text tower with a class token": bool(text.get("embed_cls")),
        "a text readout other than the end-of-text token": text.get("pool_type", "argmax") != "argmax",
        "a text projection other than a matrix": text.get("proj_type", "linear") != "linear"
        or bool(text.get("proj_bias")),
    }


def _eva_obstacles(model: Model) -> dict[str, bool]:
    """timm's EVA02 has pre-norm blocks in all sizes but the enormous one."""
    vision = model["vision_cfg"]
    name = _timm_name(model)
    supported = name.startswith("eva02_") and not name.startswith("eva02_enormous")
    return {
        "a timm vision tower other than EVA02's with pre-norm blocks": not supported,
        "no class token readout in timm": vision.get("timm_pool", "token") != "token" or bool(vision.get("timm_proj")),
        **_open_clip_obstacles(model),
    }


def _size(model: Model, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Width and depth; a model of one's own, whose name has none of the known words, counts as base."""
    for word in _timm_name(model).split("_"):
        if word in sizes:
            return sizes[word]
    return sizes["base"]


def _dino_obstacles(model: Model) -> dict[str, bool]:
    """timm has DINOv2 in four sizes, of which the giant one has other blocks."""
    return {
        "DINOv2's giant vision tower, whose MLPs are SwiGLU": "_giant_" in _timm_name(model),
        **_open_clip_obstacles(model),
    }


def _patch_in_name(model: Model) -> int:
    """timm's name says it, as in `eva02_base_patch16_clip_224`."""
    for part in _timm_name(model).split("_"):
        if part.startswith("patch"):
            return int(part.removeprefix("patch"))
    return int(model["vision_cfg"]["patch_size"])


def _has_stages(model: Model) -> bool:
    """A ResNet's `layers` are the blocks of each stage."""
    return not isinstance(model["vision_cfg"].get("layers", 12), int)


FAMILIES = (
    Family(
        name="dinov2",
        takes=lambda model: _timm_name(model).endswith("_dinov2"),
        width=lambda model: _size(model, DINO_SIZES)[0],
        depth=lambda model: _size(model, DINO_SIZES)[1],
        patch=_patch_in_name,
        obstacles=_dino_obstacles,
        size=DINO_SIZE,
        aligned=False,
    ),
    Family(
        name="eva",
        takes=lambda model: bool(_timm_name(model)),
        width=lambda model: _size(model, EVA_SIZES)[0],
        depth=lambda model: _size(model, EVA_SIZES)[1],
        patch=_patch_in_name,
        obstacles=_eva_obstacles,
    ),
    Family(
        name="resnet",
        takes=_has_stages,
        width=lambda model: RESNET_STRIDE * int(model["vision_cfg"]["width"]),
        depth=lambda model: len(model["vision_cfg"]["layers"]),
        patch=lambda model: RESNET_STRIDE,
        obstacles=_open_clip_obstacles,
        transformer=False,
    ),
    Family(
        name="clip",
        takes=lambda model: True,
        width=lambda model: int(model["vision_cfg"].get("width", 768)),
        depth=lambda model: int(model["vision_cfg"].get("layers", 12)),
        patch=lambda model: int(model["vision_cfg"]["patch_size"]),
        obstacles=_open_clip_obstacles,
    ),
)
"""The families; the first that takes a configuration has it."""


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """How a backbone is built.

    Attributes:
        model: open_clip's model configuration.
        folder: the backbone's folder; None for the models that open_clip ships.
        pair: timm's name of the vision model and open_clip's of the one whose text tower is taken, where the two are
            of different models, each with weights of its own; else None.
    """

    name: str
    model: Model
    family: Family
    folder: Path | None
    head: HeadSpec
    normalization: Normalization = CLIP_NORMALIZATION
    pair: tuple[str, str] | None = None

    def image_size(self, wanted: int | None) -> int:
        """Check an image size, or choose it: UsageError for one that is no multiple of the patches' side.

        Args:
            wanted: side in pixels; None for the folder's own size, or the family's (the paper's 416, 448 for DINOv2)
                rounded up to whole patches.
        """
        patch = self.patch
        # Where none is asked for: the folder's own, or the family's in whole patches.
        if wanted is None and self.folder is not None:
            wanted = int(self.model["vision_cfg"]["image_size"])
        elif wanted is None:
            wanted = -(-self.family.size // patch) * patch
        if wanted < patch or wanted % patch:
            near = max(patch, round(wanted / patch) * patch)
            raise UsageError(
                f"{self.name}: an image size of {wanted} is not a multiple of its {patch}-pixel patches; use {near}"
            )
        return wanted

    def default_weights(self) -> str:
        """The weights of a run that names none: `pretrained` for a folder, `openai` for QuickGELU models, and for a
        pair `lvd142m,openai`. UsageError for other models, of which there are several and no obvious choice."""
        if self.folder is not None:
            return PRETRAINED
        if self.pair is not None and self.pair[1].endswith("-quickgelu"):
            return f"{DINO_WEIGHTS},{OPENAI}"
        if self.pair is not None:
            raise UsageError(f"--weights: say which weights {self.name} takes: random, or a pair VISION,TEXT")
        if self.name.endswith("-quickgelu"):
            return OPENAI
        raise UsageError(f"--weights: say which weights {self.name} takes: random, a tag of open_clip, or a file")

    @property
    def context_length(self) -> int:
        """Tokens that the text tower can read; open_clip's default is CLIP's."""
        return int(self.model["text_cfg"].get("context_length", 77))

    @property
    def transformer(self) -> bool:
        """Whether the vision tower is a stack of blocks; False for a ResNet."""
        return self.family.transformer

    @property
    def aligned(self) -> bool:
        """Whether words and patches share a joint space."""
        return self.family.aligned

    @property
    def width(self) -> int:
        """Channels of the vision tower, of a ResNet's last stage."""
        return self.family.width(self.model)

    @property
    def depth(self) -> int:
        """Blocks of the vision tower, stages of a ResNet."""
        return self.family.depth(self.model)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels, of a cell of a ResNet's last map."""
        return self.family.patch(self.model)


def split_weights(weights: str, config: BackboneConfig) -> tuple[str, ...]:
    """The weights of each of a backbone's models: those of vision and text for a pair of models, else `weights` alone.
    UsageError where a pair is not given two."""
    if config.pair is None:
        return (weights,)
    # One word for both, else one for each.
    if weights == RANDOM:
        return (RANDOM, RANDOM)
    parts = tuple(part.strip() for part in weights.split(","))
    if len(parts) != 2 or not all(parts):
        vision, text = config.pair
        raise UsageError(
            f"--weights {weights}: {config.name} needs two, VISION,TEXT, each a file, a tag or random: those of "
            f"{vision}, then those of {text}, as in {DINO_WEIGHTS},{OPENAI}"
        )
    return parts


def check_weights(weights: str | None, config: BackboneConfig | None = None) -> None:
    """Refuse weights that cannot exist, as far as that is known without torch.

    MissingData for a file that does not exist, UsageError for a file that is plainly something else or weights for
    another activation, DataError for an index of shards that cannot be used, UnknownName for a word that a folder's
    backbone does not know.

    Args:
        config: of the backbone; None where it is not known.
    """
    if weights is None or weights == RANDOM:
        return
    # Of a pair of models each has its own.
    if config is not None and config.pair is not None:
        for part, text in zip(split_weights(weights, config), (None, backbone_config(config.pair[1])), strict=True):
            check_weights(part, text)
        return
    if config is None and "," in weights and not Path(weights).exists():
        for part in weights.split(","):
            check_weights(part.strip())
        return
    # A folder's own weights.
    folder = None if config is None else config.folder
    if folder is not None and weights == PRETRAINED:
        if not (folder / WEIGHTS).is_file():
            raise MissingData(f"{folder / WEIGHTS} does not exist; give --weights random or a file")
        return
    # A file, as far as its first bytes and its configuration tell.
    file = weights_file(weights)
    if file is not None:
        for shard in shards(file):
            if reason := not_weights(shard):
                raise UsageError(f"--weights {weights} holds no weights: it is {reason}")
        if config is not None:
            check_activation(file, config)
        return
    # Anything else is a tag, which open_clip knows.
    if "/" in weights or Path(weights).suffix in FILES:
        raise MissingData(f"--weights {weights}: there is no such file")
    if folder is not None:
        raise UnknownName("weights", weights, [PRETRAINED, RANDOM])


def check_activation(file: Path, config: BackboneConfig) -> None:
    """UsageError for weights of a model with another activation, which the configuration beside the file tells: they
    would load, and give other features."""
    # A folder's own weights are of its own configuration.
    if config.folder is not None and file == config.folder / WEIGHTS:
        return
    needed = activation(file)
    quick = bool(config.model.get("quick_gelu"))
    has = "quick_gelu" if quick else "gelu"
    if needed in (None, has):
        return
    # The same model with the other activation, where open_clip has it.
    other = config.name.removesuffix("-quickgelu") if quick else f"{config.name}-quickgelu"
    use = f"use {other}" if other in _shipped() else f"use a backbone that has {needed}"
    raise UsageError(
        f"{file} holds weights of a model with {needed}, as the configuration beside it says, and {config.name} has "
        f"{has}: features would be wrong without a word; {use}"
    )


def backbone_names() -> list[str]:
    """Embedded backbones, the pairs that have a short name, and every open_clip model that barbench supports."""
    names = [name for name, folder in EMBEDDED.items() if (folder / CONFIG).is_file()]
    names += ALIASES
    for name, model in _shipped().items():
        if _obstacle(model, _family(model)) is None:
            names.append(name)
    return names


def backbone_config(name: str) -> BackboneConfig:
    """Look up a backbone; UnknownName if there is no such model or folder.

    Args:
        name: `tiny`, a model name of open_clip, a pair VISION+TEXT or its short name, or a folder.
    """
    # A folder, of the user's or embedded; a name of open_clip's; a pair of two models.
    folder = EMBEDDED.get(name)
    if folder is None and (Path(name) / CONFIG).is_file():
        folder = Path(name)
    head = HeadSpec()
    normalization = CLIP_NORMALIZATION
    pair = None
    if folder is not None:
        content = _read(folder / CONFIG)
        model = _model(folder / CONFIG, content)
        normalization = _normalization(folder / CONFIG, content)
        if (folder / HEAD).is_file():
            head = _head(folder / HEAD)
    elif name in _shipped():
        model = _shipped()[name]
    elif "+" in ALIASES.get(name, name):
        vision, _, text = ALIASES.get(name, name).partition("+")
        pair = (vision, text)
        model = _paired(vision, text)
    elif Path(name).is_dir():
        raise UsageError(_no_backbone(Path(name)))
    else:
        raise UnknownName("backbone", name, backbone_names())
    # What kind it is, and whether its towers can be built.
    family = _family(model)
    if reason := _obstacle(model, family):
        raise UsageError(f"backbone {name!r} has {reason}, which barbench does not support yet")
    return BackboneConfig(name, model, family, folder, head, normalization, pair)


def _paired(vision: str, text: str) -> Model:
    """The configuration of a pair of models, in open_clip's form."""
    sizes = "|".join((*DINO_SIZES, "giant"))
    if not re.fullmatch(rf"vit_({sizes})_patch\d+(_reg\d+)?_dinov2", vision):
        known = [alias.partition("+")[0] for alias in ALIASES.values()]
        raise UnknownName("DINOv2 of timm", vision, known)
    if text not in _shipped():
        raise UnknownName("text tower of open_clip", text, _shipped())
    shipped = _shipped()[text]
    chosen: Model = {key: shipped[key] for key in ("embed_dim", "text_cfg", "quick_gelu") if key in shipped}
    return {**chosen, "vision_cfg": {"timm_model_name": vision}}


def _no_backbone(folder: Path) -> str:
    """Why a folder is no backbone; for weights of Hugging Face's, how to use them."""
    text = f"backbone {folder}: the folder has no {CONFIG}, open_clip's description of the architecture"
    if any((folder / name).is_file() for name in FOLDER_FILES):
        text += f"; for its weights: --backbone NAME --weights {folder}, NAME from `barbench list backbones`"
    return text


def _family(model: Model) -> Family:
    return next(family for family in FAMILIES if family.takes(model))


def _obstacle(model: Model, family: Family) -> str | None:
    """Why barbench does not support such a model; None if it does."""
    for reason, found in family.obstacles(model).items():
        if found:
            return reason
    return None


def _head(file: Path) -> HeadSpec:
    """The sizes in a folder's own file; DataError names the key of a bad value."""
    given = _read(file)
    try:
        if unknown := given.keys() - {field.name for field in fields(HeadSpec)}:
            raise ValueError(f"there is no {sorted(unknown)[0]!r}")
        readers = {"dropout": number, "neck": text, "form": text}
        values: dict[str, Any] = {key: read_key(given, key, readers.get(key, whole)) for key in given}
        head = HeadSpec(**values)
        # The sizes fit each other.
        smallest = min(head.width, head.ffn, head.heads, head.layers)
        if head.neck not in NECKS or head.form not in HEAD_FORMS or not 0 <= head.dropout < 1 or smallest < 1:
            necks = listed(NECKS, "or")
            forms = listed(HEAD_FORMS, "or")
            raise ValueError(f"sizes are from 1 on, dropout from 0 to 1, neck is {necks}, and form is {forms}")
        if head.form == "linear" and head.neck != "none":
            raise ValueError("a linear head has the neck none")
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    return head


def _model(file: Path, content: dict[str, Any]) -> Model:
    """open_clip's configuration in a folder's file, with whole numbers for sizes: text would fail inside open_clip."""
    model = content.get("model_cfg", content)
    try:
        read_key(model, "embed_dim", whole)
        # Sizes of both towers, in place of text that means the same.
        for part in ("vision_cfg", "text_cfg"):
            sizes = read_key(model, part, dict)
            for key in SIZES & sizes.keys():
                if not isinstance(sizes[key], list):  # of a ResNet: blocks of each stage
                    sizes[key] = read_key(sizes, key, whole)
            model = {**model, part: sizes}
        # What open_clip builds by itself must have its sizes there.
        if "timm_model_name" not in model["vision_cfg"]:
            for key in ("image_size", "width", "layers"):
                read_key(model["vision_cfg"], key, lambda value: value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{file} is not open_clip's configuration: {error}") from None
    return {**model, "embed_dim": whole(model["embed_dim"])}


def _normalization(file: Path, content: dict[str, Any]) -> Normalization:
    """The mean and deviation in a folder's file, under open_clip's `preprocess_cfg`; CLIP's where it names none."""
    try:
        given = content.get("preprocess_cfg") or {}
        mean = read_key(given, "mean", _three, CLIP_NORMALIZATION.mean)
        std = read_key(given, "std", _three, CLIP_NORMALIZATION.std)
        if min(std) <= 0:
            raise ValueError("'std' has a number that is not above 0")
    except ValueError as error:
        raise DataError(f"{file}: preprocess_cfg: {error}") from None
    return Normalization(mean, std)


def _three(value: object) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"{value!r} is not a list of three numbers")
    red, green, blue = value
    return number(red), number(green), number(blue)


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Model]:
    """open_clip's own configurations, by name."""
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.submodule_search_locations
    found = {}
    for file in sorted((Path(spec.submodule_search_locations[0]) / "model_configs").glob("*.json")):
        model = _read(file)
        if {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys():
            found[file.stem] = model
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{file} holds no JSON object")
    return value
