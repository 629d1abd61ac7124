"""The catalogue page: its table of counts is what the models have, and it speaks of every method."""

import re
from pathlib import Path

import pytest

from barbench.methods.catalog import METHODS
from tools.methods_table import BACKBONES, RESNETS, counts, resnet_counts

PAGE = Path(__file__).parents[1] / "docs" / "methods-catalogue.md"
NUMBERS = r"\| ([^|`]+) \| `([^`]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|"


def printed() -> dict[str, tuple[str, list[int]]]:
    """Name -> kind and the counts of each backbone."""
    rows = re.findall(NUMBERS, PAGE.read_text("utf-8"))
    return {name: (kind, [int(n.replace(",", "")) for n in numbers]) for kind, name, *numbers in rows}


def test_every_method_is_on_the_page_with_its_kind() -> None:
    shipped = {spec.name: spec.kind for spec in METHODS if spec.build.__module__ == "barbench.methods.catalog"}
    assert {name: kind for name, (kind, _) in printed().items()} == shipped
    page = PAGE.read_text("utf-8")
    assert all(f"`{name}`" in page.partition("## Adapter parameters")[0] for name, kind in shipped.items()
               if kind not in ("paper", "reference"))  # fmt: skip


@pytest.mark.parametrize(
    "backbone", [next(iter(BACKBONES)), *(pytest.param(b, marks=pytest.mark.slow) for b in list(BACKBONES)[1:])]
)
def test_the_printed_counts_are_the_models(backbone: str) -> None:
    place = list(BACKBONES).index(backbone)
    assert {name: numbers[place] for name, (_, numbers) in printed().items()} == counts(backbone)


@pytest.mark.parametrize("backbone", RESNETS)
def test_the_printed_counts_on_resnets_are_the_models(backbone: str) -> None:
    rows = re.findall(r"\| `([^`]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", PAGE.read_text("utf-8"))
    place = list(RESNETS).index(backbone)
    found = {name: (int(n[place].replace(",", "")), int(n[2 + place].replace(",", ""))) for name, *n in rows}
    assert found == resnet_counts(backbone)
