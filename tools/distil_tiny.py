"""Make an embedded backbone from another's features: `python tools/distil_tiny.py tiny --teacher FOLDER --out
FOLDER`.

The teacher was pretrained contrastively on captions (`tools/pretrain_tiny.py`). A student has smaller pictures, and
other towers: fewer blocks (`tiny`), EVA02's kind of them (`tiny-eva`), or as many as the teacher (`tiny-l`). It learns
to give the teacher's features in the joint space, of class token and patches for pictures, of every word for captions.
No mask is used and no caption is matched with a picture again. A regression of 65 vectors a picture learns many times
faster than a contrast.

`tiny-dino` has DINOv2's kind of blocks and no joint space, on purpose: it learns the teacher's tokens after the last
norm, without its projection, turned by a fixed random rotation and brought to mean 0 and deviation 1 each. Its text
tower is that of `tiny`, as it is.
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
from numpy.typing import NDArray
from open_clip.model import CustomTextCLIP
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from barbench.datasets.pixels.letterbox import Letterbox, normalized
from barbench.datasets.shapes.language import propose, spoken
from barbench.datasets.shapes.scene import draw, sample_scene
from barbench.files import atomic_file
from barbench.models.hooks import Hooks
from barbench.models.stream import Project, Role, Site, unchanged
from barbench.models.towers.base import Backbone, TextTower, Tower, VisionTower
from barbench.models.towers.builder import Towers
from barbench.models.towers.load import BUILDERS, load_backbone
from barbench.models.walk import run_block
from barbench.spec.backbone import CLIP_NORMALIZATION, CONFIG, EMBEDDED, HEAD, MERGES, WEIGHTS, backbone_config

SIZE = 64  # pixels
CONTEXT = 20  # tokens
PICTURES = 32  # per step
TEXTS = 64  # per step
KEEP = 100  # steps from one checkpoint to the next
SIDES = (72, 96)  # of pictures before the letterbox, in pixels
EVA = {
    "timm_model_name": "eva02_embedded_patch8_clip_64",
    "timm_model_pretrained": False,
    "timm_pool": "token",
    "timm_proj": None,
}
DINO = {"timm_model_name": "vit_embedded_patch8_reg4_dinov2"}
DINO_NAMES = (
    ("conv1.", "patch_embed.proj."),
    ("class_embedding", "cls_token"),
    ("ln_post.", "norm."),
    ("transformer.resblocks.", "blocks."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)
"""From CLIP's names of a vision tower to timm's of DINOv2's."""
DEPTHS = {"tiny": 6, "tiny-eva": 6, "tiny-l": 12, "tiny-dino": 6}
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
    if name == "tiny-dino":
        config |= {"vision_cfg": {"image_size": SIZE, **DINO}}
    return config


def make_model(folder: Path) -> tuple[Any, Towers]:
    """A model with random weights by the configuration in a folder, and its two towers."""
    config = backbone_config(str(folder))
    builder = BUILDERS[config.family.name]
    model = builder.build(config, SIZE)
    return model, builder.wrap(model, SIZE, True)


def features(tower: Tower, inputs: Tensor, project: Project = unchanged) -> Tensor:
    """All tokens in the joint space, (B, T, E), of pixels (B, 3, S, S) or ids (B, L)."""
    stream = tower.embed(inputs)
    for block in range(tower.depth):
        stream = run_block(tower, block, stream, Hooks())
    tokens: Tensor = tower.finish(stream.tokens, project)
    return tower.project(tokens) if isinstance(tower, TextTower) else tokens


