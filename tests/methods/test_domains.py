"""Options of methods: each has a type with its range, and what nobody can have meant is refused in one line.

The options are read from the components themselves, so that a new one is tested from its first day.
"""

import inspect
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Literal

import pytest
import torch

from barbench.errors import UsageError
from barbench.methods.base import Component
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import COMPONENTS, METHODS, NONE, MethodSpec, part
from barbench.methods.describe import describe_options
from barbench.methods.domains import (
    REQUIRED,
    DropoutRate,
    NormedSize,
    Scale,
    Share,
    Size,
    Towers,
    check_value,
    checked,
    component_options,
    domain_of,
    hints_of,
    signature_options,
)
from barbench.methods.resolve import resolve
from tests.models.small import inputs, small

NOT_MEANT = (0, -1, 1, 1.5, math.nan, math.inf, True, "x", [], "", None, 10**20, {}, [True])


def first_methods() -> Iterator[tuple[str, str]]:
    """Each component's options, as `component.parameter`, with a method that has them."""
    for component, target in COMPONENTS.items():
        for parameter in component_options(target):
            users = [spec.name for spec in METHODS if component in inspect.signature(spec.build).parameters]
            yield (users or ["head-only"])[0], f"{component}.{parameter}"


OPTIONS = [*first_methods(), ("etris", "positional")]


def test_the_sweep_has_every_component_with_options() -> None:
    components = {option.partition(".")[0] for _, option in OPTIONS}
    assert components == COMPONENTS.keys() - {"full"}


@pytest.mark.parametrize(("method", "option"), OPTIONS)
def test_a_value_that_nobody_meant_is_refused_in_one_line_or_trains(method: str, option: str) -> None:
    (spec,) = resolve(method)
    for value in NOT_MEANT:
        try:
            # The options of a ResNet are refused on any other tower.
            model = build_segmenter(spec, small(shallow=True), options={option: value})
        except UsageError as error:
            message = str(error)
            assert "\n" not in message
            assert option.partition(".")[0] in message.lower() or "resnet" in message.lower(), message
            continue
        if option.startswith("mask.samples"):  # used by the engine alone
            continue
        logits, extra = model.train()(*inputs())
        loss = logits.square().mean() + (0 if extra is None else extra)
        loss.backward()
        assert loss.isfinite(), (option, value)
        for name, p in model.tuned_parameters().items():
            assert p.grad is not None, (option, value, name)
            assert p.grad.isfinite().all(), (option, value, name)


@pytest.mark.parametrize("name", [name for name in COMPONENTS if component_options(COMPONENTS[name])])
def test_what_is_read_from_the_source_is_the_signature(name: str) -> None:
    file, _, class_name = COMPONENTS[name].partition(":")
    component = getattr(import_module(f"barbench.methods.{file}"), class_name)
    read = component_options(COMPONENTS[name])
    assert {key: (option.hint, option.default) for key, option in read.items()} == {
        key: (option.hint, option.default) for key, option in signature_options(component).items()
    }
    for key, option in read.items():
        assert option.default is not REQUIRED
        assert option.meaning, f"{name}.{key} has no line under Args"
        assert str(domain_of(option.hint)), f"{name}.{key} takes anything"
        assert check_value(option.hint, option.default, key) == option.default


def test_numbers_of_components_have_bounds() -> None:
    """A bare int or float in a signature would be an option without a domain."""
    bare = []
    for name, target in COMPONENTS.items():
        for key, option in component_options(target).items():
            domain = domain_of(option.hint)
            if "number" in domain.kind and not domain.range:
                bare.append(f"{name}.{key}")
    assert bare == []


@pytest.mark.parametrize("method", [spec.name for spec in METHODS])
def test_show_lists_value_default_range_and_meaning_of_each_option(method: str) -> None:
    (spec,) = resolve(method)
    rows = describe_options(spec)
    assert rows[-1]["option"] == "positional"
    for row in rows:
        assert row["value"] == row["default"]
        assert row["takes"], row
        assert row["meaning"], row


