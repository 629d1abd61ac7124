"""Pretrain the embedded `tiny` CLIP contrastively on captions of shapes: `python
tools/pretrain_tiny.py --out FOLDER`.

Nothing but pictures and captions is used, never a mask. Two similarities are trained, by the same loss: of caption and
class token, as in CLIP, and of caption and patches (each caption pools the patches that it is nearest to, as in FILIP
and SPARC), without which 200,000 pictures leave the patches of so small a model blank. Captions that happen to hold in
another picture of the batch too are no negatives there: the generator knows the truth.
"""

import gzip
import json
import math
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from safetensors.torch import load_file, save_file
from torch import Tensor

from barbench.datasets.pixels.letterbox import normalized
from barbench.datasets.shapes.language import vocabulary
from barbench.spec.backbone import CLIP_NORMALIZATION
from tools.captions import CaptionedBatch, captioned_batch

WIDTH = 96
TEXT_WIDTH = 64
DEPTH = 12
PATCH = 8
IMAGE = 96
CONTEXT = 32
TEXT_RMS = 0.4
ATTENTION = 12.0  # sharpness with which a caption pools patches


class Stage(NamedTuple):
    """A part of the curriculum: pictures of `size` pixels with (fewest, most) things, drawn `scale` times as large as
    in the benchmark."""

    share: float
    size: int
    images: int
    things: tuple[int, int]
    scale: float


CURRICULUM = (Stage(0.45, 48, 96, (1, 2), 1.7), Stage(0.55, 96, 64, (3, 6), 1.0))


def write_vocabulary(path: Path) -> int:
    """Write CLIP's merges as far as they occur in words of the shapes captions; return the size of the vocabulary.

    Byte-pair encoding only ever merges substrings of a word, so dropping the merges that are no substring leaves the
    words' tokens as CLIP's. Any other text falls apart into bytes.
    """
    words = [f"{word}</w>" for word in vocabulary()]
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        header, *lines = file.read().split("\n")
    merges = []
    for line in lines[: 49152 - 256 - 2]:  # those that CLIP's own vocabulary takes
        merged = "".join(line.split())
        if any(merged in word for word in words):
            merges.append(line)
    with gzip.GzipFile(path, "wb", mtime=0) as out:
        out.write("\n".join([header, *merges]).encode())
    return 512 + len(merges) + 2


def config(vocab_size: int) -> dict[str, object]:
    """The model in open_clip's configuration format."""
    vision = {"image_size": IMAGE, "layers": DEPTH, "width": WIDTH, "head_width": 32, "patch_size": PATCH}
    text = {
        "context_length": CONTEXT,
        "vocab_size": vocab_size,
        "width": TEXT_WIDTH,
        "heads": TEXT_WIDTH // 32,
        "layers": DEPTH,
    }
    return {
        "model_cfg": {"embed_dim": WIDTH, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": list(CLIP_NORMALIZATION.mean), "std": list(CLIP_NORMALIZATION.std)},
    }


def encode_images(model: CLIP, pixels: Tensor, corner: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Unit features of class token (B, E) and patches (B, N, E) for pixels (B, 3, S, S).

    A picture smaller than the model's own is read as a window of it: it takes the positions from `corner` (row, column)
    on.
    """
    visual = model.visual
    patches = visual.conv1(pixels)
    # The window's positions: (N, D).
    side = patches.shape[-1]
    top, left = corner
    positions = visual.positional_embedding[1:].unflatten(0, visual.grid_size)
    window = positions[top : top + side, left : left + side].flatten(0, 1)
    # As open_clip's own forward pass from here on.
    tokens = patches.flatten(2).transpose(1, 2) + window
    first = visual.class_embedding + visual.positional_embedding[0]
    x = torch.cat([first.expand(len(pixels), 1, -1), tokens], 1)
    x = visual.transformer(visual.ln_pre(x))
    x = F.normalize(visual.ln_post(x) @ visual.proj, dim=-1)
    return x[:, 0], x[:, 1:]


def encode_texts(model: CLIP, ids: Tensor) -> Tensor:
    """Sentence features (T, E) of ids (T, L), L at most the model's context."""
    length = ids.shape[1]
    mask = model.attn_mask[:length, :length]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=mask))
    ends: Tensor = x[torch.arange(len(ids)), ids.argmax(-1)]
    return ends @ model.text_projection


def pooled_similarity(texts: Tensor, patches: Tensor) -> Tensor:
    """(T, B): for every caption and picture, the mean cosine over the patches (B, N, E), weighted towards those nearest
    to the caption (T, E)."""
    cosine = torch.einsum("te,bne->tbn", texts, patches)
    return ((ATTENTION * cosine).softmax(-1) * cosine).sum(-1)


