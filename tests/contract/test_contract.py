"""What every registered method owes on every kind of tower. Registering one is testing it."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from barbench.engine.train import make_optimizer
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from barbench.models.segmenter import Segmenter, training_loss
from barbench.models.towers.load import load_backbone
from barbench.models.walk import walk
from barbench.paper.tables import PAPER_METHODS
from barbench.spec.recipe import parse_recipe
from tests.models.small import DINO, KINDS, RESNET, RESNET_SIZE, SIZE, inputs, small
from tests.models.towers.test_resnet import USED_ON

RECIPE = parse_recipe("test", {"epochs": 1, "batch": 8, "lr": 1e-3, "adapter_lr": 0.5})
METHODS = {spec.name: spec for spec in resolve("everything")}
# By design of the released code, its predictions depend on the batch; with these options they do not.
BATCH_DEPENDENT = {"barleria-released": {"topdown.cosine": "sample"}}
# The paper's five methods use every hook that reads a tower's kind; two kinds tell as much of the others as six.
TWO = ("quickgelu", "eva")
PAIRS = [(name, kind) for name in METHODS for kind in (KINDS if name in PAPER_METHODS else TWO)]
PAIRS += [(name, RESNET) for name in sorted(USED_ON)]
# Its words and patches share no space, which BarLeRIa's prior needs: tests/models/towers/test_dinov2.py.
PAIRS += [(name, DINO) for name in METHODS if name != "barleria"]
everything = pytest.mark.parametrize(("name", "kind"), PAIRS)
# A detached side network lets nothing be tuned behind it: tests/methods/test_lst.py.
POSITIONS_UNREACHED = {"lst"}
# What a method changes before anything is trained: nothing to rounding, except these, as their originals.
SCALE = {"compacter": 1e-4, "houlsby": 0.05, "pfeiffer": 0.05, "ssf": 1.0}
CHANGES = {"vpt-shallow", "vpt-deep", "deep-prompts", "two-way-prompts", "maple", "detris", "lst"}
IDENTITY = {"cola"}
"""Methods of fusion that start at the identity, as LoRA does."""


def built(name: str, kind: str, **options: object) -> Segmenter:
    return build_segmenter(METHODS[name], small(kind, shallow=True), seed=0, options=options)


def given(kind: str, batch: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    return inputs(batch, seed, size=RESNET_SIZE if kind == RESNET else SIZE)


def loss_of(model: Segmenter, image: Tensor, ids: Tensor) -> Tensor:
    return training_loss(model(image, ids), (image.mean(1) > 0).float())


@everything
def test_training_reaches_every_tuned_parameter_and_no_other(name: str, kind: str) -> None:
    """In two to ten steps: most methods start with a zero matrix, so that what is behind it gets its first gradient in
    the second step; two zeros behind each other would never get one."""
    model = built(name, kind).train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    tuned = model.tuned_parameters()
    assert sum(p.numel() for p in tuned.values()) == sum(v for k, v in model.ledger().items() if k != "frozen")
    optimiser, unmoved = torch.optim.Adam(tuned.values(), lr=1e-2), set(tuned)
    for step in range(10):
        optimiser.zero_grad()
        loss_of(model, *given(kind, seed=step)).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in tuned.values())
        unmoved -= {n for n in unmoved if tuned[n].grad.any()}
        optimiser.step()
        if step and not unmoved:
            break
    assert unmoved == set()
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) != (n in tuned), n
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    inside = {m for part in model.vision.head_modules() for m in part.modules()}
    assert not any(m.training for tower in (model.vision, model.text) for m in tower.modules() if m not in inside)
    assert model.neck.training
    assert model.method.training


@everything
def test_outputs_depend_on_the_expression_but_not_on_batch_mates(name: str, kind: str) -> None:
    """Nor on whether an image's texts share what is declared independent of them."""
    model = built(name, kind, **BATCH_DEPENDENT.get(name, {})).eval()
    image, ids = given(kind, batch=4)
    rows = torch.tensor([1, 1, 0, 1])
    with torch.no_grad():
        together = model(image, ids).logits
        alone = torch.cat([model(image[i : i + 1], ids[i : i + 1]).logits for i in range(4)])
        assert not torch.allclose(together, model(image, ids.roll(1, 0)).logits)
        perturb(model)
        shared, plain = model(image[:2], ids, rows).logits, model(image[rows], ids).logits
    assert together.shape == (4, 1, *(4 * n for n in model.vision.grid))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shared, plain, rtol=1e-5, atol=1e-6 * float(plain.abs().max()))


def perturb(model: Segmenter, spread: float = 0.05) -> None:
    """Move every parameter of the method away from its start."""
    for number, p in enumerate(model.method.parameters()):
        p += torch.randn(p.shape, generator=torch.Generator().manual_seed(number)) * spread