def test_a_mistake_is_answered_without_torch() -> None:
    program = """
import sys
from barbench.errors import UsageError
from barbench.methods.resolve import resolve
from barbench.spec.text import method_options
for text in ("lora:lora.rank=0", "lora:lora.rang=3", "lora:lora.towers=visions", "lora:lora.dropout=1"):
    try:
        method_options([text], resolve("lora"))
    except UsageError as error:
        print(error)
print("torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [
        "option lora.rank is a whole number from 1 to 1,000,000, not 0",
        "unknown option lora.rang. Known: alpha, dropout, init, rank, roles, scaling, text_rank, towers",
        "option lora.towers is one or more of vision, text, not ['visions']",
        "option lora.dropout is a number from 0 to less than 1, not 1",
        "False",
    ]


@pytest.mark.parametrize(
    ("hint", "good", "bad", "words"),
    [
        (Size, (1, 8, "8", 8.0), (0, -1, 1.5, True, None, math.inf, [8], 10**7), "a whole number from 1 to 1,000,000"),
        (Size | None, (1, None), (0, False), "a whole number from 1 to 1,000,000, or null"),
        (NormedSize, (2,), (1, True), "a whole number from 2 to 1,000,000"),
        (DropoutRate, (0, 0.5), (1, -0.1, 1.5, math.nan, True), "a number from 0 to less than 1"),
        (Share, (1, 0.005), (0, 1.1, False), "a number above 0 and at most 1"),
        (Scale, (1e-3, 100), (0, -8.0, math.inf), "a number above 0 and at most 1,000,000"),
        (bool, (True, False, "off"), (1, 0, 1.0, "1", None, "x"), "true or false"),
        (Towers, ("vision", "vision+text", ["text"]), ([], "", "texts", "text+text", 1), "one or more of vision, text"),
        (Literal["a", "b"], ("a",), ("c", True, 0, None), "a or b"),
        (int, (0, -3), (True, 1.5, "x"), "a whole number"),
        (float, (0, -1.5), (True, math.nan, -math.inf), "a number"),
        (str, ("x", ""), (True, 3), "text"),
    ],
)
def test_domains(hint: Any, good: tuple[Any, ...], bad: tuple[Any, ...], words: str) -> None:
    assert str(domain_of(hint)) == words
    for value in good:
        check_value(hint, value, "x")
    for value in bad:
        with pytest.raises(UsageError, match=r"option x is .*, not "):
            check_value(hint, value, "x")


def test_any_value_is_right_for_a_type_that_says_nothing() -> None:
    for value in (True, 3, "x", [], None):
        assert check_value(Any, value, "x") is value
        assert check_value(torch.Tensor, value, "x") is value


class Own:
    """What a user may write.

    Args:
        size: channels,
            of each map.
    """

    @checked
    def __init__(self, size: Size, share: Share = 0.5) -> None:
        self.size = size
        self.share = share


def test_a_constructor_of_ones_own_is_checked() -> None:
    assert Own(3).share == 0.5
    with pytest.raises(UsageError, match="option Own's share is a number above 0 and at most 1, not 2"):
        Own(size=3, share=2)
    options = signature_options(Own)
    assert options["size"].meaning == "channels, of each map."
    assert options["size"].default is REQUIRED
    assert hints_of(Own)["share"] == Share


def own(start: Share = 0.5, snf: Mapping[str, Any] = NONE) -> tuple[Component, ...]:
    """A method of the user's.

    Args:
        start: where it begins.
        snf: options of the flows.
    """
    return (part("snf", snf),)


def test_show_lists_the_options_of_a_method_of_ones_own() -> None:
    spec = MethodSpec("own", "Own", own, reference="m:own")
    rows = {row["option"]: row for row in describe_options(spec, {"start": 0.25, "snf.length": 2})}
    assert list(rows) == ["start", "snf.towers", "snf.flow", "snf.length", "positional"]
    assert (rows["start"]["value"], rows["start"]["default"]) == (0.25, 0.5)
    assert (rows["start"]["takes"], rows["start"]["meaning"]) == ("a number above 0 and at most 1", "where it begins.")
    assert (rows["snf.length"]["value"], rows["snf.length"]["default"]) == (2, 4)
    assert rows["snf.flow"]["choices"] == ["planar", "hadamard"]
    with pytest.raises(UsageError, match=r"option own\.start is a number above 0 and at most 1, not 2"):
        spec.check({"start": 2})
