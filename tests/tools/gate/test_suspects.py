"""The component that alone explains which methods moved is named."""

from barbench.methods.resolve import resolve
from barbench.regression.compare import compare_section
from barbench.regression.rules import Values
from tools.gate.__main__ import suspects
from tools.gate.rules import exact


def suspected(*moved: str) -> list[str]:
    compositions = {spec.name: spec.create().composition() for spec in resolve("all,head-only")}
    old: Values = {f"{name}/logits": 1 for name in compositions}
    new: Values = {f"{name}/logits": 2 if name in moved else 1 for name in compositions}
    return suspects(compare_section("models", exact, old, new, ""), compositions)


def test_the_methods_that_moved_name_the_component() -> None:
    assert suspected("snf", "snf-etris", "no-global", "barleria") == ["SNF"]
    assert suspected("etris", "snf-etris") == ["Bridge"]
    assert suspected("no-global", "barleria") == ["LIM"]
    assert suspected("barleria") == ["GST"]


def test_where_no_component_explains_it_none_is_named() -> None:
    assert suspected() == []
    assert suspected("snf") == []
    assert suspected("head-only", "etris", "snf", "snf-etris", "no-global", "barleria") == []
