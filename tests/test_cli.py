"""The command line as a user meets it: answers, exit codes, and never a traceback that nobody asked for."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from rich.console import Console

from barbench import cli, listing
from barbench.methods.catalog import METHODS
from barbench.results.record import Cell, DataIdentity, Record
from barbench.results.store import Store
from tests.datasets.overlapping import write_overlapping
from tests.results.cells import put_cell

REPOSITORY = Path(__file__).parents[1]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


@pytest.fixture
def ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Ask:
    """`barbench ARGUMENTS` in this process, in an empty working folder without data settings."""
    folder = tmp_path_factory.mktemp("work")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BARBENCH_DATA", raising=False)
    monkeypatch.setenv("BARBENCH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["barbench", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        answer = Answer(code, *capsys.readouterr())
        if "--debug" not in arguments:
            assert "Traceback" not in answer.out + answer.err
        return answer

    return call


@pytest.fixture
def small_run(shapes_root: Path, backbone_folder: Path) -> list[object]:
    """Arguments of a run that would take seconds: one method, one evaluation split."""
    return [
        "run", "--methods", "head-only", "--split", "refcocog-g", "--data", shapes_root, "--backbone", backbone_folder,
        "--weights", "random", "--set", "epochs=1", "--workers", 0,
    ]  # fmt: skip


def a_failure() -> Record:
    cell = Cell(
        method="etris", backbone="tiny", weights="random", dataset="refcoco", recipe={"name": "demo"}, seed=0,
        data=DataIdentity(kind="shapes", fingerprint="f"),
    )  # fmt: skip
    return Record(
        id=cell.id(), cell=cell, title="ETRIS", composition=("Bridge",), ledger={}, status="failed", reason="a test"
    )


def test_help_says_what_there_is(ask: Ask) -> None:
    answer = ask("--help")
    assert answer.code == 0
    assert all(word in answer.out for word in ("run", "report", "profile", "list", "data"))
    for command in (["run"], ["report"], ["profile"], ["list", "methods"], ["data", "verify"], ["data", "make-shapes"]):
        assert ask(*command, "--help").code == 0


def test_the_version_is_that_of_the_package(ask: Ask) -> None:
    assert ask("--version") == (0, f"barbench {metadata.version('barbench')}\n", "")


def test_help_answers_at_once_without_torch() -> None:
    code = (
        "import sys\nfrom barbench import cli\nsys.exit(any(m in sys.modules for m in ('torch', 'open_clip', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "barlera"], "unknown method 'barlera'. Did you mean barleria"),
        (["--methods", ","], "is empty"),
        (["--methods", "no.such.module:thing"], "cannot import no.such.module"),
        (["--split", "refcocco+"], "unknown dataset 'refcocco+'. Did you mean refcoco+"),
        (["--backbone", "ViT-B-61"], "unknown backbone 'ViT-B-61'. Did you mean ViT-B-16"),
        (["--backbone", "EVA02-E-14", "--weights", "random"], "which barbench does not support"),
        (["--backbone", "RN50", "--weights", "random", "--methods", "lora"], "LoRA cannot be used on RN50"),
        (["--backbone", "ViT-B-16"], "say which weights ViT-B-16 takes"),
        (["--image-size", "50"], "is not a multiple of its 8-pixel patches; use 48"),
        (["--recipe", "dmeo"], "unknown recipe 'dmeo'. Did you mean demo"),
        (["--recipe", "none.yaml"], "recipe none.yaml: no such file"),
        (["--set", "epoch=1"], "unknown recipe field 'epoch'. Did you mean epochs"),
        (["--set", "epochs=-1"], "epochs: Input should be greater than 0"),
        (["--set", "milestones=[1"], "the value is not YAML"),
        (["--seeds", "one"], "--seeds is a comma list of whole numbers"),
        (["--precision", "fp8"], "'fp8' is not one of 'fp32', 'bf16', 'fp16'"),
        (["--device", "cuda:77"], "--device cuda:77"),
        (["--option", "head-only"], "write it as METHOD:component.parameter=value"),
        (["--option", "head-only:depth=3"], "unknown option head-only.depth"),
        (["--option", "etris:bridge.dim=3"], "etris is not among the methods; they are head-only"),
        (["--processes", "0"], "--processes"),
        (["--colour", "red"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_run_is_answered_before_anything_is_made(
    arguments: list[str], says: str, ask: Ask, small_run: list[object], tmp_path: Path
) -> None:
    named = dict(zip(small_run[1::2], small_run[2::2], strict=True)) | dict(
        zip(arguments[::2], arguments[1::2], strict=True)
    )
    if arguments[0] == "--backbone" and "--weights" not in arguments:
        del named["--weights"]
    answer = ask("run", *[part for pair in named.items() for part in pair], "--results", tmp_path / "results")
    assert answer.code == 2
    assert says in " ".join(answer.err.split())
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "methods", "--backbone", "tny"], "unknown backbone 'tny'. Did you mean tiny"),
        (["list", "methods", "--format", "xml"], "--format"),
        (["list", "nothing"], "No such command"),
        (["profile", "--methods", "etriss"], "unknown method 'etriss'. Did you mean etris"),
        (["profile", "--device", "gpu"], "--device gpu"),
        (["report", "--results", "none"], "no records in none"),
        (
            ["data", "verify", "--split", "refcocog"],
            "unknown dataset 'refcocog'. Did you mean refcoco, refcocog-u",
        ),
        (["data", "make-shapes", "there", "--shortest", "200", "--longest", "100"], "--shortest 200 is more than"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_another_command(arguments: list[str], says: str, ask: Ask) -> None:
    answer = ask(*arguments)
    assert answer.code == 2
    assert says in " ".join(answer.err.split())


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_data_root_without_the_files(command: str, ask: Ask, tmp_path: Path) -> None:
    start = ["run", "--data"] if command == "run" else ["data", "verify"]
    answer = ask(*start, tmp_path, "--split", "refcoco+")
    assert answer.code == 2
    assert f"looked for {tmp_path}/refcoco+/refs(unc).p" in answer.err
    assert "images/train2014/COCO_train2014_*.jpg" in answer.err


def test_a_data_root_from_the_environment(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARBENCH_DATA", str(tmp_path / "nowhere"))
    answer = ask("run", "--split", "refcoco")
    assert answer.code == 2
    assert f"looked for {tmp_path}/nowhere/refcoco/refs(unc).p" in answer.err


def test_debug_shows_where_an_error_came_from(ask: Ask) -> None:
    with pytest.raises(Exception, match="unknown method"):
        ask("--debug", "run", "--methods", "barlera")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "reports/x"), RuntimeError("[/odd] thing")])
def test_what_nobody_foresaw_is_one_line_too(error: Exception, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("barbench.commands.lists.print_rows", fail)
    answer = ask("list", "splits")
    assert answer.code == 1
    assert answer.err.startswith("error: ")
    assert str(error.args[-1]) in answer.err
    assert "--debug" in answer.err or isinstance(error, OSError)
    with pytest.raises(type(error)):
        ask("--debug", "list", "splits")


def test_an_interruption_says_how_to_go_on(
    ask: Ask, small_run: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("barbench.benchmarks.execution.launch.run_jobs", interrupt)
    answer = ask(*small_run, "--results", tmp_path / "results")
    assert (answer.code, "run the same command to resume" in answer.err) == (130, True)


def test_cells_that_were_stopped_from_elsewhere(
    ask: Ask, small_run: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("barbench.benchmarks.execution.launch.run_jobs", lambda *_, **__: [])
    answer = ask(*small_run, "--results", tmp_path / "results")
    assert (answer.code, answer.err) == (130, "error: 1 cell stopped; run the same command to resume\n")


def test_folders_that_cannot_be_written(ask: Ask, small_run: list[object], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "deep"
    answer = ask(*small_run, "--results", blocked)
    assert (answer.code, f"cannot write to the results folder {blocked}" in answer.err) == (2, True)
    answer = ask("data", "make-shapes", blocked, "--train", 1, "--evaluate", 1)
    assert (answer.code, f"Not a directory: {blocked}" in answer.err) == (1, True)
    results = tmp_path / "results"
    Store(results).save(a_failure())
    answer = ask("report", "--results", results, "--out", blocked)
    assert (answer.code, f"Not a directory: {blocked}" in answer.err) == (1, True)


def test_report_options(ask: Ask, tmp_path: Path) -> None:
    Store(tmp_path / "results").save(a_failure())
    base = ["report", "--results", tmp_path / "results", "--out", tmp_path / "out"]
    for wrong, says in ((["--table", "9"], "'9'"), (["--format", "docx"], "'docx'")):
        answer = ask(*base, *wrong)
        assert (answer.code, says in answer.err) == (2, True)
    answer = ask(*base, "--table", "5", "--format", "md")
    assert (answer.code, answer.out.strip()) == (0, str(tmp_path / "out" / "table5.md"))
    answer = ask(*base, "--table", "2,3", "--format", "terminal")
    assert (answer.code, (tmp_path / "out" / "table2.md").exists()) == (0, False)
    assert all(row in answer.out for row in ("PolyFormer-B, corrected", "UNINEXT-L† (Yan et al., 2023)"))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["report"], 0),
        (["report", "--format", "terminal", "--table", "5"], 0),
        (["export", "--out", "table.csv"], 0),
        (["export", "--expressions"], 2),
        (["compare", "etris", "snf"], 2),
        (["panels", "--methods", "etris"], 2),
        (["predict", "photo.png", "a man", "--cell", "etris"], 2),
    ],
)
def test_what_only_reads_names_a_damaged_record_and_leaves_it(
    command: list[str], code: int, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.png", np.zeros((32, 32, 3), np.uint8))
    results = tmp_path / "results"
    path = Store(results).save(a_failure())
    damaged = path.with_name(path.name.replace("seed0", "seed1"))
    damaged.write_text("{")
    answer = ask(*command, "--results", results)
    assert answer.code == code, answer.out + answer.err
    assert f"{damaged.name} cannot be read" in answer.err
    assert sorted(file.name for file in results.iterdir()) == sorted([path.name, damaged.name])
    assert damaged.read_text() == "{"


def in_a_new_process(code: str) -> str:
    """What Python prints; the modules of this process are not loaded there."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "words",
    [
        *(["list", name] for name in ("methods", "backbones", "datasets", "recipes")),
        *(["show", "lora"], ["list", "methods", "--backbone", "ViT-B-16-quickgelu"]),
    ],
    ids=" ".join,
)
def test_what_there_is_to_choose_from_is_answered_without_torch(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['barbench', *{words!r}]\n"
        "from barbench.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'open_clip', 'timm', 'pandas'} & sys.modules.keys()"
    )
    assert in_a_new_process(code)


