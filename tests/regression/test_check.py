"""`barbench check` and `python -m tools.gate` on a quick section: exit codes, output, what is accepted."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from barbench import cli
from barbench.datasets.pixels import letterbox as transforms
from barbench.regression import check
from tools.gate import __main__ as gate
from tools.gate import data

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["barbench check", "python -m tools.gate"])
def ask(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Ask:
    """`COMMAND ARGUMENTS` with a baseline of its own and the letterbox as the only section."""

    def letterbox_alone(progress: object) -> object:
        return {name: value for name, value in data.letterboxed().items() if "64x64" in name}

    section = gate.REPOSITORY.sections["data"]._replace(measure=letterbox_alone)
    for module, name in ((check, "SCORES"), (gate, "REPOSITORY")):
        monkeypatch.setattr(module, name, getattr(module, name)._replace(sections={"data": section}))
    baseline = ["--baseline", str(tmp_path / "b.json")]

    def call(*arguments: str) -> tuple[int, str, str]:
        if request.param == "barbench check":
            entry = cli.main
            words = ["barbench", "check", *baseline, *arguments]
        else:
            entry = gate.main
            command = "update" if "--update" in arguments else "check"
            rest = [argument for argument in arguments if argument != "--update"]
            words = ["gate", command, *baseline, *rest]
        monkeypatch.setattr(sys, "argv", words)
        code = 0
        try:
            entry()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    call.command = request.param  # type: ignore[attr-defined]
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
    title = ask.command.removesuffix(" check") + " check"  # type: ignore[attr-defined]
    assert out.startswith(f"### {title}: 3 of 3 values moved")
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
    assert (code, "update makes one" in err) == (2, True)
    code, _, err = ask("--update", "--only", "dta")
    assert (code, "unknown section 'dta'. Did you mean data" in err) == (2, True)
    code, _, err = ask("--format", "xml")
    assert (code, "'xml' is not one of" in err) == (2, True)


def test_a_noisy_section_is_measured_again_and_the_smaller_time_counts() -> None:
    times = iter([5.0, 2.0, 1.2, 9.0])
    noisy = gate.REPOSITORY.sections["speed"]._replace(measure=lambda progress: {"step": next(times)})
    assert check._measure_again_if_slow("speed", noisy, {"step": 1.0}) == {"step": 1.2}
    times = iter([5.0, 3.0, 2.0, 1.0])  # three tries, and still twice as long
    assert check._measure_again_if_slow("speed", noisy, {"step": 1.0}) == {"step": 2.0}
