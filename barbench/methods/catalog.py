"""The catalogue of methods: each is a function that returns components, under a decorator. See `barbench list methods`.

An entry is all that the catalogue knows of a method: which components it has, the suites that it is in, and which of
its options shrink with a narrow backbone. Each method has its original's ViT-B setting; docs/methods-catalogue.md has
formulas, counts and sources. A method from outside is one more decorated function, found as `package.module:name` or
through an entry point of group `barbench.methods`.
"""

from barbench.methods.entry import (
    COMPONENTS,
    KINDS,
    METHODS,
    NONE,
    Components,
    Kind,
    MethodSpec,
    Options,
    make,
    method,
    part,
)
from barbench.methods.scaling import Alpha, Depth, Heads, Rules, Width

__all__ = [
    "COMPONENTS",
    "KINDS",
    "METHODS",
    "NONE",
    "Components",
    "Kind",
    "MethodSpec",
    "Options",
    "make",
    "method",
    "part",
]

PET = ("pet-default",)
"""The suite that compares the field's methods at their originals' settings; its rows have the order of this file."""

# How the options of the paper's components shrink, for the methods that share them.
SNF: Rules = {"snf.length": Width(4)}
BRIDGE: Rules = {"bridge.dim": Width(128, 8, ("bridge.heads",)), "bridge.heads": Heads(8, of="bridge.dim")}
LIM: Rules = {"lim.hidden": Width(32)}
GST: Rules = {
    "gst.side": Width(144, 4, ("gst.heads",)),
    "gst.heads": Heads(6, of="gst.side"),
    "gst.queries": Width(128),
    "gst.modules": Depth(4),
}
TOPDOWN: Rules = {
    "topdown.side": Width(144, 2, ("topdown.heads",)),
    "topdown.heads": Heads(3, of="topdown.side"),
    "topdown.queries": Width(128),
    "topdown.depth": Depth(8, least=4),
}
DETRIS: Rules = {
    "detris.channels": Width(128, 16),
    "detris.text_channels": Width(64, 16),
    "detris.embed": Width(128, 8, ("detris.heads",)),
    "detris.heads": Heads(8, of="detris.embed"),
}


# Reference: the smallest training.
@method(title="Head only", kind="reference", suites=PET)
def head_only() -> Components:
    """Reference point: frozen encoders, the segmentation head alone."""
    return ()


# The methods of the field.
@method(
    title="LoRA",
    kind="low-rank",
    components={"lora": "lora:LoRA"},
    rules={"lora.rank": Width(8), "lora.text_rank": Width(None), "lora.alpha": Alpha(8.0, of="lora.rank")},
    suites=PET,
)
def lora(lora: Options = NONE) -> Components:
    """Low-rank sums beside q and v, rank 8, in both towers (Hu et al., ICLR 2022)."""
    return (part("lora", lora),)


@method(
    title="LoRA, all maps",
    kind="low-rank",
    variant="rank 8 meets BarLeRIa's budget; no paper prints this row on CLIP",
    rules={"lora.rank": Width(8), "lora.text_rank": Width(None), "lora.alpha": Alpha(8.0, of="lora.rank")},
)
def lora_all(lora: Options = NONE) -> Components:
    """Low-rank sums beside every linear map of the blocks, rank 8, in both towers."""
    return (part("lora", lora, roles=("q", "k", "v", "out", "up", "gate", "down")),)


@method(
    title="DoRA",
    kind="low-rank",
    components={"dora": "dora:DoRA"},
    rules={"dora.rank": Width(8), "dora.alpha": Alpha(8.0, of="dora.rank")},
    suites=PET,
)
def dora(dora: Options = NONE) -> Components:
    """LoRA with the rows' lengths tuned apart, q and v, rank 8, in both towers (Liu et al., ICML 2024)."""
    return (part("dora", dora),)


@method(title="(IA)3", kind="scaling", components={"ia3": "ia3:IA3"}, suites=PET)
def ia3(ia3: Options = NONE) -> Components:
    """Gains on keys, values and widened activations of both towers (Liu et al., NeurIPS 2022)."""
    return (part("ia3", ia3),)