def turned_features(tower: VisionTower, inputs: Tensor) -> Tensor:
    """All tokens after the last norm, without the projection, turned by a fixed random rotation, (B, T, C)."""
    normed = inputs

    def keep(site: Site, role: Role, x: Tensor, y: Tensor) -> Tensor:
        nonlocal normed
        normed = y
        return y

    features(tower, inputs, keep)
    random = torch.randn(tower.width, tower.width, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(random)[0]
    return normed @ rotation


class Drawn(NamedTuple):
    """A picture, uint8 (H, W, 3) RGB, and what is said of it."""

    image: NDArray[np.uint8]
    captions: list[str]


def draw_one(seed: int, number: int) -> Drawn:
    """A picture with a caption in each of three styles."""
    families = (("people", "objects"), ("people",), ("objects",))
    rng = np.random.default_rng([seed, number])
    shortest, longest = SIDES
    width = int(rng.integers(shortest, longest + 1))
    height = int(rng.integers(shortest, longest + 1))
    scene = sample_scene(rng, width, height, int(rng.integers(3, 7)), families[number % 3])
    image = draw(scene, rng)
    # What is said of a thing, in the style of each data set.
    captions = []
    for style in ("refcoco+", "refcoco", "refcocog"):
        thing = scene.things[rng.integers(len(scene.things))]
        captions.append(spoken(propose(scene, thing, style, rng), rng))
    return Drawn(image, captions)


@torch.no_grad()
def prepare(teacher: Backbone, pictures: int, seed: int, aligned: bool) -> Lessons:
    """Draw the pictures, and have the teacher look at them at its own size and read a caption of each; not `aligned`:
    for a student whose vision shares no space with words."""
    vision = teacher.vision
    small = Letterbox(SIZE)
    large = Letterbox(vision.grid[0] * vision.patch)
    squares: list[Tensor] = []
    seen: list[Tensor] = []
    captions: list[str] = []
    for start in range(0, pictures, PICTURES):
        shown = []
        for number in range(start, min(start + PICTURES, pictures)):
            drawn = draw_one(seed, number)
            squares.append(small.image(drawn.image))
            shown.append(large.image(drawn.image))
            captions += drawn.captions
        pixels = normalized(torch.stack(shown), CLIP_NORMALIZATION)
        seen.append(lesson(vision, pixels, aligned).half())

    # Each caption is read once.
    ids = teacher.tokenizer(list(dict.fromkeys(captions)), CONTEXT)
    read = torch.cat([features(teacher.text, part).half() for part in ids.split(256)])
    return Lessons(torch.stack(squares), torch.cat(seen), ids, read)


def lesson(vision: VisionTower, pixels: Tensor, aligned: bool) -> Tensor:
    """What the teacher sees: its class token, and its map of patches at the student's grid."""
    tokens = features(vision, pixels) if aligned else turned_features(vision, pixels)
    grid = SIZE // vision.patch
    maps = tokens[:, 1:].transpose(1, 2).unflatten(2, vision.grid)
    maps = F.interpolate(maps, (grid, grid), mode="bilinear", antialias=True)
    patches = maps.flatten(2).transpose(1, 2)
    both = torch.cat([tokens[:, :1], patches], 1)
    if not aligned:
        both = F.layer_norm(both, both.shape[-1:])
    return both


def begin_from(model: Any, student: Towers, teacher: dict[str, Tensor], depths: dict[str, int]) -> None:
    """Give the student what fits of the teacher's weights, whose towers have `depths` blocks: of its blocks every
    second one where the student has half as many. Positions are resized to the student's grid; EVA02's blocks stay
    random."""
    own = model.state_dict()
    custom = isinstance(model, CustomTextCLIP)
    every = {
        "visual": depths["visual"] // student.vision.depth,
        "text": depths["text"] // student.text.depth,
    }
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
            value = resized(value, student.vision.grid[0])
        # open_clip's models with another text tower keep it under a name of its own.
        of_text = custom and tower == "text" and name != "logit_scale"
        key = f"text.{name}" if of_text else name
        if key in own and own[key].shape == value.shape:
            own[key].copy_(value)


def begin_dino_from(model: Any, student: Towers, teacher: dict[str, Tensor]) -> None:
    """Give `tiny-dino` every second block of the teacher's vision tower, and `tiny`'s text tower.

    The norm before the blocks has no place, the patches' bias begins at 0, and the class token includes its position.
    """
    own = model.state_dict()
    own["visual.patch_embed.proj.bias"].zero_()
    positions = resized(teacher["visual.positional_embedding"], student.vision.grid[0])
    own["visual.pos_embed"].copy_(positions[None, 1:])
    # The vision tower under timm's names, every second block of it.
    for name, value in teacher.items():
        if not name.startswith("visual.") or ".ln_pre." in name or name.endswith((".proj", "positional_embedding")):
            continue
        key = name.removeprefix("visual.")
        for theirs, ours in DINO_NAMES:
            key = key.replace(theirs, ours, 1)
        if key == "cls_token":
            value = (value + teacher["visual.positional_embedding"][0])[None, None]
        if key.startswith("blocks."):
            number, _, rest = key.removeprefix("blocks.").partition(".")
            block, left = divmod(int(number) + 1, 2)
            if left:
                continue
            key = f"blocks.{block - 1}.{rest}"
        own[f"visual.{key}"].copy_(value)
    # The text tower of `tiny`, as it is.
    for name, value in load_file(EMBEDDED["tiny"] / WEIGHTS).items():
        if f"text.{name}" in own:
            own[f"text.{name}"].copy_(value)


def resized(positions: Tensor, side: int) -> Tensor:
    """Positions (1 + n n, D) of a square grid, the class token's first, for a grid of `side` x `side`."""
    before = math.isqrt(len(positions) - 1)
    grid = positions[1:].T.reshape(1, -1, before, before)
    grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True)
    return torch.cat([positions[:1], grid[0].flatten(1).T])


