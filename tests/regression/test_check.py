"""`barbench check` as a whole on its quickest section: exit codes, what is printed, what is accepted."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from barbench import cli
from barbench.datasets.pixels import letterbox as transforms
from barbench.methods.resolve import resolve
from barbench.regression import check
from barbench.regression.sections import cost, data

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ask:
    """`barbench check ARGUMENTS` with a baseline of its own and the letterbox as the only section."""

    def letterbox_alone(progress: object) -> object:
        return {name: value for name, value in data.letterboxed().items() if "64x64" in name}

    monkeypatch.setattr(check, "SECTIONS", {"data": check.SECTIONS["data"]._replace(measure=letterbox_alone)})

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["barbench", "check", "--baseline", str(tmp_path / "b.json"), *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_an_unchanged_run_passes_and_a_shift_of_half_a_pixel_does_not(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("--update")[0] == 0
    code, out, _ = ask()
    assert code == 0
    assert "3 values checked, none moved" in out
    place = transforms.Letterbox._place

    def shifted(self: transforms.Letterbox, height: int, width: int) -> tuple[float, float, float]:
        scale, x, y = place(self, height, width)
        return scale, x + 0.5, y

    monkeypatch.setattr(transforms.Letterbox, "_place", shifted)
    code, out, _ = ask("--format", "md")
    assert code == 1
    assert out.startswith("### barbench check: 3 of 3 values moved")
    assert "| data | letterbox/mask 64x64 | moved |" in " ".join(out.split())  # columns are padded
    code, out, _ = ask("--format", "json")
    assert code == 1
    assert {row["entry"] for row in json.loads(out)["findings"]} == {
        "letterbox/image 64x64", "letterbox/mask 64x64", "letterbox/restored 64x64"
    }  # fmt: skip
    assert ask()[0] == 1
    assert ask("--update")[0] == 0
    assert ask()[0] == 0


def test_mistakes_are_answered(ask: Ask) -> None:
    code, _, err = ask()
    assert (code, "--update makes one" in err) == (2, True)
    code, _, err = ask("--update", "--only", "dta")
    assert (code, "unknown section 'dta'. Did you mean data" in err) == (2, True)
    code, _, err = ask("--format", "xml")
    assert (code, "'xml' is not one of" in err) == (2, True)


def test_a_noisy_section_is_measured_again_and_the_smaller_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5.0, 2.0, 1.2, 9.0])
    noisy = check.SECTIONS["speed"]._replace(measure=lambda progress: {"step": next(times)})
    assert check._settled("speed", noisy, {"step": 1.0}) == {"step": 1.2}
    times = iter([5.0, 3.0, 2.0, 1.0])
    assert check._settled("speed", noisy, {"step": 1.0}) == {"step": 2.0}  # three tries, and still twice as long


def test_the_ledger_is_that_of_every_method_on_both_backbones() -> None:
    found = cost.ledger(lambda done, total: None)
    assert found["barleria ViT-B/16/adapter"] == 2_205_920
    assert found["etris ViT-B/16/adapter"] == 1_387_648
    assert {name.split("/")[0].removesuffix(" ViT-B") for name in found} == {s.name for s in resolve("everything")}
