"""Cost frames: the ends of an error bar enclose its centre, also where a mean of equal numbers lies beside them."""

from barbench.reports.page.frames import COSTS, costs, loss_curve
from barbench.reports.tables.grouping import group


def test_error_bars_have_no_negative_length(make) -> None:
    records = [make(m, "refcoco", {"val": 50.1}, seed=seed) for seed in range(3) for m in ("snf", "etris", "barleria")]
    [members] = group(records)
    frame = costs(members).frame.dropna(axis="columns")
    for name in {"iou", *COSTS} & set(frame.columns):
        assert (frame[f"{name}_low"] <= frame[name]).all()
        assert (frame[name] <= frame[f"{name}_high"]).all()
    assert {"iou", "parameters"} <= set(frame.columns)


def test_an_interval_takes_the_place_of_the_seeds(make) -> None:
    records = [make(m, "refcoco", {"val": 50.0 + seed}, seed=seed) for seed in range(3) for m in ("snf", "etris")]
    [members] = group(records)
    found = costs(members).with_intervals({"SNF": 2.5}).frame.set_index("label")
    assert found.loc["SNF", ["iou_low", "iou", "iou_high"]].tolist() == [48.5, 51.0, 53.5]
    assert found.loc["ETRIS", ["iou_low", "iou", "iou_high"]].tolist() == [50.0, 51.0, 52.0]


def test_the_loss_curve_is_finer_than_the_epochs(make) -> None:
    epochs = [{"epoch": n, "loss": 1 / n, "lr": 1e-3, "seconds": 1, "steps": 10} for n in (1, 2)]
    curve = {"every": 8, "losses": (0.9, 0.6, 0.4)}
    fine = make("snf", "refcoco", {"val": 50.0}, fields={"history": epochs, "curve": curve})
    plain = make("etris", "refcoco", {"val": 50.0}, fields={"history": epochs})
    [members] = group([fine, plain])
    frame = loss_curve(members)
    points = {label: list(zip(own["x"], own["y"], strict=True)) for label, own in frame.groupby("label")}
    assert points == {"SNF": [(0.8, 0.9), (1.6, 0.6), (2.0, 0.4)], "ETRIS": [(1.0, 1.0), (2.0, 0.5)]}
