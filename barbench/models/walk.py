"""The forward pass of both frozen encoders in lockstep, block by block, with the method's hooks in between."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from barbench.models.hooks import Carry, Hooks
from barbench.models.stream import Site, Step, Stream, Trace, unchanged
from barbench.models.towers.base import TextTower, Tower, VisionTower

STAGES = 3


def lockstep(vision: int, text: int) -> Iterator[Step]:
    """The schedule of two towers: the deeper one runs a block at each step, the other one in proportion.

    >>> [(s.vision, s.text) for s in lockstep(4, 2)]
    [(0, 0), (1, None), (2, 1), (3, None)]

    Args:
        vision: depth of the vision tower, in blocks.
        text: depth of the text tower, in blocks.

    Yields:
        One step per block of the deeper tower.
    """
    steps = max(vision, text)
    for number in range(steps):
        runs = [-(-number * depth // steps) for depth in (vision, text)]
        nexts = [-(-(number + 1) * depth // steps) for depth in (vision, text)]
        v, t = (now if then > now else None for now, then in zip(runs, nexts, strict=True))
        yield Step(number, v, t)


def run_block(tower: Tower, block: int, stream: Stream, hooks: Hooks) -> Stream:
    """One frozen pre-norm block: x <- shortcut(x) + branch(x, f(norm(x))), for attention and then for the MLP.

    Args:
        tower: the encoder.
        block: counted from 0.
        stream: its tokens (B, T, D).
        hooks: the method.

    Returns:
        The stream after the block.
    """
    project = hooks.project if hooks.projects() else unchanged
    # y = s(x) + f(x) (Eq. 1) with f the attention.
    site, x = Site(tower.name, block, "attn"), stream.tokens
    delta = tower.attention(site, stream, project)
    x = hooks.shortcut(site, x) + hooks.branch(site, x, delta)
    # The same with f the MLP.
    site = Site(tower.name, block, "mlp")
    delta = tower.mlp(site, x, project)
    return replace(stream, tokens=hooks.shortcut(site, x) + hooks.branch(site, x, delta))


def walk(
    vision: VisionTower, text: TextTower, hooks: Hooks, image: Tensor, ids: Tensor, rows: Tensor | None = None
) -> Trace:
    """Encode images and expressions.

    With `Hooks()` the outputs are those of the frozen encoders. What no text can reach (`Hooks.text_independent_steps`)
    is computed once per image; the trace has B rows throughout. Feature levels are taken after `after_stage` (ETRIS),
    the last one after the final norm and the projection into the joint space.

    Args:
        vision: the image encoder.
        text: the text encoder.
        hooks: the method.
        image: normalised images (U, 3, S, S).
        ids: token ids, int64 (B, L): 0 = padding, and the end-of-text id is the largest (as in CLIP).
        rows: int64 (B,): text i refers to image rows[i]. None: to image i, and U = B.

    Returns:
        Features of images and words, B rows each.
    """
    steps = max(vision.depth, text.depth)
    independent = hooks.text_independent_steps(steps)
    waiting = rows  # None once vision has a row for every text

    def as_map(x: Tensor) -> Tensor:
        x = x.transpose(1, 2).reshape(len(x), -1, *vision.grid)
        return x if waiting is None else x[waiting]

    def spread(v: Stream, done: int) -> tuple[Stream, Tensor | None]:
        """Vision after `done` steps, with a row for every text from the step on in which text may reach it."""
        return (v, waiting) if waiting is None or done < independent else (v.repeated(waiting), None)

    (v, waiting), t = spread(vision.embed(image), 0), text.embed(ids)
    carry: Carry = {}
    levels: list[Tensor] = []
    taps: dict[int, Tensor] = {}
    tapped = hooks.tapped()
    for step in lockstep(vision.depth, text.depth):
        v, t = hooks.before_block(step, v, t)
        if step.vision is not None:
            v = run_block(vision, step.vision, v, hooks)
            if step.vision in tapped:
                taps[step.vision] = as_map(v.body)
        if step.text is not None:
            t = run_block(text, step.text, t, hooks)
        v, waiting = spread(v, step.number + 1)
        # After each third of the depth the towers may exchange, and the head takes a feature level.
        stage = len(levels)
        if step.number + 1 == steps * (stage + 1) // STAGES:
            v, t = hooks.after_stage(stage, v, t, carry)
            levels.append(as_map(v.body if stage < STAGES - 1 else vision.finish(v.body)))
    words = text.finish(t.body)
    joint = text.project(words)
    # The sentence embedding is the joint feature of the end-of-text token, whose id is the largest.
    sentence = joint[torch.arange(len(ids), device=ids.device), ids.argmax(1)]
    seen = image if rows is None else image[rows]
    return Trace(seen, (levels[0], levels[1], levels[2]), words, joint, sentence, ids == 0, taps)
