"""Make an embedded backbone from another's features: `python tools/distil_tiny.py tiny --teacher FOLDER --out
FOLDER`.

The teacher was pretrained contrastively on captions (`tools/pretrain_tiny.py`). A student has smaller pictures, and
other towers: fewer blocks (`tiny`), EVA02's kind of them (`tiny-eva`), or as many as the teacher (`tiny-l`). It learns
to give the teacher's features in the joint space, of class token and patches for pictures, of every word for captions.
No mask is used and no caption is matched with a picture again. A regression of 65 vectors a picture learns many times
faster than a contrast.
"""

import json
import math
import shutil
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from barbench.datasets.pixels.letterbox import Letterbox, normalized
from barbench.datasets.shapes.language import propose, spoken
from barbench.datasets.shapes.scene import draw, sample_scene
from barbench.files import atomic_file
from barbench.models.hooks import Hooks
from barbench.models.towers import embedded
from barbench.models.towers.base import TextTower, Tower, VisionTower
from barbench.models.towers.clip import ClipText, ClipVision
from barbench.models.towers.eva import EvaVision
from barbench.models.walk import run_block
from barbench.spec.backbone import CLIP_NORMALIZATION, CONFIG, HEAD, MERGES, WEIGHTS

SIZE = 64  # pixels
CONTEXT = 20  # tokens
PICTURES = 32  # per step
TEXTS = 64  # per step
KEEP = 100  # steps from one checkpoint to the next
SIDES = (72, 96)  # of pictures before the letterbox, in pixels
EVA = {"timm_model_name": embedded.NAME, "timm_model_pretrained": False, "timm_pool": "token", "timm_proj": None}
DEPTHS = {"tiny": 6, "tiny-eva": 6, "tiny-l": 12}
TEXT_DEPTH = 6


class Lessons(NamedTuple):
    """Pictures uint8 (N, S, S, 3) and the teacher's features (N, 1 + P, E); ids (M, L) and its features (M, L, E);
    features in half precision."""

    pictures: Tensor
    seen: Tensor
    ids: Tensor
    read: Tensor


def student_config(name: str, teacher: dict[str, Any]) -> dict[str, Any]:
    """The teacher's configuration with the student's towers."""
    vision = {**teacher["vision_cfg"], "image_size": SIZE, "layers": DEPTHS[name]}
    config = {**teacher, "vision_cfg": vision, "text_cfg": {**teacher["text_cfg"], "layers": TEXT_DEPTH}}
    if name == "tiny-eva":
        config |= {"custom_text": True, "vision_cfg": {"image_size": SIZE, **EVA}}
    return config


def make_model(config: dict[str, Any]) -> Any:
    """A CLIP of open_clip with random weights."""
    fields = dict(config)
    return CustomTextCLIP(**fields) if fields.pop("custom_text", False) else CLIP(**fields)


def towers(model: Any) -> tuple[VisionTower, TextTower]:
    vision = EvaVision(model.visual) if hasattr(model.visual, "trunk") else ClipVision(model.visual)
    return vision, ClipText(model.text if isinstance(model, CustomTextCLIP) else model)


def features(tower: Tower, inputs: Tensor) -> Tensor:
    """All tokens in the joint space, (B, T, E), of pixels (B, 3, S, S) or ids (B, L)."""
    stream = tower.embed(inputs)
    for block in range(tower.depth):
        stream = run_block(tower, block, stream, Hooks())
    tokens: Tensor = tower.finish(stream.tokens)
    return tower.project(tokens) if isinstance(tower, TextTower) else tokens


@torch.no_grad()
def prepare(teacher: tuple[VisionTower, TextTower], tokenizer: SimpleTokenizer, pictures: int, seed: int) -> Lessons:
    """Draw the pictures, and have the teacher look at them at its own size and read a caption of each."""
    vision, text = teacher
    grid = SIZE // vision.patch
    side = vision.grid[0]
    squares: list[Tensor] = []
    seen: list[Tensor] = []
    captions: list[str] = []
    families = (("people", "objects"), ("people",), ("objects",))
    styles = ("refcoco+", "refcoco", "refcocog")
    for start in range(0, pictures, PICTURES):
        large = []
        for number in range(start, min(start + PICTURES, pictures)):
            rng = np.random.default_rng([seed, number])
            width = int(rng.integers(SIDES[0], SIDES[1] + 1))
            height = int(rng.integers(SIDES[0], SIDES[1] + 1))
            scene = sample_scene(rng, width, height, int(rng.integers(3, 7)), families[number % 3])
            image = draw(scene, rng)
            squares.append(Letterbox(SIZE).image(image))
            large.append(Letterbox(side * vision.patch).image(image))
            for style in styles:
                thing = scene.things[rng.integers(len(scene.things))]
                captions.append(spoken(propose(scene, thing, style, rng), rng))
        # The teacher's map of patches, at the student's grid.
        tokens = features(vision, normalized(torch.stack(large), CLIP_NORMALIZATION))
        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, vision.grid)
        maps = F.interpolate(maps, (grid, grid), mode="bilinear", antialias=True)
        seen.append(torch.cat([tokens[:, :1], maps.flatten(2).transpose(1, 2)], 1).half())
    ids = tokenizer(list(dict.fromkeys(captions)), CONTEXT)
    read = torch.cat([features(text, part).half() for part in ids.split(256)])
    return Lessons(torch.stack(squares), torch.cat(seen), ids, read)


