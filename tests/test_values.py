"""Values that a file has in another type than expected: read where it is clear what is meant, else refused by name."""

import json
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from barbench.datasets.importers.instances import Instances
from barbench.datasets.importers.mask_folder import coco_category
from barbench.errors import DataError, UsageError
from barbench.spec.backbone import backbone_config
from barbench.spec.cluster import Cluster
from barbench.spec.dataset import resolve_dataset
from barbench.spec.recipe import load_recipe, parse_recipe
from barbench.values import flatten, number, read_key, read_yaml, whole, write_yaml
from tests.models.small import HEAD, config, write_folder

RECIPE: dict[str, Any] = {"epochs": 3, "batch": 4, "lr": 1e-3}


@pytest.mark.parametrize("value", ["1.5", True, None, float("nan"), 1.5, [1], "x", "9" * 30, 2**63])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        whole(value)


def test_whole_numbers_and_numbers_in_other_types() -> None:
    assert [whole(v) for v in (3, "3", 3.0, "3.0", "3.", " 3 ", "+3")] == [3] * 7
    assert [whole(v) for v in ("-1", -1.0, "-1.0")] == [-1, -1, -1]
    assert [number(v) for v in (3, "3.5", 3.25)] == [3.0, 3.5, 3.25]
    for value in (True, "x", None, float("inf"), [1]):
        with pytest.raises(ValueError, match="is not a number"):
            number(value)


def test_yaml_has_each_key_once_and_reads_exponents() -> None:
    assert read_yaml("lr: 1e-4\nrates: {snf: {lr: 2E-05}}\nname: 1e") == {
        "lr": 1e-4, "rates": {"snf": {"lr": 2e-5}}, "name": "1e",
    }  # fmt: skip
    with pytest.raises(ValueError, match="duplicate key 'lr'"):
        read_yaml("rates:\n  snf: {lr: 1, lr: 2}")
    with pytest.raises(ValueError, match="not YAML"):
        read_yaml("[1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("05", 5), ("010", 10), ("020", 20), ("-010", -10), ("0x10", 16), ("0o10", 8), ("010.5", 10.5), (".5", 0.5),
        ("-.inf", float("-inf")), ("1E5", 1e5), ("1:30", "1:30"), ("1:30.5", "1:30.5"), ("0b11", "0b11"),
        ("2026-11-28", "2026-11-28"), ("2026-11-28 10:00:00", "2026-11-28 10:00:00"),
    ],
)  # fmt: skip
def test_yaml_has_the_numbers_of_yaml_1_2(text: str, value: Any) -> None:
    """As `seq -w` and people write them; YAML 1.1 reads octal numbers, numbers to the base of 60, and dates."""
    read = read_yaml(f"[{text}]")
    assert read == [value]
    assert type(read[0]) is type(value)


@pytest.mark.parametrize("value", ["1e-4", "010", "089", "0o10", "1:30", "2026-11-28", "yes", "", 1e-5, 10, True, None])
def test_yaml_that_is_written_is_read_as_the_same_values(value: Any) -> None:
    """YAML 1.1 needs no quotes for 1e-4 and 089, which are numbers to this reader."""
    read = read_yaml(write_yaml({"field": value}))["field"]
    assert read == value
    assert type(read) is type(value)


def test_a_recipe_takes_no_flag_for_a_number(tmp_path: Path) -> None:
    assert parse_recipe("r", RECIPE | {"epochs": "3", "batch": 4.0}).batch == 4
    with pytest.raises(UsageError, match="batch: expected a number or a name, got true"):
        parse_recipe("r", RECIPE | {"batch": True})
    with pytest.raises(UsageError, match="warmup: expected a number or a name, got false"):
        parse_recipe("r", RECIPE | read_yaml("warmup: off"))
    with pytest.raises(UsageError, match="lr: expected a number or a name, got true"):
        parse_recipe("r", RECIPE | {"rates": {"snf": {"lr": True}}})
    (tmp_path / "r.yaml").write_text("epochs: 1\nbatch: 2\nlr: 1e-4\nlr: 1e-3\n")
    with pytest.raises(UsageError, match="duplicate key 'lr'"):
        load_recipe(str(tmp_path / "r.yaml"))


