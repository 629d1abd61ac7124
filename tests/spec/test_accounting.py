"""Which parameters count, of what: presets against what papers print, and what is refused."""

import pytest

from barbench.errors import UnknownName, UsageError
from barbench.spec.accounting import DEFAULT, GROUPS, PRESETS, CountRule, parse_rule

OLD = {"adapter": 2_205_920, "positional": 0, "head": 22_745_601, "frozen": 149_989_376}


@pytest.mark.parametrize(("own", "towers", "share"), [(2_715_696, 150_011_649, 1.810), (3_110_448, 367_800_833, 0.846)])
def test_the_public_row_of_detris(own: int, towers: int, share: float) -> None:
    ledger = {"own": own, "vision": towers - 63_428_097, "text": 63_428_097}
    ledger |= {"vision_positions": 0, "text_positions": 0}
    found = PRESETS["detris"].share(ledger)
    assert found is not None
    assert round(found, 3) == share


@pytest.mark.parametrize(("own", "total", "share"), [(5_308_416, 223.4e6, 12.5), (17_826_192, 236.0e6, 17.2)])
def test_the_rule_of_cola(own: int, total: float, share: float) -> None:
    head = 22_700_000
    ledger = {"own": own, "head": head, "vision": int(total) - head - own, "text": 0}
    ledger |= {"vision_positions": 0, "text_positions": 0}
    found = parse_rule("cola", None).share(ledger)
    assert found is not None
    assert round(found, 1) == share


def test_a_rule_is_read_and_named() -> None:
    assert parse_rule(None, None) == DEFAULT
    assert parse_rule("own + head", "total") == PRESETS["cola"]
    assert parse_rule("own+positions", "towers-nopos").words == "own + positions, % of towers-nopos"
    assert DEFAULT.words == "adapter, in millions"
    assert GROUPS == ("own", "norms", "biases", "weights", "positional", "head", "frozen")


def test_an_old_ledger_counts_as_far_as_it_goes() -> None:
    assert DEFAULT.printed(OLD) == "2,205,920"
    assert parse_rule("all", None).parameters(OLD) == 2_205_920 + 22_745_601
    assert parse_rule("own", None).printed(OLD) == "not recorded"
    assert parse_rule("adapter", "towers").printed(OLD) == "not recorded"
    assert parse_rule("cola", None).share({}) is None


@pytest.mark.parametrize("name", ["ows", "own+", "", "frozen", "etris+head"])
def test_an_unknown_group_is_refused(name: str) -> None:
    with pytest.raises(UnknownName, match="group of --count"):
        parse_rule(name if name else "+", None)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--count cola is a whole rule, own \+ head, % of total: leave --of out"):
        parse_rule("cola", "vision")
    with pytest.raises(UsageError, match="counts parameters twice"):
        parse_rule("own+adapter", None)
    with pytest.raises(UsageError, match="counts parameters twice"):
        parse_rule("all+head", None)
    with pytest.raises(UnknownName, match="denominator of --of"):
        parse_rule("own", "model")
    assert CountRule(("own",), "vision").share({"own": 1, "vision": 0, "vision_positions": 0}) is None