def contrast(similarity: Tensor, true: Tensor, own: Tensor) -> Tensor:
    """InfoNCE both ways over similarities (T, B), already scaled; `own` (T,) is each caption's picture, `true` (T, B)
    marks what is no negative."""
    positive = similarity.gather(1, own[:, None])[:, 0]
    negatives = similarity.masked_fill(true, -torch.inf)
    pictures = torch.logaddexp(positive, negatives.logsumexp(1))
    captions = torch.logaddexp(positive, negatives.logsumexp(0)[own])
    return (pictures + captions - 2 * positive).mean() / 2


def pixels_of(batch: CaptionedBatch) -> Tensor:
    return normalized(torch.from_numpy(batch.images), CLIP_NORMALIZATION)


def ids_of(tokenizer: SimpleTokenizer, texts: list[str]) -> Tensor:
    ids: Tensor = tokenizer(texts, CONTEXT)
    return ids[:, : int(ids.argmax(1).max()) + 1]


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over 3 % of the time, then a half cosine down to 2 % of the peak."""
    half_cosine = (1 + math.cos(math.pi * progress)) / 2
    return peak * min(progress / 0.03, 0.02 + 0.98 * half_cosine)


def main(
    out: Annotated[Path, typer.Option(help="folder for the configuration, vocabulary and weights")],
    steps: Annotated[int, typer.Option(help="batches to train for")] = 3000,
    seed: int = 0,
    lr: float = 1.5e-3,
    captions: Annotated[int, typer.Option(help="captions of each picture")] = 3,
    start: Annotated[Path | None, typer.Option(help="weights to start from instead of random ones")] = None,
    threads: int = 2,
) -> None:
    """Train and save in half precision."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    settings = config(write_vocabulary(out / "bpe.txt.gz"))
    (out / "open_clip_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    tokenizer = SimpleTokenizer(str(out / "bpe.txt.gz"))
    model = CLIP(**settings["model_cfg"])  # type: ignore[arg-type]
    if start is not None:
        weights = {name: value.float() for name, value in load_file(start).items()}
        model.load_state_dict(weights)

    # Matrices decay; biases, norms and scales do not.
    fine_scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": 0.05},
        {"params": [*others, fine_scale], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    begin = time.monotonic()
    averages = np.zeros(3)
    for step in range(1, steps + 1):
        progress = step / steps
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, lr)

        # Draw pictures with captions.
        stage = CURRICULUM[0] if progress < CURRICULUM[0].share else CURRICULUM[1]
        places = stage is CURRICULUM[1]
        batch = captioned_batch(rng, stage.images, captions, stage.size, stage.things, stage.scale, places)
        room = (IMAGE - stage.size) // PATCH
        corner = (int(rng.integers(room + 1)), int(rng.integers(room + 1)))

        # Compare each caption with whole pictures and with their patches.
        whole, patches = encode_images(model, pixels_of(batch), corner)
        texts = F.normalize(encode_texts(model, ids_of(tokenizer, batch.texts)), dim=-1)
        true = torch.from_numpy(batch.true)
        own = torch.arange(stage.images).repeat_interleave(captions)
        coarse = contrast(model.logit_scale.exp() * texts @ whole.T, true, own)
        fine = contrast(fine_scale.exp() * pooled_similarity(texts, patches), true, own)

        # Step.
        optimizer.zero_grad()
        torch.autograd.backward(coarse + fine)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
            fine_scale.clamp_(0, math.log(100))
        averages += np.array([coarse.item(), fine.item(), norm.item()])
        if step % 50 == 0:
            coarse_loss, fine_loss, norm_ = averages / 50
            averages[:] = 0
            minute = (time.monotonic() - begin) / 60
            losses = f"class {coarse_loss:.3f} patches {fine_loss:.3f} norm {norm_:.2f}"
            print(f"step {step}/{steps} minute {minute:.0f} {losses}", flush=True)
        if step % 200 == 0:
            save(model, out)
    set_text_scale(model, tokenizer)
    save(model, out)


@torch.no_grad()
def set_text_scale(model: CLIP, tokenizer: SimpleTokenizer) -> None:
    """Scale the text projection so that sentence features have a root mean square of TEXT_RMS.

    Training compares directions only, so it leaves the length to chance (here 1.4, OpenAI's ViT-B/16 has about 0.4); a
    segmentation head multiplies with these features, and learns several times slower from long ones.
    """
    texts = captioned_batch(np.random.default_rng(0), 64, 3, 96, (3, 6), 1.0, True).texts
    features = encode_texts(model, ids_of(tokenizer, texts))
    rms = features.pow(2).mean().sqrt()
    model.text_projection.mul_(TEXT_RMS / rms)


def save(model: CLIP, out: Path) -> None:
    """The weights in half precision, in open_clip's names."""
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, out / "open_clip_model.safetensors")


if __name__ == "__main__":
    typer.run(main)