@method(title="SSF", kind="scaling", components={"ssf": "ssf:SSF"}, suites=PET)
def ssf(ssf: Options = NONE) -> Components:
    """Scale and shift after every map and norm of both towers (Lian et al., NeurIPS 2022)."""
    return (part("ssf", ssf),)


@method(
    title="Houlsby",
    kind="adapter",
    components={"adapter": "adapter:Adapter"},
    rules={"adapter.width": Width(64)},
    suites=PET,
)
def houlsby(adapter: Options = NONE) -> Components:
    """Bottlenecks of 64 after attention and MLP of both towers (Houlsby et al., ICML 2019)."""
    return (part("adapter", adapter),)


@method(title="Pfeiffer", kind="adapter", rules={"adapter.width": Width(96)}, suites=PET)
def pfeiffer(adapter: Options = NONE) -> Components:
    """Bottlenecks of 96, an eighth of ViT-B's width, after the MLP of both towers (Pfeiffer et al., EMNLP 2020)."""
    return (part("adapter", adapter, places=("mlp",), width=96, act="relu"),)


@method(title="AdaptFormer", kind="adapter", rules={"adapter.width": Width(64)}, suites=PET)
def adaptformer(adapter: Options = NONE) -> Components:
    """Bottlenecks of 64 beside the MLP of both towers, a tenth added (Chen et al., NeurIPS 2022)."""
    preset = {"places": ("mlp",), "reads": "x", "act": "relu", "init": "zero", "scale": 0.1, "dropout": 0.1}
    return (part("adapter", adapter, **preset),)


@method(
    title="Compacter",
    kind="adapter",
    components={"compacter": "compacter:Compacter"},
    rules={"compacter.width": Width(None, 4), "compacter.text_width": Width(None, 4)},
    suites=PET,
)
def compacter(compacter: Options = NONE) -> Components:
    """Adapters of Kronecker products with one rule for both towers (Karimi Mahabadi et al., NeurIPS 2021)."""
    return (part("compacter", compacter),)


@method(
    title="RepAdapter",
    kind="adapter",
    components={"repadapter": "repadapter:RepAdapter"},
    rules={"repadapter.width": Width(8, 2, ("repadapter.groups",))},
    suites=PET,
)
def repadapter(repadapter: Options = NONE) -> Components:
    """Linear bottlenecks of 8 in front of attention and MLP of both towers (Luo et al. 2023)."""
    return (part("repadapter", repadapter),)


@method(
    title="ConvPass",
    kind="adapter",
    components={"convpass": "convpass:ConvPass"},
    rules={"convpass.width": Width(8)},
    suites=PET,
)
def convpass(convpass: Options = NONE) -> Components:
    """Convolutions of 8 channels beside attention and MLP; vision only, words have no grid (Jie & Deng 2022)."""
    return (part("convpass", convpass),)


@method(
    title="VPT-shallow",
    kind="prompt",
    components={"prompts": "prompts:Prompts"},
    rules={"prompts.count": Width(50)},
    suites=PET,
)
def vpt_shallow(prompts: Options = NONE) -> Components:
    """50 learned tokens in front of the first block; vision only, as the original (Jia et al., ECCV 2022)."""
    return (part("prompts", prompts, depth=1),)


@method(title="VPT-deep", kind="prompt", rules={"prompts.count": Width(50)}, suites=PET)
def vpt_deep(prompts: Options = NONE) -> Components:
    """50 learned tokens of its own for each block; vision only, as the original (Jia et al., ECCV 2022)."""
    return (part("prompts", prompts),)


@method(title="Deep prompts", kind="prompt", rules={"prompts.count": Width(2), "prompts.depth": Depth(9)}, suites=PET)
def deep_prompts(prompts: Options = NONE) -> Components:
    """2 learned tokens for each of the first 9 blocks of both towers, uncoupled (IVLP: Khattak et al., CVPR 2023)."""
    return (part("prompts", prompts, count=2, depth=9, init="normal", towers=("vision", "text")),)


