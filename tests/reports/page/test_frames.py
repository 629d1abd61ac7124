"""Cost frames: the ends of an error bar enclose its centre, also where a mean of equal numbers lies beside them."""

from barbench.reports.page.frames import COSTS, costs
from barbench.reports.tables.grouping import group


def test_error_bars_have_no_negative_length(make) -> None:
    records = [make(m, "refcoco", {"val": 50.1}, seed=seed) for seed in range(3) for m in ("snf", "etris", "barleria")]
    [members] = group(records)
    frame = costs(members).frame.dropna(axis="columns")
    for name in {"iou", *COSTS} & set(frame.columns):
        assert (frame[f"{name}_low"] <= frame[name]).all()
        assert (frame[name] <= frame[f"{name}_high"]).all()
    assert {"iou", "parameters"} <= set(frame.columns)
