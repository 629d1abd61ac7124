"""The forward pass of both frozen encoders, block by block, with the method's hooks in between."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor, nn
from torch.func import functional_call

from barbench.models.hooks import Carry, Hooks, Order
from barbench.models.stream import (
    ATTENTION_ROLES,
    MLP_ROLES,
    Project,
    Role,
    Roles,
    Site,
    Step,
    Stream,
    TowerName,
    Trace,
    at_end,
    unchanged,
)
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


def run_block(
    tower: Tower, block: int, stream: Stream, hooks: Hooks, carry: Carry | None = None, roles: Roles | None = None
) -> Stream:
    """One frozen pre-norm block: x <- shortcut(x) + branch(x, f(norm(x))), for attention and then for the MLP.

    A stage of a ResNet runs as it is.

    Args:
        tower: the encoder.
        block: counted from 0.
        stream: its tokens (B, T, D).
        hooks: the method.
        carry: what components keep within one forward pass; None: nothing yet.
        roles: the result of `hooks.projects()`, where the caller has it already.

    Returns:
        The stream after the block.
    """
    if isinstance(tower, VisionTower) and not tower.transformer:
        return tower.stage(block, stream)
    roles, carry = hooks.projects() if roles is None else roles, {} if carry is None else carry
    sites = Site(tower.name, block, "attn"), Site(tower.name, block, "mlp")
    for site, inside in zip(sites, (ATTENTION_ROLES, MLP_ROLES), strict=True):
        x = stream.tokens
        xn = tower.norm(site, x)
        if (tower.name, "norm") in roles:
            xn = hooks.project(site, "norm", x, xn)
        project = _hooked(hooks, roles, tower.name, inside)
        delta = tower.attention(site, stream, xn, project) if site.branch == "attn" else tower.mlp(site, xn, project)
        # y = s(x) + f(x) (Eq. 1) with f the branch.
        stream = replace(stream, tokens=hooks.shortcut(site, x) + hooks.branch(site, x, xn, delta, carry))
    return stream


def _hooked(hooks: Hooks, roles: Roles, tower: TowerName, wanted: tuple[Role, ...]) -> Project:
    """`hooks.project` where it may change one of the `wanted` roles; `unchanged` lets a tower fuse its maps."""
    return hooks.project if any((tower, role) in roles for role in wanted) else unchanged


def schedule(order: Order | None, vision: int, text: int) -> list[Step]:
    """The steps of a forward pass. Text first: the text's own steps, then the vision's; both count from 0.

    Args:
        order: of both towers; None is lockstep.
        vision: depth of the vision tower, in blocks.
        text: depth of the text tower, in blocks.

    Returns:
        The steps.
    """
    if order == "text first":
        return [*(Step(i, None, i) for i in range(text)), *(Step(i, i, None) for i in range(vision))]
    return list(lockstep(vision, text))


class _Walk:
    """One forward pass: both streams, what was kept on the way, and how many rows vision has."""

    def __init__(self, vision: VisionTower, text: TextTower, hooks: Hooks, rows: Tensor | None) -> None:
        self.vision, self.text, self.hooks = vision, text, hooks
        self.waiting = rows  # None once there is a row for every text
        self.text_first = hooks.order() == "text first"
        self.steps = vision.depth if self.text_first else max(vision.depth, text.depth)
        self.apart = hooks.text_independent_steps(self.steps)
        self.roles = hooks.projects()
        self.carry: Carry = {}
        self.levels: list[Tensor] = []
        self.taps: dict[int, Tensor] = {}
        self.tokens: dict[tuple[TowerName, int], Tensor] = {}
        self.wanted, self.wanted_tokens = hooks.tapped(), hooks.tapped_tokens()
        self.words: Tensor | None = None

    def begin(self, image: Tensor, ids: Tensor) -> tuple[Stream, Stream]:
        """The tokens that enter the first blocks."""
        v = self.vision.embed(image, _hooked(self.hooks, self.roles, "vision", ("norm",)))
        t = self.text.embed(ids, _hooked(self.hooks, self.roles, "text", ("norm",)))
        v = self.met(v, 0)
        self.keep("vision", -1, v)
        self.keep("text", -1, t)
        return v, t

    def met(self, v: Stream, done: int) -> Stream:
        """Vision after `done` steps, with a row for every text where text may reach it now."""
        if self.waiting is None or done < self.apart:
            return v
        rows, self.waiting = self.waiting, None
        return v.repeated(rows)

    def spread(self, x: Tensor) -> Tensor:
        """Something of vision with a row for every text."""
        return x if self.waiting is None else x[self.waiting]

    def as_map(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches (B, N, C) as a map (B, C, H, W) with a row for every text."""
        return self.spread(x.transpose(1, 2).reshape(len(x), -1, *grid))

    def keep(self, tower: TowerName, block: int, stream: Stream) -> None:
        """Keep the tokens after a block, where a component asked for them."""
        if (tower, block) in self.wanted_tokens:
            self.tokens[tower, block] = self.spread(stream.native) if tower == "vision" else stream.native

    def run(self, step: Step, v: Stream, t: Stream) -> tuple[Stream, Stream]:
        """The blocks of one step and, after a third of the steps, what a stage hands on."""
        v, t = self.hooks.before_block(step, v, t, self.carry)
        if step.vision is not None:
            v = run_block(self.vision, step.vision, v, self.hooks, self.carry, self.roles)
            if step.vision in self.wanted:
                self.taps[step.vision] = self.as_map(v.body, self.vision.after(step.vision).grid)
            self.keep("vision", step.vision, v)
        if step.text is not None:
            t = run_block(self.text, step.text, t, self.hooks, self.carry, self.roles)
            self.keep("text", step.text, t)
        if step.vision is None and self.text_first:  # a step of the text alone
            if step.number + 1 == self.text.depth:
                self.finish_text(t)
            return v, t
        v = self.met(v, step.number + 1)
        stage = len(self.levels)
        if step.number + 1 == self.steps * (stage + 1) // STAGES:
            v, t = self.hooks.after_stage(stage, v, t, self.carry)
            last = stage == STAGES - 1
            grid = self.vision.levels[stage].grid
            self.levels.append(self.as_map(self.finished(v.body) if last else v.body, grid))
        return v, t

    def finished(self, patches: Tensor) -> Tensor:
        """Final patches in the joint space."""
        return self.vision.finish(patches, _hooked(self.hooks, self.roles, "vision", ("norm",)))

    def finish_text(self, t: Stream) -> Tensor:
        """The words after the last norm, once."""
        if self.words is None:
            self.words = self.text.finish(t.body, _hooked(self.hooks, self.roles, "text", ("norm",)))
            self.hooks.after_text(self.words, self.carry)
        return self.words