def begin_from(model: Any, teacher: dict[str, Tensor], depths: dict[str, int]) -> None:
    """Give the student what fits of the teacher's weights, whose towers have `depths` blocks: of its blocks every
    second one where the student has half as many. Positions are resized to the student's grid; EVA02's blocks stay
    random."""
    own = model.state_dict()
    vision, text = towers(model)
    every = {"visual": depths["visual"] // vision.depth, "text": depths["text"] // text.depth}
    for name, value in teacher.items():
        tower = "visual" if name.startswith("visual.") else "text"
        head, found, tail = name.partition("resblocks.")
        if found:
            number, _, rest = tail.partition(".")
            block, left = divmod(int(number) + 1, every[tower])
            if left:
                continue
            name = f"{head}{found}{block - 1}.{rest}"
        if name == "visual.positional_embedding":
            value = resized(value, vision.grid[0])
        custom = isinstance(model, CustomTextCLIP) and tower == "text" and name != "logit_scale"
        key = f"text.{name}" if custom else name
        if key in own and own[key].shape == value.shape:
            own[key].copy_(value)


def resized(positions: Tensor, side: int) -> Tensor:
    """Positions (1 + n n, D) of a square grid, the class token's first, for a grid of `side` x `side`."""
    before = math.isqrt(len(positions) - 1)
    grid = positions[1:].T.reshape(1, -1, before, before)
    grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True)
    return torch.cat([positions[:1], grid[0].flatten(1).T])


def rate(progress: float, peak: float) -> float:
    """Linear warm-up over 5 % of the steps, then a half cosine down to zero."""
    return peak * min(progress / 0.05, (1 + math.cos(math.pi * progress)) / 2)


def unexplained(given: Tensor, wanted: Tensor) -> Tensor:
    """The squared error as a share of the variance of `wanted`."""
    return (given - wanted).square().mean() / wanted.var()


def train(model: Any, lessons: Lessons, out: Path, steps: int, seed: int, lr: float) -> None:
    """Fit both towers in place; a log and, while it is unfinished, a checkpoint lie in `out`."""
    vision, text = towers(model)
    learned = nn.ModuleList([vision, text]).requires_grad_(True)
    optimizer = torch.optim.AdamW(learned.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    state = out / "unfinished.pt"
    done = 0
    spent = 0.0
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        done, spent = saved["step"], saved["seconds"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    begin = time.monotonic() - spent
    errors = np.zeros(2)
    mode, verb = ("a", "continues") if done else ("w", "begins")
    with open(out / "pretraining.log", mode, buffering=1) as log:
        log.write(f"{verb}: seed {seed}, {steps} steps, rate {lr}, {lessons.pictures.shape}\n")
        for step in range(done + 1, steps + 1):
            rng = np.random.default_rng([seed, step])
            chosen = torch.from_numpy(rng.integers(len(lessons.pictures), size=PICTURES))
            said = torch.from_numpy(rng.integers(len(lessons.ids), size=TEXTS))
            optimizer.param_groups[0]["lr"] = rate(step / steps, lr)
            pixels = normalized(lessons.pictures[chosen], CLIP_NORMALIZATION)
            seeing = unexplained(features(vision, pixels), lessons.seen[chosen].float())
            there = lessons.ids[said] > 0
            reading = unexplained(features(text, lessons.ids[said])[there], lessons.read[said].float()[there])
            optimizer.zero_grad()
            torch.autograd.backward(seeing + reading)
            torch.nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
            optimizer.step()
            errors += (seeing.item(), reading.item())
            if step % 50 == 0:
                seen, read = errors / 50
                errors[:] = 0
                seconds = time.monotonic() - begin
                log.write(f"step {step} seconds {seconds:.0f} unexplained: pictures {seen:.4f}, captions {read:.4f}\n")
            if step % KEEP == 0:
                saved = {"step": step, "seconds": time.monotonic() - begin, "model": model.state_dict()}
                with atomic_file(state) as file:
                    torch.save({**saved, "optimizer": optimizer.state_dict()}, file)


def main(
    name: Annotated[str, typer.Argument(help=" or ".join(DEPTHS))],
    teacher: Annotated[Path, typer.Option(help="folder of the backbone to learn from")],
    out: Annotated[Path, typer.Option(help="folder for the configuration, vocabulary, weights and log")],
    steps: Annotated[int, typer.Option(help="batches to train for")] = 1000,
    pictures: Annotated[int, typer.Option(help="pictures that the teacher looks at")] = 6000,
    seed: int = 0,
    lr: float = 1e-3,
    threads: int = 1,
) -> None:
    """Train and save in half precision; a training that was stopped continues from its last checkpoint."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    settings = json.loads((teacher / CONFIG).read_text())
    weights = {k: v.float() for k, v in load_file(teacher / WEIGHTS).items()}
    guide = make_model(settings["model_cfg"])
    guide.load_state_dict(weights)
    guide.eval().requires_grad_(False)
    depths = {
        "visual": settings["model_cfg"]["vision_cfg"]["layers"],
        "text": settings["model_cfg"]["text_cfg"]["layers"],
    }
    settings["model_cfg"] = student_config(name, settings["model_cfg"])
    (out / CONFIG).write_text(json.dumps(settings, indent=1) + "\n")
    for file in (MERGES, HEAD):
        shutil.copy(teacher / file, out / file)
    kept = out / "lessons.pt"
    if kept.is_file():
        lessons = Lessons(*torch.load(kept, weights_only=True))
    else:
        lessons = prepare(towers(guide), SimpleTokenizer(str(teacher / MERGES)), pictures, seed)
        torch.save(tuple(lessons), kept)
    model = make_model(settings["model_cfg"])
    begin_from(model, weights, depths)
    train(model, lessons, out, steps, seed, lr)
    save_file({k: v.detach().half().contiguous() for k, v in model.state_dict().items()}, out / WEIGHTS)
    (out / "unfinished.pt").unlink(missing_ok=True)
    kept.unlink()


if __name__ == "__main__":
    typer.run(main)
