"""DETRIS as published: the whole public model on weights and inputs by name, through a file as its training saves it.

The golden file holds what jiaqihuang01/DETRIS computed at 112 px with a DINOv2 of width 48, whose positions are of a
5 x 5 grid, and CLIP's text tower of width 512, which its aligners have built in.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from barbench.benchmarks.official import load_official
from barbench.errors import DataError
from barbench.methods.build import build_segmenter
from barbench.methods.released import key_map
from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter
from barbench.models.towers.load import load_backbone
from barbench.regression.filling import uniform, weight
from tests.golden.measurements import golden, measured

SIZE, WIDTH = 112, 48
CONFIG = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": SIZE, "timm_model_name": "vit_golden_patch14_reg4_dinov2"},
    "text_cfg": {"context_length": 20, "vocab_size": 64, "width": 512, "heads": 8, "layers": 12},
}
HEAD = {"width": 512, "ffn": 64, "heads": 8, "layers": 2, "dropout": 0.0}
AT = [1, 3, 5, 7, 9, 11]
APART = {
    "dinov2.cls_token": (1, 1, WIDTH),
    "dinov2.register_tokens": (1, 4, WIDTH),
    "dinov2.pos_embed": (1, 26, WIDTH),
    "dinov2.mask_token": (1, WIDTH),
}
"""What the public file has in another form than the tower."""
INERT = 1e-4
"""Of the largest gradient: a bias in front of a BatchNorm has none but rounding errors."""


@register_model
def vit_golden_patch14_reg4_dinov2(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """timm's vit_base_patch14_reg4_dinov2 of width 48."""
    sizes = {"patch_size": 14, "embed_dim": WIDTH, "depth": 12, "num_heads": 3, "init_values": 1.0}
    chosen = {name: kwargs[name] for name in ("num_classes", "img_size")}
    return VisionTransformer(**sizes, reg_tokens=4, no_embed_class=True, **chosen)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """image (3, 3, 112, 112), ids (3, 17) with the end of text as the largest id, mask (3, 112, 112).

    In float64, since six BatchNorms in a row over few words multiply rounding errors of gradients.
    """
    start, end = 62, 63
    words = [[5, 17, 3], [8, 30, 2, 11, 25, 7, 19], [33, 4, 12, 9, 21, 6, 40, 41, 42, 43, 44, 45, 46, 47, 48]]
    ids = torch.zeros(3, 17, dtype=torch.long)
    for row, middle in zip(ids, words, strict=True):
        row[: len(middle) + 2] = torch.tensor([start, *middle, end])
    image = 1.7 * uniform("image", (3, 3, SIZE, SIZE))
    mask = uniform("mask", (3, SIZE, SIZE)) > 0.2
    return image.double(), ids, mask.double()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("detris")
    (made / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    (made / "barbench.json").write_text(json.dumps(HEAD))
    return made


@pytest.fixture(scope="module")
def state(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors by their public names, each the `weight` of its name."""
    options = {"detris.channels": 32, "detris.at": AT, "detris.text_at": AT}
    model = build_segmenter(resolve("detris")[0], load_backbone(str(folder), "random"), options=options)
    shapes = {}
    own = model.state_dict()
    for name, sources in key_map(model, "detris").items():
        shapes[sources[0]] = tuple(own[name].shape)
    shapes |= APART
    del shapes["dinov2.reg_token"]
    return {name: weight(name, shape) for name, shape in shapes.items()} | {"txt_backbone.logit_scale": torch.ones(())}


def saved(file: Path, state: dict[str, Tensor]) -> Path:
    """A file as the public training script writes it."""
    extras = {"epoch": 35, "cur_iou": 0.7, "best_iou": 0.7, "prec": {"Pr@50": 0.8}, "optimizer": {}, "scheduler": {}}
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}, **extras}, file)
    return file


def loaded(folder: Path, file: Path) -> Segmenter:
    return load_official(file, "detris", str(folder), SIZE)


def test_the_whole_model_equals_the_public_code(folder: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    assert len(state) == 970  # of the public class; 994 with a third layer of the decoder
    model = loaded(folder, saved(tmp_path / "best_model.pth", state))
    assert model.vision.level_blocks == (4, 8)
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    found, expected = measured(model, "detris", inputs), golden("detris-model")
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for name, value in expected.items() if name.startswith("gradient/"))
    for name, value in expected.items():
        scale = float(value.abs().max())
        tolerance = 1e-5
        if name.startswith("gradient/"):
            tolerance = 1e-4
            scale = max(scale, INERT * largest)
        elif "logits" not in name and "loss" not in name:
            tolerance = 1e-6
        error = float((found[name].flatten() - value.flatten()).abs().max())
        assert error < tolerance * scale, f"{name} differs by {error / scale:.1e} of its largest value"


def test_what_does_not_fit_is_named(folder: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    missing = {name: value for name, value in state.items() if name != "dinov2.blocks.3.adapter.cross.back_proj.bias"}
    with pytest.raises(DataError, match=r"missing: dinov2\.blocks\.3\.adapter\.cross\.back_proj\.bias"):
        loaded(folder, saved(file, missing))
    with pytest.raises(DataError, match=r"left over: txt_backbone\.visual\.proj"):
        loaded(folder, saved(file, state | {"txt_backbone.visual.proj": torch.zeros(2)}))
    with pytest.raises(DataError, match=r"neck\.txt_proj\.bias is \(3,\), not \(512,\)"):
        loaded(folder, saved(file, state | {"neck.txt_proj.bias": torch.zeros(3)}))
    unmarked = {name: value for name, value in state.items() if name != "dinov2.register_tokens"}
    with pytest.raises(DataError, match=r"no detris checkpoint: it has no dinov2\.register_tokens"):
        loaded(folder, saved(file, unmarked))
    with pytest.raises(DataError, match=r"a DINOv2 of 12 blocks of width 48 .*--backbone dinov2-b"):
        load_official(saved(file, state), "detris", "tiny", None)


@pytest.mark.parametrize(
    ("backbone", "options", "adapter", "whole", "tensors"),
    [
        ("dinov2-b", {}, 2_715_696, 175_529_778, 994),
        ("dinov2-l", {"detris.at": [2, 6, 10, 14, 18, 22], "detris.text_at": AT}, 3_110_448, 394_106_930, None),
        (
            "dinov2-l",
            {
                "detris.at": list(range(1, 24)),
                "detris.text_at": list(range(1, 12)),
                "detris.channels": 384,
                "detris.text_channels": 384,
            },
            33_331_360,
            424_327_842,
            None,
        ),
    ],
)
def test_published_counts(
    backbone: str, options: dict[str, Any], adapter: int, whole: int, tensors: int | None
) -> None:
    """Counted with the public classes. The whole is of the file: 37 x 37 positions, the class token's, mask token and
    CLIP's temperature included."""
    model = build_segmenter(resolve("detris")[0], load_backbone(backbone, "random", device="meta"), options=options)
    ledger = model.ledger()
    assert ledger["adapter"] == adapter
    width = model.vision.width
    positions = (37 * 37 + 1 - 32 * 32) * width
    assert sum(ledger.values()) + positions + width + 1 == whole
    if tensors is not None:
        # The mask token and the temperature are the file's alone.
        assert len(key_map(model, "detris")) + 2 == tensors
