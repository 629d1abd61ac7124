"""The matrix of cells: which, in which order, and what makes two of them the same."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from barbench.benchmarks.execution.host.devices import pick_device
from barbench.benchmarks.job import Job
from barbench.benchmarks.matrix import cells, choose_datasets, identify_weights, select
from barbench.errors import UnknownName, UsageError
from barbench.methods.catalog import MethodSpec
from barbench.methods.resolve import resolve
from barbench.methods.suites import SUITES
from barbench.paper.tables import embedded_for
from barbench.spec.backbone import HeadChoice
from barbench.spec.recipe import Recipe, load_recipe, parse_recipe
from barbench.spec.run import Place, Run, parse_seeds
from barbench.spec.text import method_options
from tests.benchmarks.small_matrix import small_cells

FORMER = Path(__file__).parent / "former" / "demo.yaml"
"""The recipe of the embedded benchmark at 055a6ed."""
IDS = json.loads((Path(__file__).parent / "cell_ids.json").read_text())
RECIPE = parse_recipe("test", {"epochs": 1, "batch": 8, "lr": 1e-3})


def jobs(
    root: Path,
    backbone: Path,
    methods: str | list[MethodSpec] = "head-only,etris",
    datasets: tuple[str, ...] = ("refcoco", "refcocog-u"),
    seeds: tuple[int, ...] = (0, 1),
    recipe: Recipe = RECIPE,
    **changes: Any,
) -> list[Job]:
    return small_cells(root, backbone, recipe, Path("out"), methods, datasets, seeds=seeds, **changes)


def test_every_combination_once_and_in_order(shapes_root: Path, backbone_folder: Path) -> None:
    made = jobs(shapes_root, backbone_folder)
    assert [(j.cell.dataset, j.cell.seed, j.cell.method) for j in made] == [
        (protocol, seed, method)
        for protocol in ("refcoco", "refcocog-u")
        for seed in (0, 1)
        for method in ("head-only", "etris")
    ]
    assert len({j.cell.id() for j in made}) == 8
    assert len({j.cell.stem() for j in made}) == 8
    assert {j.cell.image_size for j in made} == {48}
    assert {j.cell.data.kind for j in made} == {"shapes"}
    assert [j.cell.id() for j in jobs(shapes_root, backbone_folder)] == [j.cell.id() for j in made]


def test_sizes_in_proportion_are_options_of_the_cell(shapes_root: Path, backbone_folder: Path) -> None:
    published = jobs(shapes_root, backbone_folder, "snf,ssf", seeds=(0,))
    options = {"snf": {"snf.flow": "hadamard"}}
    scaled = jobs(shapes_root, backbone_folder, "snf,ssf", seeds=(0,), options=options, proportion="width")
    assert [job.cell.options for job in published[:2]] == [{}, {}]
    assert [job.cell.options for job in scaled[:2]] == [{"snf.flow": "hadamard", "snf.length": 1}, {}]
    assert scaled[1].cell.id() == published[1].cell.id()  # of SSF nothing shrinks


def heads(**run: Any) -> list[tuple[str, str | None, str | None]]:
    """Method, neck and form of the cells of a run on shapes."""
    asked = Run.of({"data": "shapes", "methods": "head-only,snf", "changes": ("head=random",), **run})
    made = cells(asked, Place.of({"device": "cpu"}))
    assert len({job.cell.id() for job in made}) == len(made)
    return [(job.cell.method, job.cell.neck, job.cell.head_form) for job in made]


def test_each_neck_has_cells_of_its_own_and_the_backbones_own_is_none() -> None:
    own = [("head-only", None, None), ("snf", None, None)]
    assert heads() == heads(necks="etris") == heads(necks="etris,etris", head_form="full") == own
    assert heads(necks="none,etris") == [("head-only", "none", None), ("snf", "none", None), *own]
    assert heads(head_form="linear") == [("head-only", "none", "linear"), ("snf", "none", "linear")]
    assert heads(head_form="linear") == heads(head_form="linear", necks="none")


def test_a_method_with_a_neck_of_its_own_keeps_it() -> None:
    assert heads(methods="cris") == heads(methods="cris", necks="cris") == [("cris", None, None)]
    with pytest.raises(UsageError, match="cris is bound to a full head with the neck cris, not --neck none"):
        heads(methods="head-only,cris", necks="none")


def test_a_suite_may_ask_on_several_backbones_and_necks() -> None:
    """On shapes the embedded ones stand for them; what the user names replaces either."""
    asked = {"suite": "budget-b4", "data": "shapes"}
    one = select(Run.of({**asked, "backbones": "tiny"}))
    assert [(part.backbones, [head.neck for head in part.heads]) for part in one] == [(["tiny"], ["etris", "none"])]
    several = select(Run.of({**asked, "backbones": "tiny,tiny-l", "necks": "cris"}))
    assert [(part.backbones, part.heads) for part in several] == [
        (["tiny"], (HeadChoice("cris"),)),
        (["tiny-l"], (HeadChoice("cris"),)),
    ]
    linear = select(Run.of({**asked, "backbones": "tiny", "head_form": "linear"}))
    assert [part.heads for part in linear] == [(HeadChoice(form="linear"),)]
    assert embedded_for(SUITES.get("budget-b4").backbones[1]) == "tiny-dino"
    made = cells(Run.of({**asked, "backbones": "tiny"}), Place.of({"device": "cpu"}))
    assert len({job.cell.id() for job in made}) == len(made) == 22
    assert {job.cell.neck for job in made} == {None, "none"}


def test_a_suite_names_the_recipe_for_its_necks_on_shapes() -> None:
    """Without further options; a recipe that is asked for replaces it."""
    asked = {"suite": "budget-b4", "data": "shapes", "backbones": "tiny,tiny-dino"}
    parts = select(Run.of(asked))
    assert [part.recipe.name for part in parts] == ["demo-random-head"] * 2
    assert {part.recipe.head for part in parts} == {"random"}
    with pytest.raises(UsageError, match="ships with tiny, a full one with the neck etris"):
        select(Run.of({**asked, "recipe": "demo"}))
    (ablations,) = select(Run.of({"suite": "ablations", "data": "shapes"}))
    assert ablations.recipe.name == "demo"


def test_a_shipped_head_fits_its_own_neck_only() -> None:
    with pytest.raises(UsageError, match="ships with tiny, a full one with the neck etris: it does not fit"):
        heads(changes=(), necks="none")
    with pytest.raises(UsageError, match=r"--head linear; start every head at random with --set head=random"):
        heads(changes=(), head_form="linear")
    assert heads(changes=(), necks="etris") == heads()


def test_unknown_necks_are_named() -> None:
    with pytest.raises(UnknownName, match=r"neck 'eris'.*etris"):
        heads(necks="eris")
    with pytest.raises(UsageError, match="no neck was named"):
        heads(necks=" ,")
    with pytest.raises(UsageError, match="--neck cris: a linear head"):
        heads(necks="cris", head_form="linear")


@pytest.mark.parametrize("name", IDS)
def test_cells_keep_the_ids_of_their_records(name: str) -> None:
    """Stems of record files, id included, as barbench made them at 055a6ed, with the recipe and the sizes of then: a
    finished cell is never run again."""
    then = {"data": "shapes", "proportion": "published", "recipe": str(FORMER)}
    run = Run.of({**then, **IDS[name]["run"]})
    place = Place.of({"device": "cpu", **IDS[name]["place"]})
    assert sorted(job.cell.stem() for job in cells(run, place)) == sorted(IDS[name]["stems"])


def test_where_and_on_what_a_cell_runs_is_not_its_identity(
    shapes_root: Path, backbone_folder: Path, tmp_path: Path
) -> None:
    here = jobs(shapes_root, backbone_folder)
    there = jobs(
        shapes_root,
        backbone_folder,
        place={"results": tmp_path, "device": "cuda", "threads": 8, "workers": 4, "checkpoint_seconds": 5.0},
    )
    assert [j.cell.id() for j in here] == [j.cell.id() for j in there]
    copy = tmp_path / "elsewhere"
    shutil.copytree(shapes_root, copy)
    assert [j.cell.id() for j in jobs(copy, backbone_folder)] == [j.cell.id() for j in here]


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"image_size": 64},
        {"recipe": RECIPE.model_copy(update={"threshold": 0.4})},
        {"options": {"etris": {"bridge.dim": 16}, "head-only": {"positional": "train"}}},
        {"place": {"processes": 2}},
    ],
    ids=["precision", "image size", "recipe", "options", "processes"],
)
def test_what_can_change_a_result_changes_the_identity(
    change: dict[str, Any], shapes_root: Path, backbone_folder: Path
) -> None:
    before, after = jobs(shapes_root, backbone_folder), jobs(shapes_root, backbone_folder, **change)
    assert not {j.cell.id() for j in before} & {j.cell.id() for j in after}


def test_changed_words_change_the_identity(shapes_root: Path, backbone_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shapes_root, copy)
    instances = copy / "refcoco/instances.json"
    instances.write_text(instances.read_text() + " ")
    before, after = (jobs(root, backbone_folder, datasets=("refcoco", "refcoco+")) for root in (shapes_root, copy))
    same = [a.cell.id() == b.cell.id() for a, b in zip(before, after, strict=True)]
    assert same == [False] * 4 + [True] * 4


def test_rows_of_a_suite_have_their_methods_own_rates(shapes_root: Path, backbone_folder: Path) -> None:
    """An ablation that trained at another rate than what it is compared with would measure the rate."""
    demo = load_recipe("demo", ["head=random"])
    made = jobs(
        shapes_root,
        backbone_folder,
        methods=SUITES.get("ablations").methods(),
        datasets=("refcoco+",),
        recipe=demo,
        seeds=(0,),
    )
    rates = {(job.cell.method, job.cell.recipe["adapter_lr"]) for job in made}
    assert rates == {(method, demo.rates[method].adapter_lr) for method in ("barleria", "no-global")}
    assert len(made) == 11


def test_a_job_survives_its_way_to_the_worker(shapes_root: Path, backbone_folder: Path) -> None:
    for job in jobs(shapes_root, backbone_folder, options={"etris": {"bridge.dim": 16}}):
        again = Job.model_validate_json(job.model_dump_json())
        assert again == job
        assert again.cell.id() == job.cell.id()
    assert job.composition == ("Bridge",)
    assert job.checkpoint.parent == job.tuned.parent == Path("out") / "cells" / job.cell.stem()


@pytest.mark.parametrize("option", ["bridge.wide", "bride.dim", "bridge.dim.deep"])
def test_options_that_a_method_has_not_fail_before_anything_runs(
    option: str, shapes_root: Path, backbone_folder: Path
) -> None:
    with pytest.raises(UsageError, match="option"):
        jobs(shapes_root, backbone_folder, options={"etris": {option: 3}})


def test_weights_that_are_a_file_are_known_by_content(tmp_path: Path, backbone_folder: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "deep" / "a.safetensors"
    second.parent.mkdir()
    for file in (first, second):
        file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    # A folder's backbone takes any file, but is named by what was asked for, never by the machine's paths.
    assert identify_weights("ViT-B-16", str(first)) == (f"a.safetensors@{digest}", str(first))
    assert identify_weights("ViT-B-16", str(second))[0] == f"a.safetensors@{digest}"
    first.write_bytes(b"other")
    assert identify_weights("ViT-B-16", str(first))[0] != f"a.safetensors@{digest}"
    assert identify_weights(str(backbone_folder), "random") == ("random", None)
    name, path = identify_weights(str(backbone_folder), str(second))
    assert (name, path) == (f"a.safetensors@{digest}", str(second))


def test_weights_that_nobody_named() -> None:
    name, path = identify_weights("tiny", None)
    assert name.startswith("pretrained@")
    assert path is not None
    assert Path(path).is_file()
    assert identify_weights("ViT-B-16-quickgelu", None) == ("openai", None)
    with pytest.raises(UsageError, match=r"say which weights ViT-B-16 takes"):
        identify_weights("ViT-B-16", None)


def test_protocols_by_name() -> None:
    assert [p.name for p in choose_datasets(["all"])] == ["refcoco", "refcoco+", "refcocog-u", "refcocog-g"]
    assert [p.name for p in choose_datasets(["refcocog-g", "refcoco", "refcoco"])] == ["refcocog-g", "refcoco"]
    with pytest.raises(UnknownName, match=r"unknown dataset 'refcocco'. Did you mean refcoco"):
        choose_datasets(["refcocco"])
    with pytest.raises(UsageError, match="no dataset was named"):
        choose_datasets([])


def test_seeds_and_options_as_text() -> None:
    assert parse_seeds("3, 1,3") == (3, 1)
    for text in ("a", "", ",", "1.5", "-1"):
        with pytest.raises(UsageError, match="--seeds"):
            parse_seeds(text)
    methods = resolve("etris,snf")
    assert method_options(["etris:bridge.dim=64", "all:positional=train"], methods) == {
        "etris": {"bridge.dim": 64, "positional": "train"},
        "snf": {"positional": "train"},
    }
    own = replace(methods[0], name="own", reference="m.y:own", build=lambda start=1.0: ())
    assert method_options(["m.y:own:start=0.5"], [own]) == method_options(["own:start=0.5"], [own])
    assert method_options(["own:start=0.5"], [own]) == {"own": {"start": 0.5}}
    with pytest.raises(UsageError, match="barleria is not among the methods; they are etris, snf"):
        method_options(["barleria:gst.prior=false"], methods)
    for text in ("etris", "etris:bridge.dim", "bridge.dim=3", ":a=1", "etris:=1", "etris:bridge.dim=[1"):
        with pytest.raises(UsageError, match="--option"):
            method_options([text], methods)


def test_a_device_that_is_not_there() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") in ("cpu", "cuda", "mps")
    for name in ("cuda:99", "gpu"):
        with pytest.raises(UsageError, match=f"--device {name}"):
            pick_device(name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("snff", "unknown method in the recipe's rates 'snff'. Did you mean snf"),
        ("Barleria", "unknown method in the recipe's rates 'Barleria'. Did you mean barleria"),
        ("snf+lorra", r"unknown method in the recipe's rates 'snf\+lorra'"),
        ("own", "unknown method in the recipe's rates 'own'"),
    ],
)
def test_a_mistyped_method_in_the_rates_of_a_recipe(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"epochs: 1\nbatch: 4\nlr: 1e-4\nrates:\n  {name}: {{lr: 1e-2}}\n")
    with pytest.raises(UnknownName, match=says):
        select(Run(methods=("snf",), recipe=str(tmp_path / "mine.yaml")))


@pytest.mark.parametrize("name", ["barleria", "snf+lora", "my.package:own", "snf+my.package:own"])
def test_methods_that_rates_may_name(name: str, tmp_path: Path) -> None:
    """Also those that are not in this run."""
    (tmp_path / "mine.yaml").write_text(f"epochs: 1\nbatch: 4\nlr: 1e-4\nrates:\n  {name}: {{lr: 1e-2}}\n")
    [part] = select(Run(methods=("snf",), recipe=str(tmp_path / "mine.yaml")))
    assert set(part.recipe.rates) == {name}
