"""The ledger that the gate watches is that of every method, on both backbones."""

from barbench.methods.resolve import resolve
from tools.gate import cost


def test_the_ledger_is_that_of_every_method_on_both_backbones() -> None:
    found = cost.ledger(lambda done, total: None)
    assert found["barleria ViT-B/16/adapter"] == 2_205_920
    assert found["etris ViT-B/16/adapter"] == 1_387_648
    assert {name.split("/")[0].removesuffix(" ViT-B") for name in found} == {s.name for s in resolve("everything")}
