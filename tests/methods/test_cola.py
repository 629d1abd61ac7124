"""CoLA: the formula on plain matrices, what its cross path reads, unequal depths, and what is refused."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.base import Method
from barbench.methods.catalog import part
from barbench.methods.cola import CoLA, CrossPair, HyperNetwork, PairedMap
from barbench.methods.lora import LowRank
from barbench.models.hooks import Hooks
from barbench.models.stream import Step
from barbench.models.walk import walk
from tests.methods.field import attached, blocks, traced
from tests.models.small import DINO, LENGTH, RESNET, inputs, small


def test_the_steered_pair_is_b_phi_a_in_this_order() -> None:
    """Phi is not symmetric: its transpose gives another result."""
    torch.manual_seed(0)
    network = HyperNetwork(10, 6, 3)
    pair = CrossPair(8, 5, 3, 0.5, network)
    for p in pair.parameters():
        p.data += torch.randn_like(p)
    u, c = torch.randn(2, 4, 8), torch.randn(2, 10)
    phi = network(c)
    assert phi.shape == (2, 3, 3)
    found = pair(u, c)
    for row in range(2):
        whole = pair.scale * pair.b @ phi[row] @ pair.a
        torch.testing.assert_close(found[row], u[row] @ whole.T)
        assert not torch.allclose(found[row], u[row] @ (pair.scale * pair.b @ phi[row].T @ pair.a).T)


def test_phi_is_its_formula() -> None:
    torch.manual_seed(0)
    network = HyperNetwork(10, 6, 3)
    for p in network.parameters():
        p.data += torch.randn_like(p)
    c = torch.randn(4, 10)
    hidden = F.gelu(c @ network.down.weight.T + network.down.bias)
    hidden = (hidden - hidden.mean(1, keepdim=True)) / (hidden.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    numbers = (hidden * network.norm.weight + network.norm.bias) @ network.up.weight.T + network.up.bias
    rows = numbers.view(4, 3, 3)
    mean, var = rows.mean((1, 2), keepdim=True), rows.var((1, 2), unbiased=False, keepdim=True)
    expected = (rows - mean) / (var + 1e-6).sqrt() * network.last_norm.weight + network.last_norm.bias
    torch.testing.assert_close(network(c), expected, rtol=1e-4, atol=1e-5)


def test_the_start_is_the_identity_exactly() -> None:
    torch.manual_seed(0)
    made = PairedMap(LowRank(8, 5, 2, 4.0), CrossPair(8, 5, 2, 4.0, HyperNetwork(10, 6, 2)))
    u, y = torch.randn(2, 4, 8), torch.randn(2, 4, 5)
    assert torch.equal(made(u, y, torch.randn(2, 10)), y)


@pytest.mark.parametrize("padding", ["see", "mask"])
def test_maps_see_the_mean_of_the_other_towers_tokens_before_the_block(padding: str) -> None:
    component, backbone = attached("cola", rank=2, alpha=1.0, padding=padding)
    assert isinstance(component, CoLA)
    vision, text = backbone.vision.embed(inputs()[0]), backbone.text.embed(inputs()[1])
    carry: dict = {}
    assert component.before_block(Step(0, 0, 0), vision, text, carry) == (vision, text)
    patches, words = carry[component]
    torch.testing.assert_close(patches, vision.tokens[:, 1:].mean(1))  # without the class token
    for row, pad in enumerate(inputs()[1] == 0):
        kept = text.tokens[row] if padding == "see" else text.tokens[row][~pad]
        torch.testing.assert_close(words[row], kept.mean(0))


def test_the_cross_path_is_alive_and_reads_the_other_tower() -> None:
    """Other words move vision, and another image the words, once B_c is no longer zero."""
    image, ids = inputs()
    for spread, alive in ((0.0, False), (0.1, True)):
        component, backbone = attached("cola", spread=spread, rank=2, alpha=1.0)
        method = Method("m", [component])
        with torch.no_grad():
            one = walk(backbone.vision, backbone.text, method, image, ids)
            words = walk(backbone.vision, backbone.text, method, image, ids.roll(1, 0))
            picture = walk(backbone.vision, backbone.text, method, image.roll(1, 0), ids)
        assert (not torch.equal(one.levels[0], words.levels[0])) == alive
        assert (not torch.equal(one.words, picture.words)) == alive


class Transcribed:
    """One tower of the public exchange (vision_language/CoLA/models/EEVG.py), on open_clip's pre-norm blocks.

    Each of `heads`, `out` and `mlp` is one of its three parts of a block; c is (B, width of the other tower).
    """

    def __init__(self, component: CoLA, tower: str, blocks: list[Any], mask: Tensor | None) -> None:
        self.maps, self.tower, self.blocks, self.mask = component.maps, tower, blocks, mask

    def at(self, place: str, u: Tensor, w: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """W u + b + s B_m A_m u + l B_c Phi A_c u."""
        made = self.maps[f"{self.tower}-{place}"]
        cross = made.cross
        phi = cross.network(c)
        own = made.own.scale * made.own.b @ made.own.a @ u.mT
        steered = cross.scale * cross.b @ phi @ cross.a @ u.mT
        return u @ w.mT + b + own.mT + steered.mT

    def heads(self, i: int, x: Tensor, c: Tensor) -> Tensor:
        block = self.blocks[i]
        xn, attn = block.ln_1(x), block.attn
        weights, biases = attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)
        q, k, v = (
            self.at(f"{i}-attn-{role}", xn, w, b, c).unflatten(2, (attn.num_heads, -1)).transpose(1, 2)
            for role, w, b in zip("qkv", weights, biases, strict=True)
        )
        scores = q @ k.mT / q.shape[-1] ** 0.5 + (0.0 if self.mask is None else self.mask)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def out(self, i: int, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        out = self.blocks[i].attn.out_proj
        return x + self.at(f"{i}-attn-out", h, out.weight, out.bias, c)

    def mlp(self, i: int, x: Tensor, c: Tensor) -> Tensor:
        block = self.blocks[i]
        up, down = block.mlp.c_fc, block.mlp.c_proj
        wide = self.at(f"{i}-mlp-up", block.ln_2(x), up.weight, up.bias, c)
        return x + self.at(f"{i}-mlp-down", wide * (1.702 * wide).sigmoid(), down.weight, down.bias, c)


EXCHANGES = {"uniform": (0, 0), "module": (0, 2), "progressive": (1, 2)}
"""Which of the three exchanges of a block the out map and the MLP see; q, k and v see the first."""


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_each_exchange_is_the_public_one_on_open_clips_blocks(exchange: str) -> None:
    component, backbone = attached("cola", rank=2, alpha=1.0, exchange=exchange)
    assert isinstance(component, CoLA)
    for made in component.maps.values():  # so that the steered pair is as large as the rest
        made.cross.scale.data.fill_(3.0)
    found = traced(component, backbone)
    image, ids = inputs()
    vision = Transcribed(component, "vision", blocks(backbone, "vision"), None)
    text = Transcribed(component, "text", blocks(backbone, "text"), torch.full((LENGTH, LENGTH), -torch.inf).triu(1))

    def run(seen: tuple[int, int]) -> tuple[Tensor, Tensor]:
        v, t = backbone.vision.embed(image).tokens, backbone.text.embed(ids).tokens
        for i in range(len(vision.blocks)):
            from_v, from_t = [v[:, 1:].mean(1)], [t.mean(1)]
            heads_v, heads_t = vision.heads(i, v, from_t[0]), text.heads(i, t, from_v[0])
            from_v.append(heads_v[:, 1:].mean(1))
            from_t.append(heads_t.mean(1))
            v, t = vision.out(i, v, heads_v, from_t[seen[0]]), text.out(i, t, heads_t, from_v[seen[0]])
            from_v.append(v[:, 1:].mean(1))
            from_t.append(t.mean(1))
            v, t = vision.mlp(i, v, from_t[seen[1]]), text.mlp(i, t, from_v[seen[1]])
        return backbone.vision.finish(v[:, 1:]), backbone.text.finish(t)

    patches = found.levels[2].flatten(2).mT
    with torch.no_grad():
        for name, seen in EXCHANGES.items():
            expected, words = run(seen)
            same = torch.allclose(patches, expected, rtol=1e-4, atol=1e-4)
            assert same == (name == exchange)
            assert torch.allclose(found.words, words, rtol=1e-4, atol=1e-4) == (name == exchange)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_exchange_has_the_same_count_and_the_same_start(exchange: str) -> None:
    component, backbone = attached("cola", spread=0.0, rank=2, alpha=1.0, exchange=exchange)
    uniform, _ = attached("cola", spread=0.0, rank=2, alpha=1.0)
    assert sum(p.numel() for p in component.parameters()) == sum(p.numel() for p in uniform.parameters())
    with torch.no_grad():
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
    found = traced(component, backbone)
    torch.testing.assert_close(found.levels[2], plain.levels[2], rtol=1e-5, atol=1e-5)  # q, k, v are not fused
    torch.testing.assert_close(found.words, plain.words, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["deep-vision", "eva", DINO])
def test_every_parameter_of_the_published_exchange_has_a_gradient(kind: str) -> None:
    """On towers of unequal depth, too."""
    component, backbone = attached("cola", kind, rank=2, alpha=1.0, exchange="progressive")
    trace = walk(backbone.vision, backbone.text, Method("m", [component]), *inputs())
    weights = torch.linspace(-1, 1, trace.joint.numel()).view_as(trace.joint)
    ((trace.levels[2] ** 3).sum() + (trace.joint * weights).sum()).backward()
    still = [n for n, p in component.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert still == []


def test_a_tower_whose_partner_pauses_has_lora_alone() -> None:
    component, backbone = attached("cola", "deep-vision", rank=2, alpha=1.0)
    assert isinstance(component, CoLA)
    crossed = {name for name, made in component.maps.items() if made.cross is not None}
    assert crossed == {n for n in component.maps if n.startswith("text") or int(n.split("-")[1]) % 2 == 0}
    assert traced(component, backbone).words.isfinite().all()


def test_one_tower_leaves_the_other_as_it_was() -> None:
    component, backbone = attached("cola", towers="vision", rank=2, alpha=1.0)
    found, plain = traced(component, backbone), small("quickgelu")
    with torch.no_grad():
        expected = walk(plain.vision, plain.text, Hooks(), *inputs())
    assert torch.equal(found.words, expected.words)
    assert not torch.equal(found.levels[0], expected.levels[0])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cola\.rank is a whole number from 2"):  # a norm over one number is dead
        part("cola", {"rank": 1})
    with pytest.raises(UnfitBackbone, match="its blocks have no map gate"):
        attached("cola", roles="gate")
    with pytest.raises(UnfitBackbone, match=r"CoLA cannot be used on .*: its vision tower is a ResNet"):
        Method("m", [part("cola", {"towers": ["text"]})]).attach(small(RESNET))
    with pytest.raises(UsageError, match="two CoLA"):
        Method("m", [part("cola"), part("cola")])
