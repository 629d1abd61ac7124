"""The table itself: each complaint is looked for, and an exemption is one only as long as its reason holds."""

import re
from pathlib import Path

import pytest

from tests.complaints.complaints import COMPLAINTS, DOES_NOT_APPLY, METHODS, judge


def test_each_complaint_is_looked_for() -> None:
    marks = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        marks |= set(re.findall(r"^@pytest\.mark\.complaint\((\d+)\)", path.read_text(), re.MULTILINE))
    assert {int(number) for number in marks} == set(COMPLAINTS)


def test_exemptions_are_of_methods_and_complaints_that_there_are() -> None:
    assert {complaint for complaint, _ in DOES_NOT_APPLY} <= set(COMPLAINTS)
    assert {name for _, name in DOES_NOT_APPLY} <= set(METHODS)


def test_what_is_found_fails_and_so_does_an_exemption_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    judge(1, "lora", [])
    with pytest.raises(AssertionError):
        judge(1, "lora", ["method.a stays zero"])
    monkeypatch.setitem(DOES_NOT_APPLY, (1, "lora"), "a reason")
    judge(1, "lora", ["method.a stays zero"])
    with pytest.raises(AssertionError, match="no exemption is needed any longer: a reason"):
        judge(1, "lora", [])