def test_list_methods_says_on_80_columns_what_each_method_is(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "stdout_console", lambda width: Console(width=80))
    lines = ask("list", "methods").out.splitlines()
    assert max(map(len, lines)) <= 80
    methods = [spec for spec in METHODS if spec.reference == spec.name]
    for spec in methods:
        [line] = [line for line in lines if line.startswith(f"{spec.name} ")]
        tuned, *sentence = line.split()[1:]
        assert int(tuned.replace(",", "")) >= 0
        assert sentence
    assert all(kind in lines for kind in {spec.kind for spec in methods})


@pytest.mark.parametrize("method", ["full", "cris", "head-only"])
def test_show_names_no_option_that_a_method_does_not_have(method: str, ask: Ask) -> None:
    [shown] = json.loads(ask("show", method, "--format", "json").out)
    assert {row["option"] for row in shown["options"]} == {"positional"}


def test_list_recipes_lists_the_fields_of_set(ask: Ask) -> None:
    rows = {row["field"]: row for row in json.loads(ask("list", "recipes", "--fields", "--format", "json").out)}
    assert rows["adapter_lr"]["meaning"] == "factor on lr for all parameters but the head's"
    assert "list recipes --fields" in " ".join(ask("run", "--help").out.split())


def test_list_backbones_invents_nothing(ask: Ask) -> None:
    rows = {r["name"]: r for r in json.loads(ask("list", "backbones", "--format", "json").out)}
    assert (rows["ViT-B-16"]["patch"], rows["ViT-B-16"]["blocks"], rows["ViT-B-16"]["widths"]) == (
        16,
        [12] * 2,
        [768, 512],
    )
    assert (rows["ViT-L-14"]["blocks"], rows["ViT-L-14"]["widths"]) == ([24, 12], [1024, 768])
    assert rows["tiny"]["image size"] == 64
    # timm's sizes are not in open_clip's configuration: tests/models/test_load.py compares them with the built towers.
    assert (rows["EVA02-B-16"]["blocks"], rows["EVA02-B-16"]["widths"]) == ([12, 12], [768, 512])
    assert (rows["tiny-eva"]["blocks"], rows["tiny-eva"]["widths"]) == ([6, 6], [96, 64])
    for row in rows.values():
        assert None not in (*row["blocks"], *row["widths"])


