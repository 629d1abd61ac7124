"""The catalogue page: it speaks of every method, and its tables are made from the models."""

import re

import pytest

from barbench.methods.catalog import METHODS
from barbench.methods.resolve import resolve
from tools import methods_table

SHIPPED = [spec for spec in METHODS if spec.build.__module__ == "barbench.methods.catalog"]


def test_the_page_speaks_of_every_method_of_the_field() -> None:
    page = methods_table.PAGE.read_text("utf-8").partition("## Adapter parameters")[0]
    field = [spec.name for spec in SHIPPED if spec.kind not in ("paper", "reference")]
    assert [name for name in field if f"`{name}`" not in page] == []


def test_the_page_has_a_mark_for_each_table() -> None:
    page = methods_table.PAGE.read_text("utf-8")
    assert page.count(methods_table.COUNTS_MARK) == page.count(methods_table.RESNETS_MARK) == 1


def test_the_table_has_a_row_for_every_method_with_its_kind_and_count() -> None:
    table = methods_table.count_table({"ViT-B/16": "ViT-B-16-quickgelu"})
    rows = re.findall(r"\| ([^|`]+) \| `([^`]+)` \| ([\d,]+) \|", table)
    assert {name: kind for kind, name, _ in rows} == {spec.name: spec.kind for spec in resolve("everything")}
    assert {name: count for _, name, count in rows}.items() >= {"lora": "491,520", "barleria": "2,205,920"}.items()


# Adapter parameters on RN50 and RN101, and the head's: counted in the public classes, or by hand for the selections.
ON_RESNETS = {
    "etris": (1_942_080, 1_942_080, 28_834_305, 25_293_825),
    "bitfit": (101_888, 127_488, 28_834_305, 25_293_825),
    "layernorm": (78_848, 131_072, 28_834_305, 25_293_825),
    "layernorm-bias": (141_312, 193_024, 28_834_305, 25_293_825),
    "fish": (510_035, 598_440, 28_834_305, 25_293_825),
    "random-mask": (510_035, 598_440, 28_834_305, 25_293_825),
    "head-only": (0, 0, 28_834_305, 25_293_825),
    "full": (101_865_312, 119_546_208, 28_834_305, 25_293_825),
    "cris": (101_865_312, 119_546_208, 44_841_985, 41_563_649),
}


@pytest.mark.parametrize(("number", "backbone"), list(enumerate(methods_table.RESNETS.values())))
def test_the_methods_that_can_be_used_on_resnets_and_their_counts(number: int, backbone: str) -> None:
    expected = {name: (counts[number], counts[2 + number]) for name, counts in ON_RESNETS.items()}
    assert methods_table.resnet_counts(backbone) == expected


# Counts on EVA02-B/16 and ViT-L/14, where they are not those of ViT-B/16.
LARGER = {
    "EVA02-B-16": {
        "lora-all": 2_285_568, "cola": 13_497_360, "two-way-prompts": 2_229_504, "ia3": 79_872, "ssf": 365_056,
        "bitfit": 208_384, "layernorm": 131_584, "fish": 750_298,
    },
    "ViT-L-14-quickgelu": {
        "etris": 1_783_168, "snf": 491_712, "no-global": 792_672, "barleria": 2_766_336, "barleria-released": 3_951_168,
        "lora": 1_081_344, "dora": 1_148_928, "ia3": 202_752, "ssf": 749_056, "houlsby": 8_722_944,
        "compacter": 209_152, "repadapter": 879_168, "convpass": 864_000, "vpt-deep": 1_228_800, "maple": 7_100_928,
        "deep-prompts": 32_256, "bitfit": 374_528, "layernorm": 140_800, "fish": 2_141_379, "lim": 116_544,
        "detris": 6_393_936, "lst": 10_811_588, "full": 427_294_208, "lora-all": 4_866_048, "cola": 25_497_360,
        "two-way-prompts": 4_559_232,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("backbone", LARGER)
def test_counts_on_other_backbones(backbone: str) -> None:
    assert methods_table.counts(backbone).items() >= LARGER[backbone].items()
