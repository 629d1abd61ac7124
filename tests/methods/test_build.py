"""What a backbone decides about options: refused by the plan, before anything is trained."""

import pytest
from torch import nn

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.base import Component, Traits
from barbench.methods.build import build_segmenter
from barbench.methods.entry import MethodSpec
from barbench.methods.gst import GST
from barbench.methods.resolve import resolve
from tests.models.small import small


class Empty(Component):
    """A component that has forgotten its parameters."""

    label = "Empty"


class Reading(Component):
    """A component that needs numbers when it is attached."""

    label = "Reading"

    def attach(self, backbone: object) -> None:
        """Read a parameter of its own."""
        self.scale = nn.Parameter(nn.Linear(2, 2).weight.mean())
        float(self.scale)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("lora", {"lora.roles": "gate"}, "LoRA tunes nothing on tiny: its blocks have no map gate"),
        ("dora", {"dora.roles": ["gate"]}, "DoRA tunes nothing on tiny"),
        ("snf+lora", {"lora.roles": "gate"}, "LoRA tunes nothing on tiny"),
        ("lora", {"lora.init": "pissa", "lora.rank": 500}, "singular triplets, fewer than the rank of 500"),
        ("lst", {"lst.reduction": 96}, r"LST: lst\.reduction=96 leaves .* channels.*at most"),
        ("barleria", {"gst.modules": 99}, r"GST: gst\.modules is at most \d+, the vision blocks of tiny"),
        ("compacter", {"compacter.n": 7}, "Compacter: 7 divides not both"),
        ("repadapter", {"repadapter.width": 35, "repadapter.groups": 7}, "RepAdapter: 7 groups do not divide"),
        ("fish", {"mask.count": 10**9}, "does not fit encoders"),
        ("fish", {"mask.share": 1e-12}, "a mask of 0 numbers"),
        ("etris", {"resnet.connect": "none"}, "its vision tower is not a ResNet"),
    ],
)
def test_what_a_backbone_cannot_do_is_refused_before_it_is_loaded(
    method: str, options: dict[str, object], message: str
) -> None:
    (spec,) = resolve(method)
    spec.check(options)  # right by itself
    with pytest.raises(UnfitBackbone, match=message):
        spec.create_for("tiny", options)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("etris", {"bridge.dim": 20}, "multiple"),
        ("barleria", {"gst.heads": 5}, r"GST: its 5 heads do not divide gst\.side, which is 144"),
        ("barleria-released", {"topdown.heads": 5}, r"TopDown: its 5 heads do not divide topdown\.side"),
        ("detris", {"detris.heads": 3}, r"DETRIS: its 3 heads do not divide detris\.embed"),
        ("detris", {"detris.conv": False, "detris.cross": False}, r"DETRIS needs detris\.conv or detris\.cross"),
        ("repadapter", {"repadapter.groups": 3}, r"3 groups do not divide repadapter\.width"),
    ],
)
def test_options_that_do_not_go_together(method: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(method)[0].create_for("tiny", options)


def test_a_method_that_tunes_nothing_is_refused_by_name() -> None:
    empty = MethodSpec("forgetful", "Forgetful", lambda: (Empty(),))
    with pytest.raises(UnfitBackbone, match="forgetful tunes no parameter on tiny; head-only is the method"):
        empty.create_for("tiny")
    with pytest.raises(UnfitBackbone, match="forgetful tunes no parameter"):
        build_segmenter(empty, small(shallow=True))


@pytest.mark.parametrize("method", ["head-only", "full", "bitfit", "random-mask", "layernorm"])
def test_a_method_without_parameters_of_its_own_is_right(method: str) -> None:
    resolve(method)[0].create_for("tiny")


def test_a_part_without_parameters_is_right_beside_one_that_has_some() -> None:
    MethodSpec("both", "Both", lambda: (Empty(), *resolve("snf")[0].build())).create_for("tiny")


def test_a_method_of_ones_own_that_reads_numbers_is_left_to_the_training() -> None:
    MethodSpec("reading", "Reading", lambda: (Reading(),)).create_for("tiny")


def test_gst_needs_a_joint_space_for_its_prior() -> None:
    apart = Traits(aligned=False)
    assert "gst.prior=false" in (GST().obstacle(apart) or "")
    assert "gst.space=side" in (GST().obstacle(apart) or "")
    assert GST(space="side").obstacle(apart) is None
    assert GST(prior=False).obstacle(apart) is None
    assert GST().obstacle(Traits()) is None
    (spec,) = resolve("barleria")
    with pytest.raises(UnfitBackbone, match=r"GST cannot be used on dino: its prior .* gst\.prior=false"):
        spec.create().check("dino", apart)
    spec.create({"gst.prior": False}).check("dino", apart)