def test_list_methods_gives_components_and_ledger(ask: Ask) -> None:
    rows = {r["name"]: r for r in json.loads(ask("list", "methods", "--format", "json").out)}
    assert rows["barleria"]["components"] == ["SNF", "LIM", "GST"]
    for row in rows.values():
        assert row["ledger"].keys() == {"adapter", "positional", "head", "frozen"}
        assert all(isinstance(value, int) for value in row["ledger"].values())
    assert rows["head-only"]["ledger"]["adapter"] == 0
    assert rows["full"]["ledger"]["frozen"] == 0
    changed = json.loads(ask("list", "methods", "--format", "json", "--option", "etris:bridge.dim=8").out)
    narrow = next(r for r in changed if r["name"] == "etris")
    assert narrow["ledger"]["adapter"] < rows["etris"]["ledger"]["adapter"]


def test_list_methods_on_the_papers_backbone_needs_no_weights(ask: Ask) -> None:
    answer = ask("list", "methods", "--backbone", "ViT-B-16-quickgelu", "--format", "json")
    rows = {r["name"]: r["ledger"] for r in json.loads(answer.out)}
    assert rows["head-only"]["head"] == 22_671_361


def test_list_methods_counts_by_a_rule(ask: Ask) -> None:
    on = ("--backbone", "ViT-B-16-quickgelu")
    answer = ask("list", "methods", *on, "--count", "barleria", "--format", "json")
    rows = {r["name"]: r.get("tuned") for r in json.loads(answer.out)}
    assert rows["barleria"] == {"parameters": 2_205_920, "percent": 1.476}
    assert rows["etris"] == {"parameters": 1_387_648, "percent": 0.929}
    table = ask("list", "methods", "--count", "own+head", "--of", "total").out
    assert "own + head, % of total" in table
    for wrong, says in (
        (["--count", "cola", "--of", "vision"], "leave --of out"),
        (["--count", "owm"], "unknown group of --count 'owm'. Did you mean own?"),
        (["--of", "tower"], "unknown denominator of --of 'tower'. Did you mean"),
    ):
        refused = ask("list", "methods", *wrong)
        assert (refused.code, says in refused.err) == (2, True)


