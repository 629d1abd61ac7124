"""Numbers of other papers: typed, every line once, and the averages that the specification's table states."""

from decimal import Decimal

import pytest

from barbench.paper.literature import PublishedScore, PublishedSystem, published_scores, published_systems
from barbench.reports.tables.literature import AVERAGES, computed_average, misfit

FLAT8 = ("RefCOCO val", "RefCOCO testA", "RefCOCO testB", "RefCOCO+ val", "RefCOCO+ testA", "RefCOCO+ testB")
FLAT8 += ("G-Ref umd val", "G-Ref umd test")
# system, backbone's beginning, training's beginning -> flat 8, three set means, flat 9.
FULL = {
    ("DETRIS-B", "", "one"): (71.01, 70.68, 70.44),
    ("DETRIS-L", "", "one"): (72.73, 72.39, 72.19),
    ("DETRIS-L*", "", "mixed leaked"): (76.97, 76.75, None),
    ("Prompt-RIS", "", "mixed without"): (73.46, 73.17, 72.98),
    ("CARIS", "Swin-B", "one"): (72.34, 71.95, 71.83),
    ("CGFormer", "Swin-B", "one"): (71.05, 70.68, 70.46),
    ("CRIS", "CLIP ResNet-50", "one"): (63.33, 62.89, None),
    ("CRIS", "CLIP ResNet-101", "one"): (64.25, 63.79, None),
    ("SERA", "", "one"): (71.71, 71.39, 71.14),
    ("SaFiRe, mixed", "", "mixed, filter unknown"): (79.01, None, None),
    ("C3VG", "", "mixed, filter unknown"): (78.24, None, None),
    ("EEVG", "", "mixed, filter unknown"): (73.42, None, None),
}


def rows(name: str, backbone: str = "", training: str = "") -> list[PublishedSystem]:
    found = []
    for system in published_systems(on_papers_data=True):
        about = system.about
        named = about.system == name and about.metric == "mIoU"
        if named and about.backbone.startswith(backbone) and about.training.startswith(training):
            found.append(system)
    return found


def by_hand(system: PublishedSystem) -> tuple[float, float, float | None]:
    """The three averages, from the lines as the file names them."""
    values = {f"{score.dataset} {score.split}": float(score.value) for score in system.scores}
    eight = [values[name] for name in FLAT8]
    sets = (sum(eight[:3]) / 3, sum(eight[3:6]) / 3, sum(eight[6:]) / 2)
    google = values.get("G-Ref google val")
    flat9 = None if google is None else (sum(eight) + google) / 9
    return sum(eight) / 8, sum(sets) / 3, flat9


@pytest.mark.parametrize("name", FULL)
def test_averages_of_full_rows_are_those_of_the_specification(name: tuple[str, str, str]) -> None:
    full = [system for system in rows(*name) if computed_average(system, "flat8") is not None]
    assert full
    for system in full:
        computed = [computed_average(system, rule) for rule in ("flat8", "sets3", "flat9")]
        assert computed == pytest.approx(list(by_hand(system)), abs=1e-9)
        for value, stated in zip(computed, FULL[name], strict=True):
            # Two digits; 76.975 is stated as 76.97.
            assert stated is None or value == pytest.approx(stated, abs=0.005 + 1e-9)
    assert list(AVERAGES) == ["flat8", "sets3", "flat9"]


def test_every_printed_average_of_a_full_row_is_its_rules_but_one() -> None:
    checked = 0
    for system in published_systems(on_papers_data=True):
        shown = system.average
        value = computed_average(system, shown.rule) if shown and shown.rule else None
        if shown is None or value is None:
            continue
        checked += 1
        fits = abs(value - float(shown.value)) <= 0.05 + 1e-9
        assert fits == ((system.about.system, system.about.metric) != ("DETRIS-L*", "mIoU"))
        assert fits == (misfit(system) == "")
    assert checked == 7
    [flagged] = rows("DETRIS-L*")
    assert misfit(flagged) == "The printed 77.2 fits no rule: flat8 77.0, sets3 76.8."


def test_lines_are_counted_as_the_specification_counts_them() -> None:
    scores = published_scores()
    assert len(scores) == 660
    verified = [score.verified for score in scores]
    assert [verified.count(kind) for kind in ("primary", "quoted", "notes-only")] == [291, 338, 31]
    notes_only = {score.system for score in scores if score.verified == "notes-only"}
    assert {"SERA", "WIMFRIS-B", "RISCLIP-L", "BarLeRIa"} <= notes_only
    masks = {score.system.removesuffix(", boxes") for score in scores if score.backbone_saw_coco == "masks"}
    assert masks == {
        *("EEVG", "EEVG, full tuning", "CoLA r=16", "LoRA r=16", "LoRA r=54"),
        *("LoRA, same rank (r=16)", "LoRA, same parameters (r=54)"),
    }


def test_a_number_is_in_one_row_and_keeps_its_digits() -> None:
    shown: list[PublishedScore] = []
    for on_papers_data in (True, False):
        for system in published_systems(on_papers_data):
            places = [(score.metric, score.dataset, score.split) for score in system.scores]
            assert len(set(places)) == len(places)
            assert len({(score.training, score.verified) for score in system.scores}) == 1
            assert not on_papers_data or len({score.metric for score in system.scores}) == 1
            shown += system.scores
    assert len(shown) == 660
    [detris] = rows("DETRIS-B")
    assert str(detris.scores[0].value) == "76.0"
    assert detris.scores[0].value == Decimal(76)