class _Encoders(nn.Module):
    """Both towers as one module, so that parameters of either can be replaced by name in one forward pass."""

    def __init__(self, vision: VisionTower, text: TextTower) -> None:
        super().__init__()
        self.vision, self.text = vision, text

    def forward(self, hooks: Hooks, image: Tensor, ids: Tensor, rows: Tensor | None) -> Trace:
        """See `walk`."""
        return _walk(self.vision, self.text, hooks, image, ids, rows)


def walk(
    vision: VisionTower, text: TextTower, hooks: Hooks, image: Tensor, ids: Tensor, rows: Tensor | None = None
) -> Trace:
    """Encode images and expressions.

    With `Hooks()` the outputs are those of the frozen encoders. What no text can reach (`Hooks.text_independent_steps`)
    is computed once per image; the trace has B rows throughout. Feature levels are taken after `after_stage` (ETRIS),
    the last one after the final norm and the projection into the joint space. Where a component asks for it
    (`Hooks.order`), the text tower runs before the vision tower; otherwise both run in lockstep.

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
    if weights := hooks.weights():
        trace: Trace = functional_call(_Encoders(vision, text), dict(weights), (hooks, image, ids, rows))
        return trace
    return _walk(vision, text, hooks, image, ids, rows)


def _walk(vision: VisionTower, text: TextTower, hooks: Hooks, image: Tensor, ids: Tensor, rows: Tensor | None) -> Trace:
    """`walk` with the towers' parameters as they are now."""
    state = _Walk(vision, text, hooks, rows)
    v, t = state.begin(image, ids)
    for step in schedule(hooks.order(), vision.depth, text.depth):
        v, t = state.run(step, v, t)
    words = state.finish_text(t)
    joint = text.project(words)
    # The sentence embedding is the joint feature of the end-of-text token, whose id is the largest.
    end = ids.argmax(1)
    seen = image if rows is None else image[rows]
    levels = state.levels[0], state.levels[1], state.levels[2]
    trace = Trace(seen, levels, words, joint, at_end(joint, end), ids == 0, end, state.taps, state.tokens)
    return hooks.readout(trace, state.carry)