def test_show_prints_every_group_and_what_papers_would_print(ask: Ask) -> None:
    on = ("--backbone", "ViT-B-16-quickgelu")
    (shown,) = json.loads(ask("show", "barleria", *on, "--format", "json").out)
    assert shown["groups"]["own"] == 2_205_920
    assert sum(shown["groups"].values()) == 2_205_920 + 22_745_601 + 149_989_376
    percents = {row["rule"]: row["percent"] for row in shown["counted"]}
    assert (percents["barleria"], percents["cola"]) == (1.476, 14.263)
    text = ask("show", "barleria", *on, "--count", "cola").out
    assert "14.263" in text
    assert "1.476" not in text


def test_profile_measures_each_method(ask: Ask, backbone_folder: Path) -> None:
    answer = ask(
        "profile", "--methods", "head-only,full", "--backbone", backbone_folder, "--weights", "random",
        "--batch", 2, "--format", "json",
    )  # fmt: skip
    rows = json.loads(answer.out)
    assert [r["method"] for r in rows] == ["head-only", "full"]
    assert rows[0]["saved_mb"] < rows[1]["saved_mb"]
    assert all(r["peak_kind"] == "process RSS" and r["infer_images_per_s"] > 0 for r in rows)
    assert all(0 < r["share_of_machine"] < 1.5 and r["machine_gflop_per_s"] > 0 for r in rows)
    assert all(
        sum(part["gflop_forward"] for part in r["parts"].values()) == pytest.approx(r["gflop_forward"]) for r in rows
    )


def test_profile_by_part_in_half_precision(ask: Ask, backbone_folder: Path) -> None:
    answer = ask(
        "profile", "--methods", "etris", "--backbone", backbone_folder, "--weights", "random", "--batch", 2,
        "--precision", "bf16", "--by", "part", "--format", "csv",
    )  # fmt: skip
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert [r["part"] for r in rows] == ["vision", "text", "component", "neck", "decoder", "projector", "other"]
    assert all(float(r["forward_s"]) > 0 for r in rows)
    assert ask("profile", "--precision", "fp8").code == 2


