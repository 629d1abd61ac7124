"""The segmenter: frozen encoders, a method's hooks, and the trainable head (Eq. 9, 10)."""

from typing import NamedTuple, Self

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from barbench.errors import UsageError
from barbench.models.decoder import Decoder, NoDecoder
from barbench.models.hooks import Hooks
from barbench.models.neck import Neck, PlainNeck
from barbench.models.projector import LinearReadout, Projector
from barbench.models.pyramid import PyramidNeck
from barbench.models.towers.base import POSITIONAL, Backbone
from barbench.models.walk import walk
from barbench.spec.accounting import SPLIT, TOWERS

HEAD = ("neck.", "decoder.", "projector.")
NORMS = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)
LEDGER = ("adapter", "positional", "head", "frozen")
"""The groups of a ledger, a partition of the parameters."""


class Output(NamedTuple):
    """What a forward pass gives.

    Attributes:
        logits: (B, 1, 4H, 4W) before the sigmoid of Eq. 10, H x W being the vision tower's grid.
        loss_extra: what components add to the loss, a scalar; None for nothing.
    """

    logits: Tensor
    loss_extra: Tensor | None


class Segmenter(nn.Module):
    """Image and expression to a mask.

    The head is made before the method's parameters, so that one seed gives every method the same head.

    Args:
        backbone: the encoders. They become submodules; the method says which of their parameters are tuned.
        method: what changes the forward pass of the encoders.

    Attributes:
        image_size: side S of the square images, in pixels.
        tokenizer: `tokenizer(texts, context_length)` gives int64 ids (B, context_length).
        normalization: of the pixels.
    """

    def __init__(self, backbone: Backbone, method: Hooks) -> None:
        super().__init__()
        spec = backbone.head
        vision = backbone.vision
        text = backbone.text
        self.vision = vision
        self.text = text
        self.image_size = backbone.image_size
        self.tokenizer = backbone.tokenizer
        self.normalization = backbone.normalization
        self._head_weights = backbone.head_weights
        # The head, drawn before anything of the method.
        fine, middle, coarse = vision.levels
        channels = (fine.width, middle.width, coarse.width)
        # Neck: three levels and the sentence become one map.
        self.neck: nn.Module
        if spec.neck == "cris":
            self.neck = PyramidNeck(channels, text.joint, spec.width, vision.grid)
        elif spec.neck == "none":
            self.neck = PlainNeck(coarse.width, spec.width, vision.grid)
        else:
            rows = vision.grid[0]
            strides = (fine.grid[0] // rows, rows // coarse.grid[0])
            residual = spec.neck == "detris"
            self.neck = Neck(channels, text.joint, spec.width, vision.grid, strides, residual)
        # Decoder and projector, or what a linear head has in their place.
        self.decoder: nn.Module
        self.projector: nn.Module
        if spec.form == "linear":
            self.decoder = NoDecoder()
            self.projector = LinearReadout(spec.width, text.joint)
        else:
            self.decoder = Decoder(spec, text.width, vision.grid, text.context_length)
            self.projector = Projector(spec.width, text.joint)
        self.method = method
        method.attach(backbone)
        # Of the encoders, what counts as head is trained, and what the method tunes.
        in_head = {id(p) for p in self._head_parameters_of_vision()}
        for tower in (vision, text):
            for name, parameter in tower.named_parameters():
                trains = id(parameter) in in_head or method.trains(f"{tower.name}.{name}", parameter)
                parameter.requires_grad_(trains)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode for the head and the method; the encoders stay in evaluation mode, except for what is head."""
        super().train(mode)
        self.vision.eval()
        self.text.eval()
        for module in self.vision.training_modules():
            module.train(mode)
        return self

    def forward(self, image: Tensor, ids: Tensor, rows: Tensor | None = None) -> Output:
        """Predict a mask for each expression.

        Args:
            image: normalized images (U, 3, S, S).
            ids: token ids, int64 (B, L), 0 = padding.
            rows: int64 (B,): expression i refers to image rows[i]. None: to image i, and U = B.

        Returns:
            The logits and what components add to the loss.
        """
        # Both encoders, with the method's hooks in between: F_v, F_l (SNF and LIM: Eq. 1-3).
        trace = walk(self.vision, self.text, self.method, image, ids, rows)
        # Eq. 9: Head(F_out^M, F_v, F_l), in three parts. Neck (Eq. 11): F_c.
        query = self.neck(trace.levels, trace.sentence)
        # Appendix C: F_c + F_out^M, where a method has GST (Eq. 4-8).
        fused = self.method.fuse(query, trace)
        # Decoder: F_mm.
        x = self.decoder(fused.query, trace.words, trace.pad)
        # Projector (Eq. 12): F_ci . F_t.
        return Output(self.projector(x, trace.sentence), fused.loss)

    @property
    def mask_grid(self) -> tuple[int, int]:
        """Height and width of the logits, at which the loss reads masks."""
        height, width = self.vision.grid
        return 4 * height, 4 * width

    def tuned_parameters(self) -> dict[str, nn.Parameter]:
        """What training changes, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def start_from_shipped_head(self) -> None:
        """Load the neck, decoder and projector that ship with the backbone; what a method adds to the head stays.

        Raises:
            UsageError: where the backbone has none, or where it does not fit.
        """
        if self._head_weights is None:
            raise UsageError("head: shipped needs a backbone that ships with a trained head; use head: random")
        state = load_file(self._head_weights)
        wanted = {name for name in self.state_dict() if name.startswith(HEAD)}
        if state.keys() != wanted:
            odd = sorted(state.keys() ^ wanted)[:3]
            raise UsageError(f"{self._head_weights.name} does not fit this head: {', '.join(odd)}")
        weights = {name: value.float() for name, value in state.items()}
        self.load_state_dict(weights, strict=False)

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """The segmentation head's parameters by name: neck, decoder, projector, and what else counts there."""
        others = [*self.method.head_parameters(), *self._head_parameters_of_vision()]
        counted = {id(p) for p in others}
        return {n: p for n, p in self.named_parameters() if n.startswith(HEAD) or id(p) in counted}

    def _head_parameters_of_vision(self) -> list[nn.Parameter]:
        """Parameters of the vision tower that no pretrained weights hold."""
        found: list[nn.Parameter] = []
        for module in self.vision.head_modules():
            found += module.parameters()
        return found

    def ledger(self) -> dict[str, int]:
        """Numbers of parameters by group.

        Returns:
            adapter: the method's own and those of the encoders that it tunes, the paper's "Params" column. positional:
                tuned positional embeddings of the encoders. head: `head_parameters`. frozen: the rest of the encoders.
        """
        account = self.account()
        return {group: account[group] for group in LEDGER}

    def account(self) -> dict[str, int]:
        """The ledger, its adapter group divided, and the sizes of the towers: what `spec.accounting` counts with.

        Returns:
            The groups of `ledger`; own, norms, biases, weights, which make up adapter: modules that the method added,
            tuned parameters of the encoders' norms, their other tuned biases, their other tuned weights. vision and
            text: all parameters of that encoder, tuned or not, without what counts as head and without
            vision_positions and text_positions, its positional embeddings.
        """
        # A norm's gain and bias are told apart from others of that name by their module.
        norms: set[int] = set()
        for tower in (self.vision, self.text):
            for module in tower.modules():
                if isinstance(module, NORMS):
                    norms.update(id(p) for p in module.parameters(recurse=False))
        head = self.head_parameters()
        account = dict.fromkeys((*LEDGER, *SPLIT, *TOWERS), 0)
        for name, p in self.named_parameters():
            # The head comes first: parts of the vision tower may count there.
            if name in head:
                account["head"] += p.numel()
                continue
            # Outside of the towers and the head everything is the method's own.
            place = name.partition(".")[0]
            if place not in ("vision", "text"):
                account["own"] += p.numel()
                continue
            # The rest is of a tower: its size, and what of it is tuned.
            positional = name.endswith(POSITIONAL)
            account[f"{place}_positions" if positional else place] += p.numel()
            if not p.requires_grad:
                account["frozen"] += p.numel()
            elif positional:
                account["positional"] += p.numel()
            elif id(p) in norms:
                account["norms"] += p.numel()
            elif name.endswith("bias"):
                account["biases"] += p.numel()
            else:
                account["weights"] += p.numel()
        account["adapter"] = sum(account[group] for group in SPLIT)
        return account


def training_loss(output: Output, mask: Tensor) -> Tensor:
    """What training minimizes, a scalar: `segmentation_loss` for masks (B, S, S) in 0..1, plus what components add."""
    loss = segmentation_loss(output.logits, mask)
    if output.loss_extra is not None:
        loss = loss + output.loss_extra
    return loss


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Eq. 10: binary cross-entropy of logits (B, 1, h, w) and masks (B, S, S) in 0..1, see `mask_at`, averaged over all
    pixels of the logits: a scalar, in float32."""
    target = mask_at(mask, logits)
    return F.binary_cross_entropy_with_logits(logits.float(), target)


def mask_at(mask: Tensor, logits: Tensor) -> Tensor:
    """Masks (B, S, S), or (B, h, w) already, at the resolution of logits (B, 1, h, w), by nearest neighbour: float32
    (B, 1, h, w)."""
    target = mask[:, None].float()
    if target.shape == logits.shape:
        return target
    return F.interpolate(target, logits.shape[2:], mode="nearest")
