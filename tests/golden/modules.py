"""Single modules of the field's methods with the weights and inputs of `filling`, as their public code names them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from barbench.methods.adapter import Bottleneck
from barbench.methods.base import Method
from barbench.methods.cola import CrossPair, HyperNetwork, PairedMap
from barbench.methods.compacter import CompacterLayer
from barbench.methods.convpass import Bypass
from barbench.methods.detris import Aligner, CrossAttention, WordAdapter
from barbench.methods.lora import LowRank
from barbench.methods.released import DETRIS_PARTS
from barbench.methods.repadapter import GroupedBottleneck
from barbench.methods.ssf import SSF
from barbench.models.stream import Stream
from barbench.models.walk import run_block
from barbench.regression.filling import uniform, weight
from tests.golden.filling import stored
from tests.models.small import small


class Module(NamedTuple):
    """A module of ours, how it is called, and the public names that stand for its own, by parts of a name."""

    module: nn.Module
    call: Callable[[nn.Module], Tensor]
    names: Mapping[str, str]


def tokens(name: str, count: int, width: int) -> Tensor:
    """Inputs (2, count, width)."""
    return 2 * uniform(name, (2, count, width))


class SSFBlock(nn.Module):
    """One block of a vision tower with its scales and shifts."""

    def __init__(self) -> None:
        super().__init__()
        backbone, ssf = small("quickgelu"), SSF(towers=("vision",))
        ssf.attach(backbone)
        self.block = backbone.vision.visual.transformer.resblocks[0]
        self.scales = nn.ModuleDict({k.removeprefix("vision-0-"): v for k, v in ssf.maps.items() if "-0-" in k})
        self.run = lambda x: run_block(backbone.vision, 0, Stream(x, prefix=1), Method("m", [ssf])).tokens

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


SSF_NAMES = {
    "block.ln_1": "norm1",
    "block.ln_2": "norm2",
    "block.attn.in_proj_": "attn.qkv.",
    "block.attn.out_proj": "attn.proj",
    "block.mlp.c_fc": "mlp.fc1",
    "block.mlp.c_proj": "mlp.fc2",
    "scales.attn-norm.gamma": "ssf_scale_1",
    "scales.attn-norm.beta": "ssf_shift_1",
    "scales.mlp-norm.gamma": "ssf_scale_2",
    "scales.mlp-norm.beta": "ssf_shift_2",
    "scales.attn-out.gamma": "attn.ssf_scale_2",
    "scales.attn-out.beta": "attn.ssf_shift_2",
    "scales.mlp-up.gamma": "mlp.ssf_scale_1",
    "scales.mlp-up.beta": "mlp.ssf_shift_1",
    "scales.mlp-down.gamma": "mlp.ssf_scale_2",
    "scales.mlp-down.beta": "mlp.ssf_shift_2",
}
PIECES = {f"scales.attn-{role}.{own}": (f"attn.ssf_{name}_1", "qkv".index(role))
          for role in "qkv" for own, name in (("gamma", "scale"), ("beta", "shift"))}  # fmt: skip


class Compacted(nn.Module):
    """One adapter and its rule."""

    def __init__(self) -> None:
        super().__init__()
        self.rule, self.layer = nn.Parameter(torch.zeros(4, 4, 4)), CompacterLayer(32, 12, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, self.rule)


class Steered(nn.Module):
    """Frozen maps of one input side by side, each with what CoLA has beside it; the inputs are filled like weights."""

    def __init__(self, maps: str, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(48, len(maps) * outputs)
        self.maps = nn.ModuleDict()
        for name in maps:
            cross = CrossPair(48, outputs, 4, 2.0, HyperNetwork(64, 4, 4))
            self.maps[name] = PairedMap(LowRank(48, outputs, 4, 2.0), cross)
        self.x, self.c = nn.Parameter(torch.zeros(2, 5, 48)), nn.Parameter(torch.zeros(2, 64))

    def forward(self) -> Tensor:
        outputs = self.base(self.x).chunk(len(self.maps), -1)
        return torch.cat([m(self.x, y, self.c) for m, y in zip(self.maps.values(), outputs, strict=True)], -1)


STEERED = {
    "maps.m.own.a": "lora_Am",
    "maps.m.own.b": "lora_Bm",
    "maps.m.cross.a": "lora_Ac",
    "maps.m.cross.b": "lora_Bc",
    "maps.m.cross.scale": "lora_scaling_c",
}
NETWORK = {"down": "fc1", "norm": "norm", "up": "fc2", "last_norm": "norm2"}
LINEAR = {"base.": ""} | STEERED | {f"maps.m.cross.network.{own}": f"lora_mlp.{name}" for own, name in NETWORK.items()}
MERGED = {"base.": ""} | {
    f"maps.{role}.cross.network.{own}": f"lora_mlps.{role}.{name}" for role in "qkv" for own, name in NETWORK.items()
}
SPLIT = {
    "ssf": PIECES,
    "cola-merged": {
        own.replace(".m.", f".{role}."): (name, "qkv".index(role)) for role in "qkv" for own, name in STEERED.items()
    },
}
"""Of the modules whose public code keeps tensors of q, k and v in one: own name -> public name and place."""


def modules() -> dict[str, Module]:
    """Each module that a golden file holds, by the file's name."""
    cross = CrossAttention(32, 24, 16, 4, 0.0)
    return {
        "detris-aligner": Module(
            Aligner(48, 32, 24, (4, 4), cross, True),
            lambda m: m(tokens("x", 17, 48), tokens("words", 9, 24)),
            DETRIS_PARTS,
        ),
        "detris-text": Module(WordAdapter(24, 16), lambda m: m(tokens("x", 9, 24), 0), DETRIS_PARTS),
        "convpass": Module(
            Bypass(768, 8, (14, 14), "identity", 1.0, 0.0),
            lambda m: m(tokens("x", 197, 768)),
            {"down": "adapter_down", "up": "adapter_up", "conv": "adapter_conv"},
        ),
        "repadapter": Module(
            GroupedBottleneck(48, 6, 2, 0.7, 0.0),
            lambda m: m(torch.zeros(0), tokens("x", 17, 48)),  # what the norm was given is not read
            {"down": "conv_A", "up": "conv_B.weight", "bias": "conv_B.bias"},
        ),
        "adaptformer": Module(
            Bottleneck(48, 5, "relu", "zero", 0.1, 0.0),
            lambda m: m(tokens("x", 17, 48)),
            {"down": "down_proj", "up": "up_proj"},
        ),
        "compacter": Module(
            Compacted(),
            lambda m: m(tokens("x", 9, 32)),
            {"rule": "rule", "layer.": "", "factors.0": "W_left", "factors.1": "W_right", "bias": "b"},
        ),
        "cola-linear": Module(Steered("m", 32), lambda m: m(), LINEAR),
        "cola-merged": Module(Steered("qkv", 48), lambda m: m(), MERGED),
        "ssf": Module(SSFBlock(), lambda m: m(tokens("x", 17, 64)), SSF_NAMES),
    }


