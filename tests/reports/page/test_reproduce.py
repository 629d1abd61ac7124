"""The printed command, given back to the command line, makes the very cells that it was printed for."""

import shlex
from pathlib import Path

import pytest

from barbench import cli
from barbench.benchmarks.execution.launch import Launch
from barbench.benchmarks.job import Job
from barbench.benchmarks.planning.plan import RunPlan
from barbench.commands import run as commands
from barbench.reports.page.reproduce import ROOT, command, recipe_file
from barbench.results.record import Cell
from barbench.spec.recipe import load_recipe

RUNS = {
    "plain": ["--methods", "etris,snf", "--dataset", "refcoco,refcoco+", "--seeds", "0,3"],
    "changed recipe": ["--methods", "snf", "--set", "epochs=1", "--set", "clip=null", "--set", "lr=1e-5"],
    "changed recipe, own rates": ["--methods", "snf", "--set", "epochs=1"],
    "one rate for all": ["--methods", "snf,etris", "--set", "adapter_lr=22.3"],
    "options": ["--methods", "snf,etris", "--option", "etris:bridge.dim=64", "--option", "etris:positional=train"],
    "published sizes": ["--methods", "snf,etris,head-only", "--proportion", "published"],
    "everything else": [
        *("--methods", "head-only", "--recipe", "paper", "--precision", "bf16", "--processes", "2"),
        *("--image-size", "64", "--weights", "random", "--seeds", "7", "--context", "20"),
        *("--exif", "apply", "--limit", "3", "--limit-train", "12"),
    ],
    "mixed": ["--methods", "no-global", "--dataset", "mixed"],
}


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch):
    """The cells that a command line would run."""

    def ask(words: list[str]) -> list[Cell]:
        found: list[Job] = []

        def show(launch: Launch) -> RunPlan:
            found.extend(launch.jobs)
            return RunPlan(())

        monkeypatch.setattr(commands, "_show_plan", lambda launch, console: show(launch))
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit) as end:
            cli.app(words[1:])
        assert end.value.code in (None, 0)
        return [job.cell for job in found]

    return ask


@pytest.mark.parametrize("arguments", RUNS.values(), ids=RUNS.keys())
def test_a_command_comes_back_as_its_cells(arguments, cells, shapes_root: Path) -> None:
    here = ["--data", str(shapes_root), "--plan"]  # the last --data counts; a folder of shapes is shapes
    made = cells(["barbench", "run", "--backbone", "tiny", "--device", "cpu", *arguments, *here])
    text = command(made, "cpu")
    assert text
    assert "--data shapes " in text
    again = cells([*shlex.split(text), *here])
    assert {cell.id() for cell in again} == {cell.id() for cell in made}
    assert len(again) == len(made)


OWN = {
    "rates of one method": ("lr: 1e-4\nhead: shipped\nrates:\n  snf: {adapter_lr: 60}\n", ["snf"], []),
    "no rates": ("lr: 2e-4\n", ["snf", "etris"], []),
    "rates of several": ("lr: 1e-4\nrates:\n  snf: {adapter_lr: 60}\n  etris: {lr: 3e-4}\n", ["snf", "etris"], []),
    "found by tune": (
        "lr: 1e-4\nrates:\n  snf: {lr: 2e-4, adapter_lr: 60}\ntuning:\n  {trials: 2, sampler: sobol, "
        "space: {lr: [1e-4, 1e-3]}, held_out: 20, split: refcoco+, epochs: 1}\n",
        ["snf", "etris"],
        [],
    ),
    "changed": ("lr: 1e-4\nmilestones: [1]\n", ["snf"], ["--set", "epochs=3"]),
    "options": ("lr: 1e-4\nrates:\n  snf: {adapter_lr: 60}\n", ["snf"], ["--option", "snf:snf.length=4"]),
}


@pytest.mark.parametrize(("text", "methods", "more"), OWN.values(), ids=OWN.keys())
def test_a_recipe_of_ones_own_is_printed_beside_the_command(
    text: str, methods: list[str], more: list[str], cells, shapes_root: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(f"description: of mine\nepochs: 2\nbatch: 4\n{text}")
    here = ["--data", str(shapes_root), "--plan"]
    asked = ["--methods", ",".join(methods), "--recipe", "mine.yaml", "--backbone", "tiny", *more]
    made = cells(["barbench", "run", "--device", "cpu", *asked, *here])
    for some in (made, made[:1], made[-1:]):
        file = recipe_file(some)
        assert file is not None
        assert file.name == "mine.yaml"
        Path("mine.yaml").write_text(file.text)
        words = command(some, "cpu")
        assert words is not None
        assert "--recipe mine.yaml" in words
        again = cells([*shlex.split(words), *here])
        assert {each.id() for each in again} == {each.id() for each in some}


def test_a_recipe_that_ships_needs_no_file_unless_it_was_another_then() -> None:
    demo = load_recipe("demo")
    fields = demo.of("snf").fields()
    assert recipe_file([cell(method="snf", recipe=fields)]) is None
    for changes in ({"adapter_lr": 7.5}, {"epochs": 9}, {"description": "an older one"}):
        older = cell(method="snf", recipe=fields | changes)
        file = recipe_file([older])
        assert file is not None
        assert file.name == "demo.yaml"


def test_generated_data_of_ones_own_are_named() -> None:
    assert "--data drawn " in (command([cell()], data="drawn") or "")
    assert "--data shapes " in (command([cell()]) or "")


def cell(**fields: object) -> Cell:
    plain = {"method": "etris", "backbone": "tiny", "weights": "random", "dataset": "refcoco", "seed": 0}
    more = {"recipe": {"name": "demo"}, "data": {"kind": "shapes", "fingerprint": "f"}}
    return Cell.model_validate(plain | more | fields)


def test_cells_that_no_single_command_makes() -> None:
    assert command([cell(), cell(seed=1), cell(method="snf")]) is None
    assert command([cell(), cell(options={"bridge.dim": 64})]) is None
    assert command([cell(), cell(precision="bf16")]) is None
    assert command([cell(), cell(dataset="refcoco+", data={"kind": "refer", "fingerprint": "f"})]) is None


def test_what_only_the_user_has_is_named() -> None:
    own = cell(weights="mine.pt@0a1b2c3d", backbone="little@99887766", data={"kind": "refer", "fingerprint": "f"})
    text = command([own])
    assert text
    assert "--weights mine.pt --" in text
    assert "--backbone little --" in text
    assert f"--data {ROOT} --" in text


def test_a_new_field_of_a_cell_needs_a_place_in_the_command() -> None:
    told = {"method", "options", "backbone", "weights", "image_size", "dataset", "recipe", "seed", "data", "precision"}
    assert set(Cell.model_fields) == told | {
        "processes",
        "context_length",
        "exif",
        "subset",
        "neck",
        "head_form",
        "held_out",  # a trial of a search has no command
        "scaled",
    }


def test_a_head_of_another_kind_is_in_the_command() -> None:
    assert "--neck none --" in (command([cell(neck="none")]) or "")
    assert "--neck none --head linear --" in (command([cell(neck="none", head_form="linear")]) or "")
    assert command([cell(), cell(neck="none")]) is None
