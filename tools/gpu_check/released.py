"""Speed and memory of the public ETRIS and BarLeRIa code on one device, beside `measure`, which times barbench.

    git clone https://github.com/kkakkkka/ETRIS; git clone https://github.com/NastrondAd/BarLeRIa
    python -m tools.gpu_check.released ETRIS/config/refcoco/bridge_v16.yaml
    python -m tools.gpu_check.released BarLeRIa/config/refcoco/barleria_v16.yaml --beside gpu-check/measure.json

The folder above `config` is imported as it is. Weights, images and words are random. A training step is that of its
`engine/engine.py`: fp16 autocast with a loss scaler, Adam on all parameters that are not frozen, loss and a score read
after each step. Its `train.py` switches cuDNN off, so both settings are measured. One process, hence neither
SyncBatchNorm nor DistributedDataParallel, which cost time.
"""

import argparse
import json
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from barbench.engine import profile
from tools.gpu_check.measure import middle
from tools.gpu_check.stand_ins import stand_in

CLIP = {
    "patch": 16,
    "width": 768,
    "layers": 12,
    "grid": 14,
    "words": 77,
    "vocabulary": 49408,
    "text": 512,
    "joint": 512,
}


def clip_weights(sizes: dict[str, int] = CLIP) -> dict[str, Tensor]:
    """Random weights of a ViT under OpenAI's names.

    Args:
        sizes: as CLIP has them.

    Returns:
        The state dict.
    """
    width, text, patch, joint = (sizes[name] for name in ("width", "text", "patch", "joint"))
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (sizes["grid"] ** 2 + 1, width),
        "visual.proj": (width, joint),
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.ln_pre.weight": (width,), "visual.ln_pre.bias": (width,),
        "visual.ln_post.weight": (width,), "visual.ln_post.bias": (width,),
        "token_embedding.weight": (sizes["vocabulary"], text),
        "positional_embedding": (sizes["words"], text),
        "ln_final.weight": (text,), "ln_final.bias": (text,),
        "text_projection": (text, joint),
        "logit_scale": (),
    }  # fmt: skip
    for tower, d in (("visual.transformer", width), ("transformer", text)):
        for layer in range(sizes["layers"]):
            for name, shape in _block(d).items():
                shapes[f"{tower}.resblocks.{layer}.{name}"] = shape
    make = torch.Generator().manual_seed(0)
    norms = ("ln_pre.weight", "ln_post.weight", "ln_final.weight", "ln_1.weight", "ln_2.weight")
    return {n: torch.ones(s) if n.endswith(norms) else torch.randn(s, generator=make) * 0.02 for n, s in shapes.items()}


def _block(d: int) -> dict[str, tuple[int, ...]]:
    return {
        "attn.in_proj_weight": (3 * d, d), "attn.in_proj_bias": (3 * d,),
        "attn.out_proj.weight": (d, d), "attn.out_proj.bias": (d,),
        "ln_1.weight": (d,), "ln_1.bias": (d,), "ln_2.weight": (d,), "ln_2.bias": (d,),
        "mlp.c_fc.weight": (4 * d, d), "mlp.c_fc.bias": (4 * d,),
        "mlp.c_proj.weight": (d, 4 * d), "mlp.c_proj.bias": (d,),
    }  # fmt: skip


