"""Which data a run gets, and that the cache never holds half a folder."""

import os
import tempfile
from pathlib import Path

import pytest

from barbench.datasets import sources
from barbench.datasets.refer import read_refer
from barbench.datasets.shapes import ShapesSpec
from barbench.datasets.sources import DataSource, cache_folder, find_source, folder_source, shapes_source
from barbench.errors import MissingData
from barbench.paper.partitions import PAPER_PARTITIONS
from barbench.spec.dataset import DATASETS

REFCOCO = DATASETS.get("refcoco")
SPEC = ShapesSpec(train=4, val=3, testA=2, testB=2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BARBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BARBENCH_DATA", raising=False)
    return tmp_path / "cache"


def test_a_folder_wins_over_the_environment_and_that_over_shapes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "shapes_source", lambda spec, progress: DataSource("shapes", Path("made"), "0"))
    assert find_source(None, REFCOCO).root == Path("made")
    monkeypatch.setenv("BARBENCH_DATA", "/nowhere")
    with pytest.raises(MissingData, match="/nowhere/refcoco"):
        find_source(None, REFCOCO)
    assert find_source(str(root), REFCOCO) == folder_source(root, REFCOCO)
    assert find_source("shapes", REFCOCO).kind == "shapes"


def test_a_folders_fingerprint_follows_its_contents(root: Path) -> None:
    first = folder_source(root, REFCOCO)
    assert first.kind == "refer"
    assert first == folder_source(root, REFCOCO)
    path = root / "refcoco/instances.json"
    path.write_text(path.read_text() + " ")
    assert folder_source(root, REFCOCO).fingerprint != first.fingerprint


def test_shapes_are_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shapes_source(SPEC)
    assert source == DataSource("shapes", cache / f"shapes-{SPEC.fingerprint()}", SPEC.fingerprint())
    assert list(cache.iterdir()) == [source.root]
    monkeypatch.setattr(sources, "make_shapes", lambda *a: pytest.fail("made again"))
    assert shapes_source(SPEC) == source
    for partition in PAPER_PARTITIONS:
        data = read_refer(source.root, partition)
        assert data.split("train").references
        assert not data.problems.counts()


def test_a_folder_of_shapes_is_never_taken_for_real_data() -> None:
    assert folder_source(shapes_source(SPEC).root, REFCOCO).kind == "shapes"


def test_an_interrupted_making_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(root: Path, *_: object) -> None:
        (root / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "make_shapes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shapes_source(SPEC)
    assert list(cache.iterdir()) == []


def test_a_process_that_was_slower_uses_the_other_copy(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(root: Path, spec: ShapesSpec, _: object) -> None:
        (root / "mine").touch()
        (cache / f"shapes-{spec.fingerprint()}").mkdir()
        (cache / f"shapes-{spec.fingerprint()}" / "theirs").touch()

    monkeypatch.setattr(sources, "make_shapes", overtaken)
    assert [p.name for p in shapes_source(SPEC).root.iterdir()] == ["theirs"]
    assert len(list(cache.iterdir())) == 1


def test_a_user_without_a_home_has_a_cache_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BARBENCH_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert cache_folder() == Path(tempfile.gettempdir()) / f"barbench-{os.getuid()}"