def test_shapes_are_made_and_verified(ask: Ask, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    made = ask("data", "make-shapes", root, "--train", 12, "--evaluate", 4, "--shortest", 64, "--longest", 80)
    assert (made.code, "24 pictures" in made.out) == (0, True)
    answer = ask("data", "verify", root, "--format", "json")
    rows = json.loads(answer.out)
    assert [r["split"] for r in rows][:4] == ["refcoco train", "refcoco val", "refcoco testA", "refcoco testB"]
    assert (answer.code, "24 images opened; the data are sound" in answer.err) == (0, True)
    again = ask("data", "make-shapes", root)
    assert (again.code, "is not empty; name a new folder" in again.err) == (2, True)
    picture = next((root / "images/train2014").glob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:500])
    broken = ask("data", "verify", root)
    assert (broken.code, picture.name in broken.err, "not sound" in broken.err) == (1, True, True)


def test_the_audit_counts_shared_images_and_names_the_leaks(ask: Ask, tmp_path: Path) -> None:
    root = write_overlapping(tmp_path / "data")
    answer = ask("data", "audit", "--data", root, "--format", "json")
    rows = {row.pop("trained on"): row for row in json.loads(answer.out)}
    assert list(rows)[1:] == ["refcoco", "refcoco+", "refcocog-u", "refcocog-g", "mixed", "mixed-leaked"]
    assert rows["mixed-leaked"]["refcoco"] == {"val": 1, "testA": 0, "testB": 0}
    assert rows["refcoco"]["refcocog-u"] == {"val": 1, "test": 0}
    assert (rows["mixed"]["references"], rows["mixed"]["images"]) == (8, 3)
    assert answer.err.splitlines() == [
        "leak: refcocog-g trains on 1 of the 2 images of G-Ref val(g)",
        "leak: mixed-leaked trains on 1 of the 1 images of RefCOCO val",
        "leak: mixed-leaked trains on 1 of the 1 images of RefCOCO+ val",
        "leak: mixed-leaked trains on 1 of the 1 images of G-Ref val(u)",
    ]
    lines = list(csv.DictReader(io.StringIO(ask("data", "audit", "--data", root, "--format", "csv").out)))
    assert [line["refcocog-g.val"] for line in lines] == ["2", "0", "0", "2", "1", "0", "2"]
    (root / "refcocog/refs(google).p").unlink()
    partly = ask("data", "audit", "--data", root)
    assert partly.code == 0
    assert "not there: refcocog-g" in partly.err
    assert "mixed-leaked" in partly.out  # but not `mixed`, which needs it


def test_a_plan_is_printed_and_nothing_runs(ask: Ask, tmp_path: Path, shapes_root: Path, backbone_folder: Path) -> None:
    given = ["--data", shapes_root, "--backbone", backbone_folder, "--weights", "random", "--results", tmp_path / "r"]
    answer = ask("run", "--table", "2,3", "--methods", "head-only", "--plan", *given)
    assert answer.code == 0
    assert "4 cells: 0 done, 4 to run; time and memory unknown: " in answer.out
    assert answer.out.count("to run") == 4 + 1
    assert not (tmp_path / "r").exists()
    wrong = ask("run", "--table", "3", "--split", "refcocog-g", "--plan", *given)
    assert (wrong.code, "table 3 has refcoco, refcoco+, refcocog-u, mixed" in wrong.err) == (2, True)


def test_verify_names_a_corrupt_index(ask: Ask, tmp_path: Path) -> None:
    ask("data", "make-shapes", tmp_path / "d", "--train", 6, "--evaluate", 2, "--shortest", 64, "--longest", 64)
    file = tmp_path / "d" / "refcoco" / "refs(unc).p"
    file.write_bytes(file.read_bytes()[:100])
    answer = ask("data", "verify", tmp_path / "d", "--split", "refcoco")
    assert (answer.code, str(file) in answer.err) == (1, True)


