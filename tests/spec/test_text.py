"""Lists, pairs and options as text, and the one wording of what pydantic refuses."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from barbench.errors import UsageError
from barbench.spec.text import explain, listed, method_options, plural, split_pair, whole_numbers


class Spec(NamedTuple):
    """What options need to know of a method."""

    name: str
    reference: str

    def check(self, options: Mapping[str, Any]) -> None:
        if "wrong" in options:
            raise UsageError(f"{self.name} has no option wrong")


ETRIS, OWN = Spec("etris", "etris"), Spec("own", "m.y:own")


def test_whole_numbers() -> None:
    assert whole_numbers("3, 1,3", "--seeds") == [3, 1, 3]
    assert whole_numbers(" , ", "--seeds") == []
    with pytest.raises(UsageError, match=r"--seeds is a comma list of whole numbers, not '1\.5'"):
        whole_numbers("1.5", "--seeds")


def test_a_pair_is_cut_at_its_first_equals_sign() -> None:
    assert split_pair("setup=export A=1", "--cluster", "cpus=8") == ("setup", "export A=1")
    with pytest.raises(UsageError, match="--cluster gpu: write it as key=value, for example cpus=8"):
        split_pair("gpu", "--cluster", "cpus=8")


def test_options_of_methods() -> None:
    written = ["etris:bridge.dim=64", "all:positional=train", "m.y:own:start=0.5"]
    assert method_options(written, [ETRIS, OWN]) == {
        "etris": {"bridge.dim": 64, "positional": "train"},
        "own": {"positional": "train", "start": 0.5},
    }
    with pytest.raises(UsageError, match="barleria is not among the methods; they are etris, own"):
        method_options(["barleria:gst.prior=false"], [ETRIS, OWN])
    assert method_options(["etris:bridge.dim=064"], [ETRIS]) == {"etris": {"bridge.dim": 64}}
    with pytest.raises(UsageError, match=r"--option etris:bridge\.dim is given twice, as 64 and as 32"):
        method_options(["etris:bridge.dim=64", "etris:bridge.dim=32"], [ETRIS])
    with pytest.raises(UsageError, match="own has no option wrong"):
        method_options(["etris:bridge.dim=64", "m.y:own:wrong=1"], [ETRIS, OWN])
    for text in ("etris", "etris:bridge.dim", "bridge.dim=3", ":a=1", "etris:=1", "etris:bridge.dim=[1"):
        with pytest.raises(UsageError, match="--option"):
            method_options([text], [ETRIS])


class Inner(BaseModel):
    """A part of a file."""

    size: int


class Outer(BaseModel):
    """A file."""

    model_config = ConfigDict(extra="forbid")

    name: str
    inner: Inner


def test_every_mistake_of_a_file_is_said_with_its_field() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"size": "big"}})
    said = explain(caught.value)
    assert said.startswith("name: Field required; inner.size: Input should be a valid integer")
    assert said.endswith(", not 'big'")
    assert explain(caught.value, separator="\n").count("\n") == 1


def test_a_mistake_of_the_whole_file_names_the_file() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json("[1")
    assert explain(caught.value, "the file").startswith("the file: Invalid JSON")


def test_numbers_and_names_in_sentences() -> None:
    assert plural(0, "record") == "0 records"
    assert listed([]) == ""
    assert listed(["a", "b"]) == "a and b"
