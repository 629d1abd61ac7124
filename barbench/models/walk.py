"""The forward pass of both frozen encoders, block by block, with the method's hooks in between."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from torch import Tensor, nn
from torch.func import functional_call

from barbench.models.hooks import Carry, Hooks, Order
from barbench.models.stream import (
    ATTENTION_ROLES,
    MLP_ROLES,
    PHASES,
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
    """
    steps = max(vision, text)
    for number in range(steps):
        yield Step(number, _next_block(number, steps, vision), _next_block(number, steps, text))


def _next_block(number: int, steps: int, depth: int) -> int | None:
    """The block that a tower runs in a step; None where it pauses, because its share of blocks has run."""
    block = -(-number * depth // steps)
    following = -(-(number + 1) * depth // steps)
    return block if following > block else None


def run_block(
    tower: Tower, block: int, stream: Stream, hooks: Hooks, carry: Carry | None = None, roles: Roles | None = None
) -> Stream:
    """One frozen pre-norm block, see `block_phases`; a stage of a ResNet runs as it is.

    Args:
        block: counted from 0.
        stream: its tokens (B, T, D).
        carry: what components keep within one forward pass; None: nothing yet.
        roles: the result of `hooks.projects()`, where the caller has it already.
    """
    if isinstance(tower, VisionTower) and not tower.transformer:
        return tower.stage(block, stream)
    if roles is None:
        roles = hooks.projects()
    if carry is None:
        carry = {}
    phases = block_phases(tower, block, stream, hooks, carry, roles)
    for _ in PHASES:
        next(phases)  # nobody looks inside
    return next(phases)


def block_phases(
    tower: Tower, block: int, stream: Stream, hooks: Hooks, carry: Carry, roles: Roles
) -> Iterator[Stream]:
    """One frozen pre-norm block: x <- shortcut(x) + branch(x, f(norm(x))), for attention and then for the MLP.

    Args:
        tower: the encoder, of transformer blocks.
        block: counted from 0.
        stream: its tokens (B, T, D).
        hooks: the method.
        carry: what components keep within one forward pass.
        roles: the result of `hooks.projects()`.

    Yields:
        What there is at each of `PHASES`: the attention's heads before the out map, then the tokens before the MLP
        branch; and last the tokens after the block. (B, T, D) each.
    """
    project_attention = _project(hooks, roles, tower.name, ATTENTION_ROLES, carry)
    project_mlp = _project(hooks, roles, tower.name, MLP_ROLES, carry)
    for site in (Site(tower.name, block, "attn"), Site(tower.name, block, "mlp")):
        x = stream.tokens
        xn = tower.norm(site, x)
        if (tower.name, "norm") in roles:
            xn = hooks.project(site, "norm", x, xn, carry)
        if site.branch == "attn":
            h = tower.attended(site, stream, xn, project_attention)
            yield replace(stream, tokens=h)
            delta = tower.out(site, h, project_attention)
            del h  # a generator would keep it beside the MLP
        else:
            delta = tower.mlp(site, xn, project_mlp)
        # y = s(x) + f(x) (Eq. 1) with f the branch.
        stream = replace(stream, tokens=hooks.shortcut(site, x) + hooks.branch(site, x, xn, delta, carry))
        yield stream


def _project(hooks: Hooks, roles: Roles, tower: TowerName, wanted: tuple[Role, ...], carry: Carry) -> Project:
    """`hooks.project` where it may change one of the `wanted` roles; `unchanged` lets a tower fuse its maps."""
    if any((tower, role) in roles for role in wanted):
        return partial(hooks.project, carry=carry)
    return unchanged


def schedule(order: Order | None, vision: int, text: int) -> list[Step]:
    """The steps of a forward pass. Text first: the text's own steps, then the vision's; both count from 0.

    Args:
        order: of both towers; None is lockstep.
    """
    if order == "text first":
        text_steps = [Step(number, None, number) for number in range(text)]
        vision_steps = [Step(number, number, None) for number in range(vision)]
        return text_steps + vision_steps
    return list(lockstep(vision, text))


class _Walk:
    """One forward pass: what was recorded on the way, and how many rows vision has.

    As long as no text can reach it, vision has a row per image; then it is expanded to a row per text.
    """

    def __init__(self, vision: VisionTower, text: TextTower, hooks: Hooks, rows: Tensor | None) -> None:
        self.vision = vision
        self.text = text
        self.hooks = hooks
        self.roles = hooks.projects()
        self.phases = hooks.phases()
        self.carry: Carry = {}
        self.pending_rows = rows  # None once there is a row for every text
        self.text_first = hooks.order() == "text first"
        self.steps = vision.depth if self.text_first else max(vision.depth, text.depth)
        self.shared_steps = hooks.text_independent_steps(self.steps)
        # What the head and the components read.
        self.stage = 0  # thirds of the forward pass that are over
        self.levels: list[Tensor] = []
        self.tapped = hooks.tapped()
        self.taps: dict[int, Tensor] = {}
        self.tapped_tokens = hooks.tapped_tokens()
        self.tokens: dict[tuple[TowerName, int], Tensor] = {}
        self.words: Tensor | None = None

    def begin(self, image: Tensor, ids: Tensor) -> tuple[Stream, Stream]:
        """The tokens that enter the first blocks."""
        v = self.vision.embed(image, self._norm_project("vision"))
        t = self.text.embed(ids, self._norm_project("text"))
        v = self.expand_to_texts(v, 0)
        self.record_tokens("vision", -1, v)
        self.record_tokens("text", -1, t)
        return v, t

    def _norm_project(self, tower: TowerName) -> Project:
        """For the norms outside the blocks."""
        return _project(self.hooks, self.roles, tower, ("norm",), self.carry)

    def expand_to_texts(self, v: Stream, done: int) -> Stream:
        """Vision after `done` steps, with a row for every text where text may reach it now."""
        if self.pending_rows is None or done < self.shared_steps:
            return v
        rows = self.pending_rows
        self.pending_rows = None
        return v.repeated(rows)

    def per_text(self, x: Tensor) -> Tensor:
        """A tensor of vision with a row for every text."""
        return x if self.pending_rows is None else x[self.pending_rows]

    def as_map(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches (B, N, C) as a map (B, C, H, W) with a row for every text."""
        return self.per_text(x.transpose(1, 2).reshape(len(x), -1, *grid))

    def record_tokens(self, tower: TowerName, block: int, stream: Stream) -> None:
        """Record the tokens after a block, where a component asked for them."""
        if (tower, block) not in self.tapped_tokens:
            return
        tokens = stream.native
        self.tokens[tower, block] = self.per_text(tokens) if tower == "vision" else tokens

    def run(self, step: Step, v: Stream, t: Stream) -> tuple[Stream, Stream]:
        """The blocks of one step and, after each third of the steps, a feature level."""
        # One block of each tower that has one in this step.
        v, t = self.hooks.before_block(step, v, t, self.carry)
        v, t = self.run_blocks(step, v, t)
        if step.vision is not None:
            if step.vision in self.tapped:
                self.taps[step.vision] = self.as_map(v.body, self.vision.after(step.vision).grid)
            self.record_tokens("vision", step.vision, v)
            if step.vision in (self.vision.level_blocks or ()):
                self.levels.append(self.as_map(v.body, self.vision.after(step.vision).grid))
        if step.text is not None:
            self.record_tokens("text", step.text, t)

        # Where the text runs first, its steps count apart and end no stage.
        if self.text_first and step.vision is None:
            if step.number + 1 == self.text.depth:
                self.finish_text(t)
            return v, t

        # The end of a stage: a feature level for the head.
        done = step.number + 1
        v = self.expand_to_texts(v, done)
        if done == self.steps * (self.stage + 1) // STAGES:
            v, t = self.hooks.after_stage(self.stage, v, t, self.carry)
            if self.stage == STAGES - 1:
                patches = self.vision.finish(v.body, self._norm_project("vision"))
                self.levels.append(self.as_map(patches, self.vision.levels[-1].grid))
            elif self.vision.level_blocks is None:
                self.levels.append(self.as_map(v.body, self.vision.levels[self.stage].grid))
            self.stage += 1
        return v, t

    def run_blocks(self, step: Step, v: Stream, t: Stream) -> tuple[Stream, Stream]:
        """The blocks of one step: one tower after the other, or in turn where a component sees both inside of them."""
        if self.phases and step.vision is not None and step.text is not None:
            # Both blocks up to each phase, in which the components see what there is.
            vision = block_phases(self.vision, step.vision, v, self.hooks, self.carry, self.roles)
            text = block_phases(self.text, step.text, t, self.hooks, self.carry, self.roles)
            for phase in PHASES:
                inside_v = next(vision)
                inside_t = next(text)
                if phase in self.phases:
                    self.hooks.inside_block(phase, inside_v, inside_t, self.carry)
            return next(vision), next(text)
        if step.vision is not None:
            v = run_block(self.vision, step.vision, v, self.hooks, self.carry, self.roles)
        if step.text is not None:
            t = run_block(self.text, step.text, t, self.hooks, self.carry, self.roles)
        return v, t

    def finish_text(self, t: Stream) -> Tensor:
        """The words after the last norm, computed once."""
        if self.words is None:
            self.words = self.text.finish(t.body, self._norm_project("text"))
            self.hooks.after_text(self.words, self.carry)
        return self.words


class _Encoders(nn.Module):
    """Both towers as one module, so that parameters of either can be replaced by name in one forward pass."""

    def __init__(self, vision: VisionTower, text: TextTower) -> None:
        super().__init__()
        self.vision = vision
        self.text = text

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
        image: normalized images (U, 3, S, S).
        ids: token ids, int64 (B, L): 0 = padding, and the end-of-text id is the largest (as in CLIP).
        rows: int64 (B,): text i refers to image rows[i]. None: to image i, and U = B.

    Returns:
        Features of images and words, B rows each.
    """
    if weights := hooks.weights():
        # No parameter has two names. Looking for such ones would split what `torch.compile` traces into three graphs.
        encoders = _Encoders(vision, text)
        inputs = (hooks, image, ids, rows)
        trace: Trace = functional_call(encoders, dict(weights), inputs, tie_weights=False)
        return trace
    return _walk(vision, text, hooks, image, ids, rows)


def _walk(vision: VisionTower, text: TextTower, hooks: Hooks, image: Tensor, ids: Tensor, rows: Tensor | None) -> Trace:
    """`walk` with the towers' parameters as they are now."""
    # Both towers, block by block.
    state = _Walk(vision, text, hooks, rows)
    v, t = state.begin(image, ids)
    for step in schedule(hooks.order(), vision.depth, text.depth):
        v, t = state.run(step, v, t)

    # What the head reads.
    words = state.finish_text(t)
    joint = text.project(words)
    # The sentence embedding is the joint feature of the end-of-text token, whose id is the largest.
    end = ids.argmax(1)
    first, second, last = state.levels
    trace = Trace(
        image=image if rows is None else image[rows],
        levels=(first, second, last),
        words=words,
        joint=joint,
        sentence=at_end(joint, end),
        pad=ids == 0,
        end=end,
        taps=state.taps,
        tokens=state.tokens,
    )
    return hooks.readout(trace, state.carry)