def test_a_cluster_file_has_each_key_once(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("cpus: 4\ncpus: 8\n")
    with pytest.raises(UsageError, match="duplicate key 'cpus'"):
        Cluster.read(str(tmp_path / "c.yaml"))


def test_a_data_set_of_ones_own_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine/protocol.yaml"
    for content, says in (
        ("splits: val", "splits: Input should be a valid list, not 'val'"),
        ("splits: [1]", "splits.0: Input should be a valid string, not 1"),
        ("splits: [val]\ncontext_length: true", "context_length: Input should be greater than or equal to 3, not True"),
        ("splits: [val]\nsplits: [test]", "duplicate key 'splits'"),
        ("splits: [val]\nrefs: ../x.p", "refs: '../x.p' is not the name of a file"),
        ("- 1", "Input should be a valid dictionary"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=r"protocol\.yaml") as caught:
            resolve_dataset("mine", tmp_path)
        assert says in str(caught.value)
    file.write_text("splits: [val]\ncontext_length: '20'")
    assert resolve_dataset("mine", tmp_path).context_length == 20


INSTANCES: dict[str, Any] = {
    "images": [{"id": "7", "file_name": "a.jpg", "width": "40", "height": 30.0}],
    "annotations": [{"id": "3", "image_id": 7.0, "bbox": ["1", 2, 3, 4], "segmentation": [[1, 2, 3, 4, 5, 6]]}],
    "categories": [{"id": "1", "name": "thing"}],
}


def test_cocos_annotations_are_read_in_any_type(tmp_path: Path) -> None:
    (tmp_path / "i.json").write_text(json.dumps(INSTANCES))
    read = Instances(tmp_path / "i.json")
    assert read.at("a.jpg", [1, 2, 3, 4]) == read.get(3)
    assert (read.get(3)["image_id"], read.categories) == (7, {1: "thing"})


@pytest.mark.parametrize(
    ("kind", "key", "value", "says"),
    [
        ("images", "width", "wide", "entry 0 of its images: 'width': 'wide' is not a whole number"),
        ("images", "height", None, "entry 0 of its images: it lacks the key 'height'"),
        ("annotations", "image_id", True, "entry 0 of its annotations: 'image_id': True is not a whole number"),
        ("annotations", "bbox", [1, 2], "entry 0 of its annotations: 'bbox' has 2 numbers"),
        ("annotations", "bbox", ["a", 1, 1, 1], "entry 0 of its annotations: 'a' is not a number"),
        ("annotations", "segmentation", None, "entry 0 of its annotations: it lacks the key 'segmentation'"),
        ("categories", "name", 5, "entry 0 of its categories: 'name': 5 is not text"),
    ],
)
def test_entry_and_key_of_a_bad_value_are_named(tmp_path: Path, kind: str, key: str, value: Any, says: str) -> None:
    entry = {k: v for k, v in INSTANCES[kind][0].items() if k != key} | ({} if value is None else {key: value})
    (tmp_path / "i.json").write_text(json.dumps(INSTANCES | {kind: [entry]}))
    with pytest.raises(DataError, match="instances file") as caught:
        Instances(tmp_path / "i.json")
    assert says in str(caught.value)


def test_a_category_as_text_is_not_silently_none() -> None:
    assert [coco_category(c) for c in (0, "0", 79, None)] == [1, 1, 90, 0]
    for bad in (80, -1, "person", True):
        with pytest.raises(ValueError, match=r"whole number|categories"):
            coco_category(bad)


def test_a_backbones_sizes_are_whole_numbers_in_its_files(tmp_path: Path) -> None:
    folder, model = write_folder(tmp_path), config("gelu")
    file, head = folder / "open_clip_config.json", folder / "barbench.json"
    model["vision_cfg"]["image_size"] = "48"
    file.write_text(json.dumps({"model_cfg": model}))
    head.write_text(json.dumps(HEAD | {"width": "32", "dropout": "0.1"}))
    read = backbone_config(str(folder))
    assert (read.image_size(None), read.head.width, read.head.dropout) == (48, 32, 0.1)
    for content, says in (
        ({"width": "wide"}, "'width': 'wide' is not a whole number"),
        ({"dropout": True}, "'dropout': True is not a number"),
        ({"layers": 0}, "sizes are from 1 on"),
        ({"neck": "giraffe"}, "neck is etris, detris, cris or none"),
    ):
        head.write_text(json.dumps(HEAD | content))
        with pytest.raises(DataError, match=r"barbench\.json") as caught:
            backbone_config(str(folder))
        assert says in str(caught.value)
    head.unlink()
    for change, says in (
        ({"embed_dim": "many"}, "'embed_dim': 'many' is not a whole number"),
        ({"vision_cfg": {**model["vision_cfg"], "patch_size": [8]}}, ""),
        ({"text_cfg": {**model["text_cfg"], "heads": True}}, "'heads': True is not a whole number"),
        ({"vision_cfg": 3}, "is not open_clip's configuration"),
    ):
        file.write_text(json.dumps({"model_cfg": model | change}))
        if says:
            with pytest.raises(DataError, match=r"open_clip_config\.json") as caught:
                backbone_config(str(folder))
            assert says in str(caught.value)
    file.write_text(json.dumps({"model_cfg": {k: v for k, v in model.items() if k != "text_cfg"}}))
    with pytest.raises(DataError, match="lacks the key 'text_cfg'"):
        backbone_config(str(folder))


def test_an_absent_key_stands_for_what_it_is_told() -> None:
    assert read_key({}, "n", whole, absent=7) == 7
    assert read_key({"n": "3"}, "n", whole, absent=7) == 3
    with pytest.raises(ValueError, match="'n': 'x' is not a whole number"):
        read_key({"n": "x"}, "n", whole, absent=7)
    with pytest.raises(ValueError, match="it lacks the key 'n'"):
        read_key({}, "n", whole)


def test_keys_are_joined_and_the_order_stays() -> None:
    nested = {"z": 1, "a": {"c": [{"kept": 1}], "b": OrderedDict(d=None)}, "e": MappingProxyType({"f": ""})}
    assert list(flatten(nested).items()) == [("z", 1), ("a.c", [{"kept": 1}]), ("a.b.d", None), ("e.f", "")]


def test_an_empty_mapping_leaves_nothing() -> None:
    assert flatten({"a": {}, "b": {"c": {}}}) == {}
    assert flatten({"a": 0}, "x.") == {"x.a": 0}
