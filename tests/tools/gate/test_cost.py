"""The ledger that the gate watches is that of every method, on both backbones."""

from barbench.methods.resolve import resolve
from barbench.regression.baseline import load
from tools.gate import cost
from tools.gate.__main__ import REPOSITORY


def test_the_ledger_is_that_of_every_method_on_both_backbones() -> None:
    found = cost.ledger(lambda done, total: None)
    assert found["barleria ViT-B/16/adapter"] == 2_205_920
    assert found["etris ViT-B/16/adapter"] == 1_387_648
    assert {name.split("/")[0].removesuffix(" ViT-B") for name in found} == {s.name for s in resolve("everything")}


def test_the_baseline_holds_every_method() -> None:
    sections = load(REPOSITORY.baseline, REPOSITORY.update).everywhere
    everything = {spec.name for spec in resolve("everything")}
    assert sections["flops"].keys() == everything
    assert {name.partition("/")[0] for name in sections["models"]} == everything
