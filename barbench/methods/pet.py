"""The field's tuning methods in the catalogue, each at its original's ViT-B setting. docs/methods-catalogue.md has the
formulas, the places, the counts and the sources."""

from barbench.methods.catalog import NONE, Components, Options, method, part


@method(title="LoRA", kind="low-rank")
def lora(lora: Options = NONE) -> Components:
    """Low-rank sums beside q and v, rank 8, in both towers (Hu et al., ICLR 2022)."""
    return (part("lora", lora),)


@method(title="DoRA", kind="low-rank")
def dora(dora: Options = NONE) -> Components:
    """LoRA with the rows' lengths tuned apart, q and v, rank 8, in both towers (Liu et al., ICML 2024)."""
    return (part("dora", dora),)


@method(title="(IA)3", kind="scaling")
def ia3(ia3: Options = NONE) -> Components:
    """Gains on keys, values and widened activations of both towers (Liu et al., NeurIPS 2022)."""
    return (part("ia3", ia3),)


@method(title="SSF", kind="scaling")
def ssf(ssf: Options = NONE) -> Components:
    """Scale and shift after every map and norm of both towers (Lian et al., NeurIPS 2022)."""
    return (part("ssf", ssf),)


@method(title="Houlsby", kind="adapter")
def houlsby(adapter: Options = NONE) -> Components:
    """Bottlenecks of 64 after attention and MLP of both towers (Houlsby et al., ICML 2019)."""
    return (part("adapter", adapter),)


@method(title="Pfeiffer", kind="adapter")
def pfeiffer(adapter: Options = NONE) -> Components:
    """Bottlenecks of 96, an eighth of ViT-B's width, after the MLP of both towers (Pfeiffer et al., EMNLP 2020)."""
    return (part("adapter", adapter, places=("mlp",), width=96, act="relu"),)


@method(title="AdaptFormer", kind="adapter")
def adaptformer(adapter: Options = NONE) -> Components:
    """Bottlenecks of 64 beside the MLP of both towers, a tenth added (Chen et al., NeurIPS 2022)."""
    preset = {"places": ("mlp",), "reads": "x", "act": "relu", "init": "zero", "scale": 0.1, "dropout": 0.1}
    return (part("adapter", adapter, **preset),)


@method(title="Compacter", kind="adapter")
def compacter(compacter: Options = NONE) -> Components:
    """Adapters of Kronecker products with one rule for both towers (Karimi Mahabadi et al., NeurIPS 2021)."""
    return (part("compacter", compacter),)


@method(title="RepAdapter", kind="adapter")
def repadapter(repadapter: Options = NONE) -> Components:
    """Linear bottlenecks of 8 in front of attention and MLP of both towers (Luo et al. 2023)."""
    return (part("repadapter", repadapter),)


@method(title="ConvPass", kind="adapter")
def convpass(convpass: Options = NONE) -> Components:
    """Convolutions of 8 channels beside attention and MLP; vision only, words have no grid (Jie & Deng 2022)."""
    return (part("convpass", convpass),)


@method(title="VPT-shallow", kind="prompt")
def vpt_shallow(prompts: Options = NONE) -> Components:
    """50 learned tokens in front of the first block; vision only, as the original (Jia et al., ECCV 2022)."""
    return (part("prompts", prompts, depth=1),)


@method(title="VPT-deep", kind="prompt")
def vpt_deep(prompts: Options = NONE) -> Components:
    """50 learned tokens of its own for each block; vision only, as the original (Jia et al., ECCV 2022)."""
    return (part("prompts", prompts),)


@method(title="Deep prompts", kind="prompt")
def deep_prompts(prompts: Options = NONE) -> Components:
    """2 learned tokens for each of the first 9 blocks of both towers, uncoupled (IVLP: Khattak et al., CVPR 2023)."""
    return (part("prompts", prompts, count=2, depth=9, init="normal", towers=("vision", "text")),)


@method(title="MaPLe", kind="prompt")
def maple(maple: Options = NONE) -> Components:
    """2 learned tokens for each of the first 9 blocks of both towers, coupled (Khattak et al., CVPR 2023)."""
    return (part("maple", maple),)


@method(title="BitFit", kind="selection")
def bitfit(select: Options = NONE) -> Components:
    """Every bias of both towers (Ben Zaken et al., ACL 2022)."""
    return (part("select", select, what="bias"),)


@method(title="LayerNorm", kind="selection")
def layernorm(select: Options = NONE) -> Components:
    """Gains and shifts of every norm of both towers."""
    return (part("select", select, what="norm"),)


@method(title="LayerNorm + biases", kind="selection")
def layernorm_bias(select: Options = NONE) -> Components:
    """Every norm and every bias of both towers."""
    return (part("select", select, what="norm+bias"),)


@method(
    title="FISH mask",
    kind="selection",
    variant="the mask is chosen by 1,024 training samples after one epoch in which the head alone is trained; then the "
    "head starts anew",
)
def fish(mask: Options = NONE) -> Components:
    """The half percent of both towers' numbers with the largest Fisher information (Sung et al., NeurIPS 2021)."""
    return (part("mask", mask),)


@method(title="Random mask", kind="selection")
def random_mask(mask: Options = NONE) -> Components:
    """A half percent of both towers' numbers, drawn at random: what a FISH mask has to beat."""
    return (part("mask", mask, choice="random"),)


@method(title="LIM", kind="fusion")
def lim(lim: Options = NONE) -> Components:
    """The local intertwined module of BarLeRIa alone, for compositions such as `lora+lim`."""
    return (part("lim", lim),)


@method(title="DETRIS (CLIP)", kind="fusion", variant="the modules of DETRIS in CLIP's towers, not in DINOv2")
def detris(detris: Options = NONE) -> Components:
    """Dense aligners and dense text adapters in every second block of both towers (Huang et al., AAAI 2025)."""
    return (part("detris", detris),)


@method(title="LST", kind="side network")
def lst(lst: Options = NONE) -> Components:
    """An eighth-width side network beside each tower, read in its place (Sung et al., NeurIPS 2022)."""
    return (part("lst", lst),)