@pytest.mark.parametrize("name", BATCH_DEPENDENT)
def test_declared_batch_dependence_is_there(name: str) -> None:
    model = built(name, "gelu").eval()
    image, ids = inputs(batch=4)
    with torch.no_grad():
        for p in model.method.parameters():
            p += torch.randn(p.shape, generator=torch.Generator().manual_seed(0)) * 0.1
        together, alone = model(image, ids).logits[:1], model(image[:1], ids[:1]).logits
    assert not torch.allclose(together, alone, rtol=1e-3, atol=1e-4)
    assert "depend on the batch" in (METHODS[name].variant or "")


@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision_trains(name: str) -> None:
    model = built(name, "quickgelu").train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, *inputs())
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.tuned_parameters().values())
    model.eval()
    image, ids = inputs()
    with torch.no_grad():
        exact = model(image, ids).logits
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(image, ids).logits.float()
    assert (exact - rough).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in POSITIONS_UNREACHED])
def test_trained_positions_are_their_own_group(name: str) -> None:
    model = built(name, "gelu", positional="train").train()
    loss_of(model, *inputs()).backward()
    assert model.ledger()["positional"] == 37 * 64 + 24 * 64
    positions = [p for n, p in model.tuned_parameters().items() if n.endswith("positional_embedding")]
    assert len(positions) == 2
    assert all(p.grad is not None and p.grad.any() for p in positions)


@pytest.mark.parametrize("kind", TWO)
@pytest.mark.parametrize("name", [spec.name for spec in METHODS.values() if spec.kind not in ("paper", "own")])
def test_the_start_is_the_identity_or_near_it_as_stated(name: str, kind: str) -> None:
    """To rounding: a method that opens the MLP leaves the fused one, which alone moves features by about 1e-6."""
    model, backbone = built(name, kind).eval(), small(kind, shallow=True)
    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
        tuned = walk(model.vision, model.text, model.method, *inputs())
    moved = max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip((*tuned.levels, tuned.words), (*plain.levels, plain.words), strict=True)
    )
    if name in CHANGES or (METHODS[name].kind == "fusion" and name not in IDENTITY):
        assert moved > 1e-3
    elif name in SCALE:
        assert 0 < moved < SCALE[name]
    else:
        assert moved < 1e-5


@pytest.mark.parametrize("name", METHODS)
def test_vision_does_not_depend_on_text_where_the_method_says_so(name: str) -> None:
    """Other words for the same image: the levels of the steps that are declared free of text stay, bit for bit."""
    model = built(name, "quickgelu").eval()
    image, ids = inputs()
    with torch.no_grad():
        perturb(model)
        one, other = (walk(model.vision, model.text, model.method, image, i).levels for i in (ids, ids.roll(1, 0)))
    free, depth = model.method.text_independent_steps(model.vision.depth), model.vision.depth
    for stage, (a, b) in enumerate(zip(one, other, strict=True)):
        # What a bridge adds behind its last free step depends on the text.
        if depth * (stage + 1) // 3 <= free - (free < depth):
            assert torch.equal(a, b), stage
    assert torch.equal(one[2], other[2]) or free < depth


@pytest.mark.parametrize("name", METHODS)
def test_state_dict_restores_the_outputs(name: str) -> None:
    model, other = built(name, "gelu"), build_segmenter(METHODS[name], small("gelu", seed=9, shallow=True), seed=9)
    loss_of(model.train(), *inputs()).backward()  # moves the BatchNorm statistics
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model.eval()(*inputs()).logits, other.eval()(*inputs()).logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_vit_b_16_trains_at_the_papers_size(name: str) -> None:
    backbone = load_backbone("ViT-B-16-quickgelu", "random")
    model = build_segmenter(METHODS[name], backbone).train()
    image, ids = torch.randn(2, 3, 416, 416), torch.zeros(2, 17, dtype=torch.long)
    ids[:, :3] = torch.tensor([49406, 320, 49407])
    loss = loss_of(model, image, ids)
    loss.backward()
    assert model(image, ids).logits.shape == (2, 1, 104, 104)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.tuned_parameters().values())


@pytest.mark.parametrize(("name", "kind"), [*((name, "gelu") for name in METHODS), ("etris", RESNET)])
def test_the_optimizer_and_the_ledger_agree_on_what_the_head_is(name: str, kind: str) -> None:
    model, counted = built(name, kind), Counter[float]()
    for group in make_optimizer(RECIPE, model).param_groups:
        counted[group["factor"]] += sum(p.numel() for p in group["params"])
    ledger = model.ledger()
    assert counted[1.0] == ledger["head"]
    assert counted[RECIPE.adapter_lr] == ledger["adapter"] + ledger["positional"]