def rate(progress: float, peak: float) -> float:
    """Linear warm-up over 5 % of the steps, then a half cosine down to zero."""
    half_cosine = (1 + math.cos(math.pi * progress)) / 2
    return peak * min(progress / 0.05, half_cosine)


def unexplained(given: Tensor, wanted: Tensor) -> Tensor:
    """The squared error as a share of the variance of `wanted`."""
    return (given - wanted).square().mean() / wanted.var()


def train(
    model: Any, student: Towers, lessons: Lessons, out: Path, steps: int, seed: int, lr: float, reads: bool
) -> None:
    """Fit both towers in place, or vision alone where it does not learn to read; a log and, while it is unfinished, a
    checkpoint lie in `out`."""
    vision, text = student
    learned = nn.ModuleList([vision, text] if reads else [vision]).requires_grad_(True)
    optimizer = torch.optim.AdamW(learned.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    # A training that was stopped continues from its last checkpoint.
    state = out / "unfinished.pt"
    done = 0
    spent = 0.0
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        done = saved["step"]
        spent = saved["seconds"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    begin = time.monotonic() - spent
    errors = np.zeros(2)
    patches = lessons.seen.shape[1] - 1
    verb = "continues" if done else "begins"
    with open(out / "pretraining.log", "a" if done else "w", buffering=1) as log:
        log.write(f"{verb}: seed {seed}, {steps} steps, rate {lr}, {lessons.pictures.shape}\n")
        for step in range(done + 1, steps + 1):
            # The draws of a step depend on its number alone, so that a training that was stopped continues as it was.
            rng = np.random.default_rng([seed, step])
            chosen = torch.from_numpy(rng.integers(len(lessons.pictures), size=PICTURES))
            said = torch.from_numpy(rng.integers(len(lessons.ids), size=TEXTS))
            optimizer.param_groups[0]["lr"] = rate(step / steps, lr)

            # Registers have no lesson: class token and patches alone are compared.
            pixels = normalized(lessons.pictures[chosen], CLIP_NORMALIZATION)
            seen = features(vision, pixels)
            compared = torch.cat([seen[:, :1], seen[:, -patches:]], 1)
            seeing = unexplained(compared, lessons.seen[chosen].float())
            # Words, without padding.
            reading = torch.zeros(())
            if reads:
                ids = lessons.ids[said]
                there = ids > 0
                reading = unexplained(features(text, ids)[there], lessons.read[said].float()[there])

            optimizer.zero_grad()
            torch.autograd.backward(seeing + reading)
            torch.nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
            optimizer.step()
            errors += (seeing.item(), reading.item())
            if step % 50 == 0:
                pictures, captions = errors / 50
                errors[:] = 0
                seconds = time.monotonic() - begin
                line = f"step {step} seconds {seconds:.0f} unexplained: pictures {pictures:.4f}"
                log.write(f"{line}, captions {captions:.4f}\n" if reads else f"{line}\n")
            if step % KEEP == 0:
                saved = {
                    "step": step,
                    "seconds": time.monotonic() - begin,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
                with atomic_file(state) as file:
                    torch.save(saved, file)


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
    # The student's folder: configuration, vocabulary and head.
    settings = json.loads((teacher / CONFIG).read_text())
    towers = settings["model_cfg"]
    depths = {"visual": towers["vision_cfg"]["layers"], "text": towers["text_cfg"]["layers"]}
    settings["model_cfg"] = student_config(name, towers)
    (out / CONFIG).write_text(json.dumps(settings, indent=1) + "\n")
    for file in (MERGES, HEAD):
        shutil.copy(teacher / file, out / file)

    # The lessons, made once.
    aligned = name != "tiny-dino"
    kept = out / "lessons.pt"
    if kept.is_file():
        lessons = Lessons(*torch.load(kept, weights_only=True))
    else:
        lessons = prepare(load_backbone(str(teacher)), pictures, seed, aligned)
        torch.save(tuple(lessons), kept)

    # The training.
    model, student = make_model(out)
    weights = {name: value.float() for name, value in load_file(teacher / WEIGHTS).items()}
    if aligned:
        begin_from(model, student, weights, depths)
    else:
        begin_dino_from(model, student, weights)
    train(model, student, lessons, out, steps, seed, lr, reads=aligned)
    learned = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(learned, out / WEIGHTS)
    (out / "unfinished.pt").unlink(missing_ok=True)
    kept.unlink()


if __name__ == "__main__":
    typer.run(main)