@method(
    title="MaPLe",
    kind="prompt",
    components={"maple": "maple:MaPLe"},
    rules={"maple.count": Width(2), "maple.depth": Depth(9)},
    suites=PET,
)
def maple(maple: Options = NONE) -> Components:
    """2 learned tokens for each of the first 9 blocks of both towers, coupled (Khattak et al., CVPR 2023)."""
    return (part("maple", maple),)


@method(
    title="Two-way prompts",
    kind="prompt",
    variant="a reading of Prompt-RIS, whose cross-attentions, start and counts are not public",
    components={"twoway": "twoway:TwoWayPrompts"},
    rules={
        "twoway.count": Width(16),
        "twoway.embed": Width(32, 1, ("twoway.heads",)),
        "twoway.heads": Heads(8, of="twoway.embed"),
    },
)
def two_way_prompts(twoway: Options = NONE) -> Components:
    """16 prompts for each block of both towers, gathered from the other one (Prompt-RIS: Shang et al., CVPR 2024)."""
    return (part("twoway", twoway),)


@method(title="BitFit", kind="selection", components={"select": "select:Select"}, suites=PET)
def bitfit(select: Options = NONE) -> Components:
    """Every bias of both towers (Ben Zaken et al., ACL 2022)."""
    return (part("select", select, what="bias"),)


@method(title="LayerNorm", kind="selection", suites=PET)
def layernorm(select: Options = NONE) -> Components:
    """Gains and shifts of every norm of both towers."""
    return (part("select", select, what="norm"),)


@method(title="LayerNorm + biases", kind="selection", suites=PET)
def layernorm_bias(select: Options = NONE) -> Components:
    """Every norm and every bias of both towers: on `dinov2-b`, what SERA tunes of its encoders (203,008)."""
    return (part("select", select, what="norm+bias"),)


@method(
    title="FISH mask",
    kind="selection",
    variant="the mask is chosen by 1,024 training samples after one epoch in which the head alone is trained; then the "
    "head starts again",
    components={"mask": "mask:Mask"},
    suites=PET,
)
def fish(mask: Options = NONE) -> Components:
    """The half percent of both towers' numbers with the largest Fisher information (Sung et al., NeurIPS 2021)."""
    return (part("mask", mask),)


@method(title="Random mask", kind="selection", suites=PET)
def random_mask(mask: Options = NONE) -> Components:
    """A half percent of both towers' numbers, drawn at random: what a FISH mask has to beat."""
    return (part("mask", mask, choice="random"),)


@method(title="LIM", kind="fusion", components={"lim": "lim:LIM"}, rules=LIM)
def lim(lim: Options = NONE) -> Components:
    """The local intertwined module of BarLeRIa alone, for compositions such as `lora+lim`."""
    return (part("lim", lim),)


@method(
    title="DETRIS (CLIP)",
    kind="fusion",
    variant="the modules of DETRIS; on CLIP's towers a reading, on dinov2-b as published with --neck detris, "
    "dinov2.levels=4+8 and dinov2.positions=detris",
    components={"detris": "detris:Detris"},
    rules=DETRIS,
    suites=PET,
)
def detris(detris: Options = NONE) -> Components:
    """Dense aligners and dense text adapters in every second block of both towers (Huang et al., AAAI 2025)."""
    return (part("detris", detris),)


@method(
    title="CoLA (uniform)",
    kind="fusion",
    variant="all maps of a block see the other tower's tokens before it; as published, three stages of it: "
    "cola.exchange=progressive; on CLIP's towers",
    components={"cola": "cola:CoLA"},
    rules={"cola.rank": Width(16, 2), "cola.alpha": Alpha(8.0, of="cola.rank")},
)
def cola(cola: Options = NONE) -> Components:
    """LoRA at all maps of both towers, and a second pair that the other tower steers (Suharitdamrong et al. 2026)."""
    return (part("cola", cola),)