@pytest.fixture(scope="module")
def truncated_root(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the shapes folder in which one picture of the training split is cut."""
    root = tmp_path_factory.mktemp("cut") / "data"
    subprocess.run(["cp", "-r", str(shapes_root), str(root)], check=True)
    picture = sorted((root / "images/train2014").glob("*.jpg"))[2]
    picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    return root, picture.name


def test_a_truncated_image_fails_its_cell_by_name(
    truncated_root: tuple[Path, str], ask: Ask, small_run: list[object], tmp_path: Path
) -> None:
    root, name = truncated_root
    arguments = [root if a == small_run[small_run.index("--data") + 1] else a for a in small_run]
    answer = ask(*arguments, "--results", tmp_path / "results", "--reports", tmp_path / "reports")
    assert answer.code == 1
    (record,) = Store(tmp_path / "results").all()
    assert record.status == "failed"
    assert name in str(record.reason)
    assert "truncated" in str(record.reason)
    assert name in answer.out
    assert list((tmp_path / "reports").iterdir())


def test_a_run_ends_with_tables_and_a_second_one_changes_nothing(
    ask: Ask, small_run: list[object], tmp_path: Path
) -> None:
    places = ["--results", tmp_path / "results", "--reports", tmp_path / "reports"]
    first = ask(*small_run, *places)
    assert first.code == 0, first.out + first.err
    assert "Head only" in first.out
    assert "1 cell to run" in first.out
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p.suffix for p in (tmp_path / "reports").iterdir()} == {".md", ".tex", ".html"}
    second = ask(*small_run, *places)
    assert second.code == 0
    assert "0 cells to run; 1 finished before, skipped" in second.out
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files
    record = next(p for p in (tmp_path / "results").glob("*.json"))
    record.write_text(record.read_text()[:200])
    third = ask(*small_run, *places)
    assert third.code == 0
    assert f"{record.name} cannot be used" in third.out
    assert record.with_name(f"{record.name}.corrupt-1").exists()
    assert record.exists()


def test_the_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "barbench.cli", "list", "splits", "--format", "csv"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("name,title,trains on,evaluated")
    wrong = subprocess.run([*command[:-1], "pdf"], cwd=REPOSITORY, capture_output=True, text=True)
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)


def test_compare_prints_rows_and_notes(ask: Ask, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    put_cell(store, "barleria", better=0.3)
    put_cell(store, "etris")
    arguments = ["compare", "barleria", "etris", "--split", "refcoco+", "--results", store.folder, "--resamples", 500]
    rows = json.loads(ask(*arguments, "--format", "json").out)
    assert [(r["split"], r["metric"]) for r in rows][:2] == [("val", "mIoU"), ("val", "oIoU")]
    assert rows[0]["low"] < rows[0]["difference"] == pytest.approx(rows[0]["first"] - rows[0]["second"])
    table = ask(*arguments)
    assert all(text in table.out for text in ("BarLeRIa minus ETRIS", "95 % interval", "BarLeRIa is higher"))
    assert "note: 95 % interval: paired bootstrap over images (500 resamples)" in table.err
    wrong = ask(*arguments, "--recipe", "paper")
    assert (wrong.code, "no finished cell of 'barleria'" in wrong.err) == (2, True)


def test_export_writes_tables(ask: Ask, tmp_path: Path) -> None:
    put_cell(Store(tmp_path / "results"), "etris")
    answer = ask("export", "--results", tmp_path / "results", "--out", tmp_path / "all.csv")
    assert (answer.code, answer.out.strip()) == (0, f"2 rows in {tmp_path / 'all.csv'}")
    assert ask("export", "--results", tmp_path / "results", "--expressions", "--format", "parquet").code == 0
    assert Path("expressions.parquet").is_file()
    for arguments, says in ((["--format", "xlsx"], "unknown format 'xlsx'"), (["--results", "none"], "no records in")):
        wrong = ask("export", "--results", tmp_path / "results", *arguments)
        assert (wrong.code, says in wrong.err) == (2, True)


def test_show_prints_options_and_parts(ask: Ask) -> None:
    (shown,) = json.loads(ask("show", "lora", "--option", "lora:lora.rank=2", "--format", "json").out)
    options = {row["option"]: row["value"] for row in shown["options"]}
    assert (options["lora.rank"], options["lora.roles"], options["positional"]) == (2, "q+v", "frozen")
    assert shown["parts"][0]["part"] == "LoRA"
    assert shown["what"].startswith("Low-rank")
    for words in (["show", "pfeiffer"], ["show", "snf+lora"]):
        assert "options" in ask(*words).out
    assert "width" in ask("show", "pfeiffer").out
    assert "one method" in ask("show", "all").err
