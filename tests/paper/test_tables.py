"""The cells that each table needs, against the paper's rows and columns written out here."""

from itertools import product
from pathlib import Path

import pytest

from barbench.benchmarks import matrix
from barbench.errors import UnknownName, UsageError
from barbench.paper.tables import TABLES
from barbench.results.record import Cell
from barbench.spec.run import Place, Run
from tests.datasets.overlapping import write_overlapping

FIVE = ("etris", "snf", "snf-etris", "no-global", "barleria")
FOUR = ("refcoco", "refcoco+", "refcocog-u", "refcocog-g")
VIT_B = ("ViT-B-16-quickgelu", "openai", "paper")
EVA = ("EVA02-B-16", "merged2b_s8b_b131k", "paper")
VIT_L = ("ViT-L-14-quickgelu", "openai", "paper-large")
ROWS = {
    "1": {(m, s, *VIT_B) for m, s in product(("etris", "barleria"), FOUR)},
    "2": {(m, s, *EVA) for m, s in product(("etris", "barleria"), FOUR[:3])} | {("barleria", "mixed", *EVA)},
    "3": {("barleria", s, *VIT_L) for s in (*FOUR[:3], "mixed")},
    "4": {(m, s, *VIT_B) for m, s in product(FIVE, FOUR)},
    "5": {(m, s, *VIT_B) for m, s in product(FIVE, FOUR)},
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all protocols that is no shapes folder."""
    return write_overlapping(tmp_path_factory.mktemp("real") / "data")


def cells(data: Path, table: str | None, **given: object) -> list[Cell]:
    run = Run.of({"tables": table, "data": str(data)}, **given)
    return [job.cell for job in matrix.cells(run, Place())]


def rows(found: list[Cell]) -> set[tuple[object, ...]]:
    return {(c.method, c.dataset, c.backbone, c.weights, c.recipe["name"]) for c in found}


@pytest.mark.parametrize("table", TABLES.names())
def test_a_table_needs_the_papers_rows(table: str, real: Path) -> None:
    found = cells(real, table)
    assert rows(found) == ROWS[table]
    assert len(found) == len(ROWS[table])


def test_several_tables_need_each_cell_once(real: Path) -> None:
    assert rows(cells(real, "4,5,1")) == ROWS["4"]
    assert rows(cells(real, "all")) == set().union(*ROWS.values())
    assert len(cells(real, "all")) == 20 + 7 + 4
    assert len(cells(real, "4", seeds="0,1,2")) == 3 * 20


def test_the_large_recipe_is_the_papers(real: Path) -> None:
    recipes = {c.recipe["name"]: c.recipe for c in cells(real, "3,4")}
    large, base = recipes["paper-large"], recipes["paper"]
    assert (large["batch"], large["lr"]) == (64, 2e-4)
    differing = {key for key in base if base[key] != large[key]}
    assert differing == {"name", "description", "batch", "lr"}


def test_on_shapes_embedded_backbones_stand_for_the_papers(shapes_root: Path) -> None:
    found = cells(shapes_root, "all")
    assert {(c.backbone, c.recipe["name"]) for c in found} == {
        (name, "demo") for name in ("tiny", "tiny-eva", "tiny-l")
    }
    assert len(found) == 20 + (2 * 3 + 1) + (3 + 1)  # Tables 1, 4 and 5; Table 2; Table 3
    assert {c.dataset for c in cells(shapes_root, "3")} == {"refcoco", "refcoco+", "refcocog-u", "mixed"}


def test_what_is_given_takes_the_tables_place(real: Path) -> None:
    assert {c.method for c in cells(real, "4", methods="head-only")} == {"head-only"}
    assert {c.recipe["epochs"] for c in cells(real, "2", changes=["epochs=3"])} == {3}
    assert {(c.backbone, c.weights) for c in cells(real, "2", backbones="ViT-B-16-quickgelu")} == {VIT_B[:2]}
    assert rows(cells(real, "2", datasets="mixed")) == {("barleria", "mixed", *EVA)}
    [chosen] = cells(real, "3", datasets="refcoco", options=["barleria:gst.prior=false"])
    assert chosen.options == {"gst.prior": False}


def test_conflicts_say_what_the_table_has(real: Path) -> None:
    with pytest.raises(UsageError, match=r"refcocog-g: table 2 has refcoco, refcoco[+], refcocog-u, mixed"):
        cells(real, "2", datasets="refcocog-g")
    with pytest.raises(UnknownName, match="6"):
        cells(real, "6")
    with pytest.raises(UsageError, match="lora is not among the methods; they are etris, snf"):
        cells(real, "4", options=["lora:rank=2"])


def test_without_a_table_a_run_is_what_it_was(real: Path) -> None:
    assert rows(cells(real, None)) == {(m, "refcoco+", *VIT_B) for m in ("head-only", *FIVE, "full")}
    assert {c.dataset for c in cells(real, None, datasets="mixed-leaked,refcoco")} == {"mixed-leaked", "refcoco"}
