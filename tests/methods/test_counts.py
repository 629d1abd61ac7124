"""The stored counts: they are of this code, and another code's are not used."""

import pytest

from barbench.methods import counts
from barbench.methods.counts import BACKBONES, FILE, fingerprint, stored_counts
from tools.method_counts import count, shipped

COMMAND = "methods or towers were edited: python -m tools.method_counts"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_counts_are_of_this_code(backbone: str) -> None:
    assert stored_counts(backbone, None).keys() == {spec.name for spec in shipped()}, COMMAND


def test_counts_are_what_is_counted() -> None:
    some = [spec for spec in shipped() if spec.name in ("head-only", "barleria", "lora", "fish")]
    known = stored_counts("tiny", None)
    assert count(some, "tiny") == {spec.name: known[spec.name] for spec in some}, COMMAND


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_all_counts_are_what_is_counted(backbone: str) -> None:
    assert count(shipped(), backbone) == stored_counts(backbone, None), COMMAND


def test_counts_of_other_code_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    monkeypatch.setattr(counts, "SOURCES", ("methods/*.py",))
    assert fingerprint() != before
    assert stored_counts("tiny", None) == {}


def test_nothing_is_stored_for_other_sizes_and_backbones() -> None:
    assert FILE.is_file()
    assert stored_counts("tiny", 96) == {}
    assert stored_counts("ViT-L-14-quickgelu", None) == {}
