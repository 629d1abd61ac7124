"""CoLA: the formula on plain matrices, what its cross path reads, unequal depths, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.base import Method
from barbench.methods.catalog import part
from barbench.methods.cola import CoLA, CrossPair, HyperNetwork, PairedMap
from barbench.methods.lora import LowRank
from barbench.models.hooks import Hooks
from barbench.models.stream import Step
from barbench.models.walk import walk
from tests.methods.field import attached, traced
from tests.models.small import inputs, small


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
    with pytest.raises(UsageError, match="two CoLA"):
        Method("m", [part("cola"), part("cola")])
