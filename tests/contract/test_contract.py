"""What every registered method owes on every kind of tower. Registering one is testing it."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from barbench.engine.recipe import parse_recipe
from barbench.engine.train import make_optimizer
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from barbench.models.segmenter import Segmenter, training_loss
from barbench.models.towers.load import load_backbone
from barbench.models.walk import walk
from tests.models.small import KINDS, inputs, small

RECIPE = parse_recipe("test", {"epochs": 1, "batch": 8, "lr": 1e-3, "adapter_lr": 0.5})
METHODS = {spec.name: spec for spec in resolve("everything")}
# By design of the released code, its predictions depend on the batch; with these options they do not.
BATCH_DEPENDENT = {"barleria-released": {"topdown.cosine": "sample"}}
everything = pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in METHODS for kind in KINDS])
# The field's methods use each hook in one way, so that two kinds of tower tell as much here as six.
TWO = ("quickgelu", "eva")
PAPERS = ("paper", "reference", "own")
most = pytest.mark.parametrize(
    ("name", "kind"), [(n, kind) for n, spec in METHODS.items() for kind in (KINDS if spec.kind in PAPERS else TWO)]
)
# A detached side network lets nothing be tuned behind it: tests/methods/test_lst.py.
POSITIONS_UNREACHED = {"lst"}
# What a method changes before anything is trained: nothing to rounding, except these, as their originals.
SCALE = {"compacter": 1e-4, "houlsby": 0.05, "pfeiffer": 0.05, "ssf": 1.0}
CHANGES = {"vpt-shallow", "vpt-deep", "deep-prompts", "maple", "detris", "lst"}


def built(name: str, kind: str, **options: object) -> Segmenter:
    return build_segmenter(METHODS[name], small(kind), seed=0, options=options)


def loss_of(model: Segmenter, image: Tensor, ids: Tensor) -> Tensor:
    return training_loss(model(image, ids), (image.mean(1) > 0).float())


@everything
def test_one_training_step_reaches_every_tuned_parameter(name: str, kind: str) -> None:
    model = built(name, kind).train()
    loss_of(model, *inputs()).backward()
    tuned = model.tuned_parameters()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in tuned.values())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert sum(p.numel() for p in tuned.values()) == sum(v for k, v in model.ledger().items() if k != "frozen")
    assert unmoved(model) == set()


def unmoved(model: Segmenter, steps: int = 10) -> set[str]:
    """The tuned parameters that no gradient reaches in so many steps. Most methods start with a zero matrix, so that
    what is behind it gets its first gradient in the second step; two zeros behind each other would never get one."""
    left = model.tuned_parameters()
    optimiser = torch.optim.Adam(left.values(), lr=1e-2)
    for step in range(steps):
        left = {n: p for n, p in left.items() if p.grad is None or not p.grad.any()}
        if not left or step + 1 == steps:
            break
        optimiser.step()
        optimiser.zero_grad()
        loss_of(model, *inputs()).backward()
    return set(left)


@most
def test_frozen_weights_and_modes_survive_training(name: str, kind: str) -> None:
    model = built(name, kind).train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimiser = torch.optim.Adam(model.tuned_parameters().values(), lr=1e-2)
    for seed in (0, 1):
        optimiser.zero_grad()
        loss_of(model, *inputs(seed=seed)).backward()
        optimiser.step()
    tuned = model.tuned_parameters().keys()
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) != (n in tuned), n
    assert not any(m.training for tower in (model.vision, model.text) for m in tower.modules())
    assert model.neck.training
    assert model.method.training


@most
def test_outputs_do_not_depend_on_batch_mates(name: str, kind: str) -> None:
    model = built(name, kind, **BATCH_DEPENDENT.get(name, {})).eval()
    image, ids = inputs(batch=4)
    with torch.no_grad():
        together = model(image, ids).logits
        alone = torch.cat([model(image[i : i + 1], ids[i : i + 1]).logits for i in range(4)])
    assert together.shape == (4, 1, 24, 24)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@most
def test_an_images_texts_may_share_it(name: str, kind: str) -> None:
    """Steps declared independent of the text give the same, computed once per image or once per text."""
    model = built(name, kind).eval()
    image, ids = inputs(batch=5)
    rows = torch.tensor([1, 1, 0, 1, 0])
    with torch.no_grad():
        for number, p in enumerate(model.method.parameters()):
            p += torch.randn(p.shape, generator=torch.Generator().manual_seed(number)) * 0.05
        shared, plain = model(image[:2], ids, rows).logits, model(image[rows], ids).logits
    torch.testing.assert_close(shared, plain, rtol=1e-5, atol=1e-6 * float(plain.abs().max()))


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


@most
def test_the_expression_matters(name: str, kind: str) -> None:
    model = built(name, kind).eval()
    image, ids = inputs()
    with torch.no_grad():
        assert not torch.allclose(model(image, ids).logits, model(image, ids.roll(1, 0)).logits)


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
    model, backbone = built(name, kind).eval(), small(kind)
    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
        tuned = walk(model.vision, model.text, model.method, *inputs())
    moved = max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip((*tuned.levels, tuned.words), (*plain.levels, plain.words), strict=True)
    )
    if name in CHANGES or METHODS[name].kind == "fusion":
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
        for number, p in enumerate(model.method.parameters()):
            p += torch.randn(p.shape, generator=torch.Generator().manual_seed(number)) * 0.05
        one, other = (walk(model.vision, model.text, model.method, image, i).levels for i in (ids, ids.roll(1, 0)))
    free = model.method.text_independent_steps(6)
    for stage, (a, b) in enumerate(zip(one, other, strict=True)):
        if 2 * (stage + 1) <= free - (free < 6):  # what a bridge adds behind its last free step depends on the text
            assert torch.equal(a, b), stage
    assert torch.equal(one[2], other[2]) or free < 6


@pytest.mark.parametrize("name", METHODS)
def test_state_dict_restores_the_outputs(name: str) -> None:
    model, other = built(name, "gelu"), build_segmenter(METHODS[name], small("gelu", seed=9), seed=9)
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


@everything
def test_the_optimizer_and_the_ledger_agree_on_what_the_head_is(name: str, kind: str) -> None:
    model, counted = built(name, kind), Counter[float]()
    for group in make_optimizer(RECIPE, model).param_groups:
        counted[group["factor"]] += sum(p.numel() for p in group["params"])
    ledger = model.ledger()
    assert counted[1.0] == ledger["head"]
    assert counted[RECIPE.adapter_lr] == ledger["adapter"] + ledger["positional"]