@method(title="LST", kind="side network", components={"lst": "lst:LST"}, suites=PET)
def lst(lst: Options = NONE) -> Components:
    """An eighth-width side network beside each tower, read in its place (Sung et al., NeurIPS 2022)."""
    return (part("lst", lst),)


# The methods of the BarLeRIa paper, their other readings and the released code.
@method(title="ETRIS", kind="paper", components={"bridge": "bridge:Bridge"}, rules=BRIDGE, suites=PET)
def etris(bridge: Options = NONE) -> Components:
    """The bridge alone (ETRIS, Xu et al., ICCV 2023)."""
    return (part("bridge", bridge),)


@method(title="SNF", kind="paper", components={"snf": "snf:SNF"}, rules=SNF, suites=PET)
def snf(snf: Options = NONE) -> Components:
    """Flows on the vision shortcuts alone (SNF, Wang et al., CVPR 2023)."""
    return (part("snf", snf, towers=("vision",)),)


@method(title="SNF+ETRIS", kind="paper", rules=SNF | BRIDGE, suites=PET)
def snf_etris(snf: Options = NONE, bridge: Options = NONE) -> Components:
    """Vision flows and the bridge."""
    return (part("snf", snf, towers=("vision",)), part("bridge", bridge))


@method(title="No Global", kind="paper", rules=SNF | LIM, suites=PET)
def no_global(snf: Options = NONE, lim: Options = NONE) -> Components:
    """Flows in both towers and the local intertwined module: BarLeRIa without its global part."""
    return (part("snf", snf), part("lim", lim))


@method(title="BarLeRIa", kind="paper", components={"gst": "gst:GST"}, rules=SNF | LIM | GST, suites=PET)
def barleria(snf: Options = NONE, lim: Options = NONE, gst: Options = NONE) -> Components:
    """The whole of BarLeRIa."""
    return (part("snf", snf), part("lim", lim), part("gst", gst))


@method(
    kind="paper",
    title="SNF (Hadamard)",
    variant="Eq. 1's other reading: every product elementwise, no affine map",
    rules=SNF,
)
def snf_hadamard(snf: Options = NONE) -> Components:
    """Elementwise flows on the vision shortcuts."""
    return (part("snf", snf, towers=("vision",), flow="hadamard"),)


@method(
    kind="paper",
    title="No Global (Hadamard)",
    variant="Eq. 1's other reading: every product elementwise, no affine map",
    rules=SNF | LIM,
)
def no_global_hadamard(snf: Options = NONE, lim: Options = NONE) -> Components:
    """Elementwise flows in both towers and the local intertwined module."""
    return (part("snf", snf, flow="hadamard"), part("lim", lim))


@method(
    kind="paper",
    title="No Global (released)",
    variant="as in the authors' code: words enter the vision tower once, at its input; nothing enters the text tower",
    rules=SNF | LIM,
)
def no_global_released(snf: Options = NONE, lim: Options = NONE) -> Components:
    """Flows in both towers; words enter the vision tower at its input and stay there as tokens like the patches."""
    return (part("snf", snf), part("lim", lim, into=("vision",), every="input"))


@method(
    kind="paper",
    title="BarLeRIa (released)",
    variant="as in the authors' code: words enter once, a top-down side network runs twice with a reconstruction loss "
    "and no detach, and predictions depend on the batch (topdown.cosine=sample: they do not)",
    components={"topdown": "topdown:TopDown"},
    rules=SNF | LIM | TOPDOWN,
)
def barleria_released(snf: Options = NONE, lim: Options = NONE, topdown: Options = NONE) -> Components:
    """The method that the public BarLeRIa code trains."""
    return (*no_global_released.build(snf, lim), part("topdown", topdown))


# References: both encoders in full.
@method(title="Full fine-tuning", kind="reference", components={"full": "tune:Full"}, suites=PET)
def full() -> Components:
    """Reference point: both encoders are trained in full."""
    return (part("full"),)


@method(title="CRIS", kind="reference", neck="cris")
def cris() -> Components:
    """Both encoders trained in full behind the neck of CRIS (Wang et al., CVPR 2022); recipe `cris` has its rates."""
    return (part("full"),)
