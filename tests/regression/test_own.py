"""`barbench check --data`: exit codes, what is refused, and the tolerance, with scores by hand; once with trainings."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from barbench.datasets.sources import SHAPES_MARK
from barbench.regression import own
from barbench.regression.baseline import OwnScores, load
from barbench.regression.own import Check, _cell_name, _fields
from tests.test_cli import Answer, Ask
from tests.test_cli import ask as ask

IMAGES = 3
COUNTS = [4, 2, 6]
Luck = Callable[[str, int], float]
"""(entry, seed) -> mean IoU."""


def by_luck(entry: str, seed: int) -> float:
    """Seeds differ by about a point."""
    return 0.4 + 0.01 * float(np.random.default_rng([seed, len(entry)]).standard_normal())


def scores(check: Check, luck: Luck) -> OwnScores:
    """What training would measure, with the means that `luck` says, the same on every image."""
    cells = {}
    entries = []
    for job in check.jobs:
        cells[_cell_name(job)] = _fields(job)
        entries += [f"{_cell_name(job)} {split.key}" for split in job.dataset.evaluation_splits]
    entries = list(dict.fromkeys(entries))
    seeds = list(check.asked.seeds)
    return OwnScores(
        seeds=seeds,
        cells=cells,
        images=dict.fromkeys(entries, "ids"),
        expressions=dict.fromkeys(entries, COUNTS),
        scores={entry: [luck(entry, seed) for seed in seeds] for entry in entries},
        sums={entry: [[luck(entry, seed) * n for n in COUNTS] for seed in seeds] for entry in entries},
    )


class Checked:
    """`barbench check` on generated data; `luck` is what the next call measures."""

    def __init__(self, ask: Ask, monkeypatch: pytest.MonkeyPatch, root: Path, path: Path) -> None:
        self.luck: Luck = by_luck
        self.ask = ask
        self.path = path
        self.root = root
        monkeypatch.setattr(own, "_measure", lambda check, console: scores(check, self.luck))

    def __call__(
        self, *words: str, methods: str = "snf,etris", limit: int = IMAGES, root: Path | None = None
    ) -> Answer:
        base = (
            "check",
            "--data",
            root or self.root,
            "--dataset",
            "refcoco",
            "--backbone",
            "tiny",
            "--methods",
            methods,
        )
        return self.ask(*base, "--limit", limit, "--limit-train", 12, "--baseline", self.path, *words)


@pytest.fixture
def checked(ask: Ask, monkeypatch: pytest.MonkeyPatch, shapes_root: Path, tmp_path: Path) -> Checked:
    made = Checked(ask, monkeypatch, shapes_root, tmp_path / "ci" / "baseline.json")
    made.path.parent.mkdir()
    return made


def shifted(points: float, only: str = "") -> Luck:
    return lambda entry, seed: by_luck(entry, seed) + points / 100 * (only in entry)


def test_equal_counts_pass_at_once_and_a_shift_is_found_in_both_directions(checked: Checked) -> None:
    assert checked("--update").code == 0
    answer = checked()
    assert answer.code == 0, answer.err
    assert "6 values checked, none moved" in answer.out
    assert answer.out.count("equal, image by image") == 6
    for points, word in ((-15.0, "worse"), (15.0, "better")):
        checked.luck = shifted(points, "snf refcoco testA")
        answer = checked("--format", "json")
        assert answer.code == 1
        found = json.loads(answer.out)
        assert not found["ok"]
        verdicts = {row["entry"]: row["verdict"] for row in found["findings"]}
        assert [entry for entry, verdict in verdicts.items() if verdict == "moved"] == ["snf refcoco testA"]
        assert len(verdicts) == 6
        [row] = [row for row in found["findings"] if row["failed"]]
        assert row["difference"].startswith(f"{word}: {'-' if points < 0 else '+'}")
        assert "3 of 3 images differ" in row["difference"]


def test_the_tolerance_is_the_written_formula(checked: Checked) -> None:
    """|new - mean of 3| <= t s sqrt(1 + 1/3); six entries of three seeds: t of 12 degrees at 1 - 0.01 / 12."""
    checked("--update")
    stored = next(iter(load(checked.path, "").own.values()))
    pooled = math.sqrt(sum(stdev(runs) ** 2 for runs in stored.scores.values()) / 6)
    allowed = 4.0308 * pooled * math.sqrt(1 + 1 / 3)  # that t by Simpson's rule and bisection
    entry = "etris refcoco val"
    middle = sum(stored.scores[entry]) / 3
    for share, code in ((0.99, 0), (1.01, 1), (-0.99, 0), (-1.01, 1)):
        checked.luck = lambda name, seed, share=share: (  # type: ignore[misc]
            middle + share * allowed if name == entry else by_luck(name, seed)
        )
        answer = checked()
        assert answer.code == code, (share, answer.out)


def test_several_new_seeds_are_judged_by_their_mean(checked: Checked) -> None:
    checked("--update")
    stored = next(iter(load(checked.path, "").own.values()))
    pooled = math.sqrt(sum(stdev(runs) ** 2 for runs in stored.scores.values()) / 6)
    # Between t s sqrt(1/3 + 1/6) and t s sqrt(1/3 + 1).
    shift = 4.03 * pooled * 0.9
    checked.luck = lambda entry, seed: sum(stored.scores[entry]) / 3 + shift
    one = checked("--seeds", "7")
    six = checked("--seeds", "7,8,9,10,11,12")
    assert "seeds 7 against seeds 0, 1 and 2" in one.out.replace("\n", " ")
    assert one.code == 0
    assert six.code == 1


def test_other_data_another_subset_and_another_platform_cannot_be_compared(
    checked: Checked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = checked()
    assert answer.code == 2
    assert "--update makes one" in answer.err
    assert checked("--update").code == 0

    # Other data: one more space in a file is another version.
    other = tmp_path / "other"
    (other / "refcoco").mkdir(parents=True)
    (other / "images").symlink_to(checked.root / "images")
    (other / SHAPES_MARK).write_bytes((checked.root / SHAPES_MARK).read_bytes())
    for name in ("refs(unc).p", "instances.json"):
        (other / "refcoco" / name).write_bytes((checked.root / "refcoco" / name).read_bytes())
    assert checked(root=other).code == 0
    with (other / "refcoco/instances.json").open("a") as file:
        file.write(" ")
    answer = checked(root=other)
    assert answer.code == 2
    assert "data.fingerprint was" in answer.err

    answer = checked(limit=2)
    assert answer.code == 2
    assert "subset.evaluate was 3 and is 2" in answer.err
    answer = checked(limit=5)
    assert answer.code == 2
    assert "--limit 5: refcoco has 4 images in val" in answer.err

    monkeypatch.setattr(own.files, "platform_key", lambda: "torch 9.9, Plan 9 mips")
    answer = checked()
    assert answer.code == 2
    assert "has no scores for torch 9.9, Plan 9 mips, cpu, 1 thread; it has: torch 2" in answer.err
    # Accepting there keeps what was there.
    assert checked("--update").code == 0
    assert len(load(checked.path, "").own) == 2


def test_a_baseline_that_cannot_tell_a_change_from_a_seed_is_refused(checked: Checked) -> None:
    answer = checked("--update", "--seeds", "0,1", methods="snf")
    assert answer.code == 2
    assert "give 3 degrees of freedom, and 4 are needed" in answer.err
    assert not checked.path.exists()
    assert checked("--update", "--seeds", "0,1").code == 0


def test_methods_of_one_side(checked: Checked) -> None:
    checked("--update")
    answer = checked(methods="etris")
    assert answer.code == 0
    assert "Not asked for, though in the baseline: snf refcoco." in answer.out
    answer = checked(methods="etris,bitfit")
    assert answer.code == 1
    assert checked("--allow-new", methods="etris,bitfit").code == 0


def test_what_differs_in_the_making_is_said(checked: Checked) -> None:
    checked("--update")
    answer = checked("--set", "lr=1e-5", "--format", "md")
    assert answer.code == 0
    text = " ".join(answer.out.split())
    assert answer.out.startswith("### barbench check --data: 6 values checked, none moved")
    assert "The baseline had recipe.lr 0.0001 (now 1e-05): " in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1"], "--seeds is of a check of your own data"),
        (["--set", "lr=1"], "--set is of a check of your own data"),
        (["--data", "shapes"], "--data needs a --baseline FILE"),
        (["--data", "shapes", "--baseline", "b.json", "--only", "scores"], "no sections for --only"),
        (["--data", "shapes", "--baseline", "b.json", "--backbone", "tiny,ViT-B-32"], "a check is of one backbone"),
    ],
)
def test_arguments_that_do_not_go_together(ask: Ask, words: list[str], message: str) -> None:
    answer = ask("check", *words)
    assert answer.code == 2
    assert message in answer.err


@pytest.mark.slow
def test_with_trainings(ask: Ask, tmp_path: Path) -> None:
    """On 24 generated images: an equal rerun is equal to the last count; a head that hardly learns is found."""
    made = ask("data", "make-shapes", tmp_path / "data", "--train", 48, "--evaluate", 8)
    assert made.code == 0, made.err
    base = [
        "check",
        "--data",
        tmp_path / "data",
        "--dataset",
        "refcoco",
        "--backbone",
        "tiny",
        "--methods",
        "head-only",
    ]
    base += ["--recipe", "demo", "--set", "head=random", "--set", "epochs=12", "--set", "threshold=0.2"]
    base += ["--limit", 6, "--limit-train", 40, "--baseline", tmp_path / "baseline.json"]
    assert ask(*base, "--set", "lr=1e-3", "--update").code == 0
    again = ask(*base, "--set", "lr=1e-3")
    assert again.code == 0, again.out
    assert again.out.count("equal, image by image") == 3
    slower = ask(*base, "--set", "lr=1e-4")
    assert slower.code == 1, slower.out
    assert "recipe.lr 0.001 (now 0.0001)" in slower.out
