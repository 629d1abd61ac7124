"""Timing of the public code beside ours: tried on a made-up repository of the same form, on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.gpu_check.released import CLIP, clip_weights, ratios

MODEL = """
import torch
from loguru import logger
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from fvcore.nn import weight_init
from turtle import forward


class Net(torch.nn.Module):
    @configurable
    def __init__(self, width, words):
        super().__init__()
        self.kept, self.map = torch.nn.Linear(3, width), torch.nn.Conv2d(width, 1, 1)
        self.kept.requires_grad_(False)
        weight_init.c2_xavier_fill(self.map)

    @classmethod
    def from_config(cls, cfg, spec):
        weights = torch.jit.load(cfg.clip_pretrain, map_location="cpu").eval().state_dict()
        assert weights["visual.conv1.weight"].shape == (768, 3, 16, 16)
        return {"width": spec.channels, "words": cfg.word_len}

    def forward(self, image, word, mask=None):
        pred = self.map(self.kept(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        if not self.training:
            return pred.detach()
        return pred.detach(), mask, torch.nn.functional.binary_cross_entropy_with_logits(pred, mask)


def build_segmenter(args):
    print("the released code prints")
    logger.info("and logs")
    net = Net(args, ShapeSpec(channels=args.width))
    return net, [{"params": [p for p in net.parameters() if p.requires_grad]}]
"""
CONFIG = """
import types


def load_cfg_from_cfg_file(path):
    assert path.endswith("small.yaml")
    class Settings(types.SimpleNamespace):
        def __contains__(self, name):
            return name in vars(self)
    return Settings(clip_pretrain="none.pt", input_size=32, word_len=7, width=4)
"""


@pytest.mark.slow
def test_a_repository_of_the_released_form_is_timed(tmp_path: Path) -> None:
    for name, text in {"model/__init__.py": MODEL, "utils/config.py": CONFIG, "config/data/small.yaml": ""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    ours = {"train_images_per_s": 6.0, "infer_images_per_s": 8.0, "peak_gb": 1.0}
    (tmp_path / "measure.json").write_text(
        json.dumps({"precision": "fp32", "methods": {"etris-lean": ours, "barleria-lean": {"failed": "no memory"}}})
    )
    done = subprocess.run(
        [sys.executable, "-m", "tools.gpu_check.released", tmp_path / "config/data/small.yaml", "--device", "cpu",
         "--batch", "2", "--size", "16", "--steps", "1", "--beside", tmp_path / "measure.json"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    found = json.loads(first)
    assert (found["released"], found["precision"], found["batch"], found["size"]) == ("small", "fp32", 2, 16)
    assert found["tuned_parameters"] == 5, "the map's alone"
    assert found["rows"]["as released"]["train_images_per_s"] > 0
    assert "the released code prints" in done.stderr
    assert [line.split(":")[0] for line in rest] == ["etris-lean (fp32) to small (fp32, as released)"]


def test_ratios_are_ours_to_theirs() -> None:
    theirs = {"train_images_per_s": 2.0, "infer_images_per_s": 16.0, "peak_gb": 4.0}
    ours = {"train_images_per_s": 6.0, "infer_images_per_s": 8.0, "peak_gb": 1.0}
    found = {"released": "bridge_v16", "precision": "fp16", "rows": {"cudnn": theirs}}
    (line,) = ratios(found, {"precision": "bf16", "methods": {"etris-lean": ours}})
    assert line == "etris-lean (bf16) to bridge_v16 (fp16, cudnn): training 3.00, inference 0.50, peak 0.25"


@pytest.mark.parametrize("layers", [1, 2])
def test_the_random_weights_have_openais_names_and_sizes(layers: int) -> None:
    weights = clip_weights(CLIP | {"layers": layers, "vocabulary": 10})
    assert weights["visual.positional_embedding"].shape == (197, 768)
    assert weights["token_embedding.weight"].shape == (10, 512)
    block = 12 * 768**2 + 13 * 768
    vision = sum(w.numel() for n, w in weights.items() if n.startswith("visual.transformer"))
    assert vision == layers * block, "12 d^2 + 13 d per block"
