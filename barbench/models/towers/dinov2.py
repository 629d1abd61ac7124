"""DINOv2's vision transformer (timm's `VisionTransformer`) beside the text tower of a CLIP, branch by branch.

Other than CLIP's, it has no norm before the blocks, a LayerScale at the end of each branch, exact GELU, four register
tokens behind the class token in most models, and no projection: its last level has the tower's own width, and words and
patches share no space.
"""

import re
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from open_clip.model import _build_text_tower, convert_to_custom_text_state_dict
from torch import Tensor, nn

from barbench.errors import DataError
from barbench.models.attention import attend
from barbench.models.efficient.norms import layer_norm
from barbench.models.names import PositionRule
from barbench.models.stream import LinearRole, Project, Site, Stream, unchanged
from barbench.models.towers import embedded as _embedded  # noqa: F401  (registers its model with timm)
from barbench.models.towers.base import Linear, VisionTower
from barbench.models.towers.builder import Builder, State, Towers
from barbench.models.towers.clip import QKV, ClipText
from barbench.models.towers.key_maps import dino_names, from_hugging_face
from barbench.models.towers.open_clip_model import differences
from barbench.spec.backbone import BackboneConfig


class Resampling(NamedTuple):
    """How positions are fitted to another grid, bicubic in each case.

    Attributes:
        antialias: whether the cubic is widened where the grid becomes coarser.
        offset: cells by which the factor between the grids is larger than their sizes say, as in the public code.
    """

    antialias: bool
    offset: float


REGISTERS = Resampling(antialias=True, offset=0.0)
NO_REGISTERS = Resampling(antialias=False, offset=0.1)
RULES: dict[PositionRule, Resampling] = {"detris": NO_REGISTERS, "hf": Resampling(antialias=False, offset=0.0)}
"""Rules that do not depend on the model: DETRIS takes that of models without registers for one that has some."""


class DinoVision(VisionTower):
    """Patches, class token and registers through pre-norm blocks with LayerScale.

    Args:
        trunk: timm's VisionTransformer, without a classifier.
        native: its positions as they were trained, (1, N, D), on the grid of the weights file.
    """

    def __init__(self, trunk: Any, native: Tensor) -> None:
        super().__init__()
        self.trunk: Any = trunk
        self.native: Tensor
        self.register_buffer("native", native, persistent=False)
        self.width = trunk.embed_dim
        self.depth = len(trunk.blocks)
        self.heads = trunk.blocks[0].attn.num_heads
        self.grid = trunk.patch_embed.grid_size
        self.patch = trunk.patch_embed.patch_size[0]
        self.joint = trunk.embed_dim
        self._positions: PositionRule = "hub"
        self.outer_norms = (Site("vision", self.depth, "end"),)

    def choose(self, positions: PositionRule, levels: tuple[int, int] | None = None) -> None:
        """Fit the positions to the grid by a rule, and take levels elsewhere; called before anything is trained.

        Args:
            positions: `hub`: as the model's authors, which depends on whether it has registers; `detris`: as DETRIS;
                `hf`: as Hugging Face for models without registers.
            levels: see `level_blocks`.
        """
        self.level_blocks = levels
        self._positions = positions
        self.fit(self.native)

    def takes(self, positions: Tensor) -> bool:
        """Whether positions can be fitted: (1, N, D) of a square grid of patches, whatever its size."""
        first = 0 if self.trunk.reg_token is not None else 1
        if positions.ndim != 3 or positions.shape[2] != self.width:
            return False
        patches = positions.shape[1] - first
        return patches > 0 and isqrt(patches) ** 2 == patches

    def fit(self, native: Tensor) -> None:
        """Take other positions, and fit them to the grid by the rule that was chosen.

        Args:
            native: (1, N, D), on the grid that they were trained on.
        """
        self.native = native.to(self.native)
        registers = self.trunk.reg_token is not None
        hub = REGISTERS if registers else NO_REGISTERS
        rule = RULES.get(self._positions, hub)
        self.trunk.pos_embed.data = resampled(self.native, self.grid[0], rule, 0 if registers else 1)

    def embed(self, inputs: Tensor, project: Project = unchanged) -> Stream:
        """Class token, registers and patches with learned positions: (B, 3, S, S) -> (B, prefix + N, D)."""
        trunk = self.trunk
        return Stream(trunk._pos_embed(trunk.patch_embed(inputs)), prefix=trunk.num_prefix_tokens)

    def norm(self, site: Site, x: Tensor) -> Tensor:
        """The norm in front of a branch: (B, T, D) -> (B, T, D)."""
        block = self.trunk.blocks[site.block]
        return layer_norm(block.norm1 if site.branch == "attn" else block.norm2, x)

    def attended(self, site: Site, stream: Stream, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The attention branch before its out map: (B, T, D) -> (B, T, D)."""
        attn = self.trunk.blocks[site.block].attn
        q, k, v = self.packed_qkv(site, xn, Linear(attn.qkv.weight, attn.qkv.bias), project)
        mask = None if stream.mask is None else stream.mask.to(q.dtype)
        return attend(q, k, v, attn.num_heads, mask)

    def out(self, site: Site, h: Tensor, project: Project = unchanged) -> Tensor:
        """The out map of the attention, LayerScale included: (B, T, D) -> (B, T, D)."""
        block = self.trunk.blocks[site.block]
        y: Tensor = block.ls1(project(site, "out", h, block.attn.proj(h)))
        return y

    def mlp(self, site: Site, xn: Tensor, project: Project = unchanged) -> Tensor:
        """The MLP branch with exact GELU, LayerScale included: (B, T, D) -> (B, T, D)."""
        block = self.trunk.blocks[site.block]
        mlp = block.mlp
        wide = project(site, "up", xn, mlp.fc1(xn))
        h = project(site, "act", wide, F.gelu(wide))
        y: Tensor = block.ls2(project(site, "down", h, mlp.fc2(h)))
        return y

    def layer_scale(self, site: Site) -> Tensor:
        """The gains of the branch's LayerScale, (D,)."""
        block = self.trunk.blocks[site.block]
        gamma: Tensor = (block.ls1 if site.branch == "attn" else block.ls2).gamma
        return gamma

    def linear(self, block: int, role: LinearRole) -> Linear:
        """Weights of one linear map: views, not copies; q, k and v are slices of one matrix."""
        attn = self.trunk.blocks[block].attn
        mlp = self.trunk.blocks[block].mlp
        if role in QKV:
            index = QKV.index(role)
            return Linear(attn.qkv.weight.chunk(3)[index], attn.qkv.bias.chunk(3)[index])
        chosen = {"out": attn.proj, "up": mlp.fc1, "down": mlp.fc2}[role]
        return Linear(chosen.weight, chosen.bias)

    def finish(self, x: Tensor, project: Project = unchanged) -> Tensor:
        """Final norm: (B, T, D) -> (B, T, D)."""
        return project(self.outer_norms[-1], "norm", x, layer_norm(self.trunk.norm, x))


def resampled(positions: Tensor, side: int, rule: Resampling, first: int) -> Tensor:
    """Positions of a square grid for one of another size, in fp32.

    Args:
        positions: (1, first + n n, D), row by row.
        side: rows and columns of the new grid.
        rule: how.
        first: tokens in front of the patches that have a position, which stays as it is: 0 or 1.

    Returns:
        (1, first + side side, D).
    """
    before = round((positions.shape[1] - first) ** 0.5)
    if before == side:
        return positions.clone()
    grid = positions[:, first:].mT.reshape(1, -1, before, before)
    # With a factor torch samples at other places than with a size.
    if rule.offset:
        factor = (side + rule.offset) / before
        grid = F.interpolate(grid, scale_factor=factor, mode="bicubic", antialias=rule.antialias)
    else:
        grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=rule.antialias)
    return torch.cat([positions[:, :first], grid.flatten(2).mT], 1)