class _Archive(nn.Module):
    """What `torch.jit.load` gives, as far as the released code asks."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights

    def state_dict(self, *_: Any, **__: Any) -> Any:
        return self.weights


def build(config: Path, size: int | None = None) -> tuple[nn.Module, list[nn.Parameter], Any]:
    """The released model with random weights.

    Args:
        config: a YAML of the released code; the folder above `config` is put before all others of Python's path.
        size: side of the images in pixels; None: the configuration's.

    Returns:
        The model, its tuned parameters, and the configuration.
    """
    root = next(folder.parent for folder in config.resolve().parents if folder.name == "config")
    sys.path.insert(0, str(root))
    stand_in()
    import utils.config
    from model import build_segmenter

    settings = utils.config.load_cfg_from_cfg_file(str(config))
    if size is not None:
        settings.input_size = size
        if "SIDE_ADAPTER" in settings:
            settings.SIDE_ADAPTER.IMAGE_SIZE = size
    archive = _Archive(clip_weights())
    with mock.patch.object(torch.jit, "load", return_value=archive), redirect_stdout(sys.stderr):
        model, groups = build_segmenter(settings)
    return model, [p for group in groups for p in group["params"]], settings


class Trainer:
    """The released training step.

    Args:
        model: on its device.
        tuned: its tuned parameters.
        batch: image, words, and mask, on the device.
        half: fp16 autocast with a loss scaler, else fp32.
    """

    def __init__(self, model: nn.Module, tuned: list[nn.Parameter], batch: tuple[Tensor, ...], half: bool) -> None:
        self.model, self.batch, self.half, self.device = model, batch, half, batch[0].device.type
        self.optimizer = torch.optim.Adam(tuned, lr=1e-4)
        self.scaler = torch.amp.GradScaler(self.device, enabled=half)

    def step(self) -> float:
        """One step; its loss."""
        image, words, mask = self.batch
        self.model.train()
        with torch.autocast(self.device, torch.float16, enabled=self.half):
            guess, target, loss = self.model(image, words, mask[:, None])
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        (guess.sigmoid() > 0.35).eq(target > 0.5).float().mean().item()
        return float(loss)

    @torch.no_grad()
    def infer(self) -> Tensor:
        """Logits of the batch."""
        self.model.eval()
        with torch.autocast(self.device, torch.float16, enabled=self.half):
            logits: Tensor = self.model(*self.batch[:2])
        return logits


def example(batch: int, size: int, words: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Random images (B, 3, S, S), words (B, L) with padding, masks (B, S, S)."""
    make = torch.Generator().manual_seed(0)
    ids = torch.zeros(batch, words, dtype=torch.long)
    ids[:, : words // 2] = torch.randint(1, 200, (batch, words // 2), generator=make)
    ids[:, words // 2] = 49407
    image = torch.randn(batch, 3, size, size, generator=make)
    mask = (torch.rand(batch, size, size, generator=make) > 0.8).float()
    return image.to(device), ids.to(device), mask.to(device)


def measure(config: Path, device: torch.device, batch: int, size: int | None, steps: int) -> dict[str, Any]:
    """Time training steps and inference.

    Args:
        config: as `build` takes it.
        device: cuda, or cpu, which computes in fp32.
        batch: samples.
        size: side of the images in pixels; None: the configuration's.
        steps: measured after two.

    Returns:
        Sizes, and for both settings of cuDNN (of one, off, on a CPU, which has none) rates, seconds and peak memory,
        under the names that `measure` of barbench uses.
    """
    model, tuned, settings = build(config, size)
    half = device.type == "cuda"
    trainer = Trainer(model.to(device), tuned, example(batch, settings.input_size, settings.word_len, device), half)
    rows = {}
    for cudnn in (False, True)[: 1 + half]:
        torch.backends.cudnn.enabled = cudnn
        profile.reset_peak(device)
        train, peak = middle(trainer.step, device, steps), profile.peak(device)
        infer = middle(trainer.infer, device, steps)
        rows["cudnn" if cudnn else "as released"] = {
            "step_ms": train * 1e3, "train_images_per_s": batch / train, "infer_images_per_s": batch / infer,
            "peak_gb": peak.bytes / 1e9,
        }  # fmt: skip
    return {
        "released": config.stem, "precision": "fp16" if half else "fp32", "batch": batch, "size": settings.input_size,
        "tuned_parameters": sum(p.numel() for p in tuned), "rows": rows,
    }  # fmt: skip


def ratios(found: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """How many times as fast barbench's methods are.

    Args:
        found: what `measure` here gives.
        ours: measure.json, from the same device.

    Returns:
        One line per method and setting of cuDNN.
    """
    lines = []
    for name, row in ours["methods"].items():
        for setting, theirs in found["rows"].items() if "failed" not in row else ():
            times = {key: row[key] / theirs[key] for key in ("train_images_per_s", "infer_images_per_s", "peak_gb")}
            training, inference, peak = times.values()
            lines.append(
                f"{name} ({ours['precision']}) to {found['released']} ({found['precision']}, {setting}): "
                f"training {training:.2f}, inference {inference:.2f}, peak {peak:.2f}"
            )
    return lines


def main() -> None:
    """Print one line of JSON, and ratios to what `measure` found."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--beside", type=Path, help="measure.json of barbench on this device")
    given = parser.parse_args()
    found = measure(given.config, torch.device(given.device), given.batch, given.size, given.steps)
    print(json.dumps(found))
    if given.beside:
        print("\n".join(ratios(found, json.loads(given.beside.read_text()))))


if __name__ == "__main__":
    main()