def public(name: str, names: Mapping[str, str]) -> str:
    """The public name of one of our parameters."""
    for own, theirs in names.items():
        if name == own or name.startswith(f"{own}.") or (own.endswith(("_", ".")) and name.startswith(own)):
            name = theirs + name[len(own) :]
            break
    if "W_left" in names.values():  # Compacter's are renamed piece by piece
        for own, theirs in list(names.items())[2:]:
            name = name.replace(own, theirs)
    return name


SHAPES = {("repadapter", "conv_A.weight"): (6, 48, 1), ("repadapter", "conv_B.weight"): (48, 3, 1)}


def measured(case: str) -> dict[str, Tensor]:
    """What the golden file of a module holds: outputs in evaluation and training mode, gradients of a weighted sum."""
    module, call, names = modules()[case]
    gathered: dict[str, list[tuple[int, Tensor]]] = {}
    pieces: Mapping[str, tuple[str, Any]] = SPLIT.get(case, {})
    with torch.no_grad():
        for own, value in module.state_dict().items():
            theirs, place = pieces.get(own, (public(own, names), None))
            whole_shape = tuple(value.shape) if place is None else (3 * len(value), *value.shape[1:])
            shape = SHAPES.get((case, theirs), whole_shape)
            whole = weight(theirs, shape)
            value.copy_((whole if place is None else whole.chunk(3)[place]).reshape(value.shape))
    output = call(module.eval())  # the gradients, too: in training a bias in front of a BatchNorm gets noise alone
    found = {"eval/out": stored("out", output.detach())}
    (output * uniform("weights", tuple(output.shape))).sum().backward()
    for own, p in module.named_parameters():
        theirs, place = pieces.get(own, (public(own, names), 0))
        if p.grad is not None:
            gathered.setdefault(theirs, []).append((place, p.grad.flatten()))
    with torch.no_grad():
        found["train/out"] = stored("out", call(module.train()))
    for theirs, parts in gathered.items():
        whole = torch.cat([part for _, part in sorted(parts, key=lambda pair: pair[0])])
        found[f"gradient/{theirs}"] = stored(theirs, whole).flatten()
    return found