class _Pair(nn.Module):
    """Both encoders, under the names that their parameters have in one file: `visual.` and `text.`.

    Args:
        visual: timm's vision transformer.
        text: CLIP's text tower.

    Attributes:
        native: the positions of the weights file, (1, N, D); without a file, those of the model.
    """

    def __init__(self, visual: Any, text: nn.Module) -> None:
        super().__init__()
        self.visual: Any = visual
        self.text = text
        self.native: Tensor
        self.register_buffer("native", visual.pos_embed.detach().clone(), persistent=False)


def _build(config: BackboneConfig, image_size: int) -> _Pair:
    name = config.model["vision_cfg"]["timm_model_name"]
    visual = timm.create_model(name, num_classes=0, img_size=image_size)
    quick = bool(config.model.get("quick_gelu"))
    text = _build_text_tower(config.model["embed_dim"], config.model["text_cfg"], quick)
    return _Pair(visual, text)


def _fill(pair: _Pair, state: State, file: str, antialias: bool) -> None:
    """Load weights strictly; their positions may have another grid, see `DinoVision.choose`."""
    vision = DinoVision(pair.visual, pair.native)
    positions = state.get("visual.pos_embed")
    if positions is not None and not vision.takes(positions):
        raise DataError(f"the positions in {file} are not those of a square grid of patches")
    # Positions may be of any grid: the module keeps its own, and theirs are fitted to it later.
    own = pair.state_dict()
    fitted = state if positions is None else state | {"visual.pos_embed": own["visual.pos_embed"]}
    if found := differences(fitted, own):
        raise DataError(f"the weights in {file} do not fit the backbone: {'; '.join(found)}")
    pair.load_state_dict(fitted)
    pair.native = state["visual.pos_embed"].to(pair.native)


def _wrap(pair: _Pair, size: int, antialias: bool) -> Towers:
    vision = DinoVision(pair.visual, pair.native)
    vision.choose("hub")
    return Towers(vision, ClipText(pair.text))


def _vision_names(state: State, file: Path, config: BackboneConfig) -> State:
    """The names of one file of DINOv2, whoever wrote it; DataError for another model, or other registers."""
    found = dino_names(state)
    if found is None:
        raise DataError(f"{file} holds no weights of DINOv2: no public code's name of its class token is there")
    name = config.model["vision_cfg"]["timm_model_name"]
    # Whether there are registers is said twice: by the tensors, and by the name of the model.
    has = "reg_token" in found
    if has != ("_reg" in name):
        theirs = "with registers" if has else "without registers"
        other = name.replace("_dinov2", "_reg4_dinov2") if has else re.sub(r"_reg\d+", "", name)
        raise DataError(f"{file} holds DINOv2 {theirs}, which {config.name} is not; use a backbone of {other}")
    return {f"visual.{key}": value for key, value in found.items()}


def _text_names(state: State, file: Path, config: BackboneConfig) -> State:
    """The text tower's part of a file of CLIP; the rest of the file is not used."""
    named = convert_to_custom_text_state_dict(from_hugging_face(state) or state)
    return {key: value for key, value in named.items() if key.startswith("text.")}


BUILDER = Builder(_build, _fill, _wrap, part_maps={"vision": _vision_names, "text": _text_names})
