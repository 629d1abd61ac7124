"""Methods with a plus between them: components in the order written, options of each, refusals by name."""

import pytest
import torch

from barbench.errors import UnknownName, UsageError
from barbench.methods.base import Component, Method
from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from barbench.models.walk import walk
from tests.models.small import inputs, small


def test_a_composition_has_the_components_of_each_in_order() -> None:
    (spec,) = resolve("snf+lora")
    assert (spec.name, spec.reference, spec.title) == ("snf+lora", "snf+lora", "SNF + LoRA")
    assert spec.create().composition() == ["SNF", "LoRA"]
    assert resolve("lora + snf")[0].create().composition() == ["LoRA", "SNF"]
    sizes = [build_segmenter(resolve(n)[0], small()).ledger()["adapter"] for n in ("snf", "lora", "snf+lora")]
    assert sizes[2] == sizes[0] + sizes[1]
    assert [s.name for s in resolve("snf+lora,head-only,snf+lora")] == ["snf+lora", "head-only"]


def test_options_reach_the_part_that_has_them() -> None:
    (spec,) = resolve("snf+lora")
    snf, lora = spec.create({"lora.rank": 2, "snf.length": 1}).components
    assert (snf.length, lora.ranks["vision"]) == (1, 2)
    assert spec.create({"positional": "train"}).composition() == ["SNF", "LoRA", "Positional"]
    with pytest.raises(UsageError, match=r"snf\+lora\.bridge.*lora, snf"):
        spec.create({"bridge.dim": 8})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("snf+no-global", r"snf\+no-global: two SNF components act"),
        ("vpt-deep+deep-prompts", "two Prompts components act"),
        ("houlsby+pfeiffer", "two Adapter components act"),
        ("detris+lim", "DETRIS needs the finished words .* LIM needs both towers"),
        ("detris+etris", "DETRIS needs the finished words .* Bridge needs both towers"),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(text)
    with pytest.raises(UnknownName, match="lora"):
        resolve("snf+lara")


def test_a_component_that_must_be_alone_says_why() -> None:
    class Lonely(Component):
        label, alone = "Lonely", "it sees nobody"

    Method("m", [Lonely()])
    with pytest.raises(UsageError, match="Lonely cannot be combined with SNF: it sees nobody"):
        Method("m", [Lonely(), *resolve("snf")[0].create().components])


def test_lora_before_ssf_is_scaled_by_it() -> None:
    """The earlier component's change is what the later one sees."""
    one = _levels("lora+ssf")
    other = _levels("ssf+lora")
    assert not torch.allclose(one, other, rtol=1e-3, atol=1e-3)


def _levels(name: str) -> torch.Tensor:
    torch.manual_seed(0)
    backbone, method = small(), resolve(name)[0].create()
    method.attach(backbone)
    values = {
        tuple(p.shape): torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
        for p in method.parameters()
    }
    with torch.no_grad():
        for p in method.parameters():
            p += 0.2 * values[tuple(p.shape)]
        return walk(backbone.vision, backbone.text, method, *inputs()).levels[2]


@pytest.mark.parametrize(
    "name", ["snf+lora", "lora+lim", "vpt-deep+convpass", "deep-prompts+lim", "vpt-deep+detris", "deep-prompts+detris"]
)
def test_compositions_walk_and_leave_the_grid_as_it_is(name: str) -> None:
    backbone, method = small("quickgelu"), resolve(name)[0].create()
    method.attach(backbone)
    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, method.eval(), *inputs())
        plain = walk(backbone.vision, backbone.text, Hooks(), *inputs())
    assert [t.shape for t in trace.levels] == [t.shape for t in plain.levels]
    assert trace.words.shape == plain.words.shape
