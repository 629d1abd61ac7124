"""What is said of an import: objects, shares of pixels, empty and full masks; examples to look at."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from barbench.commands.data_checks import import_rows
from barbench.datasets.importers.source import Request
from barbench.datasets.importers.summary import examples, share
from barbench.errors import DataError, UsageError
from tests.datasets.importers import forms
from tests.datasets.importers.release import Release
from tests.datasets.importers.small_table import imported, mask, rows, write_csv


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table of twelve: an empty mask in train, a full one in val, boxes elsewhere."""
    made = rows(tmp_path, 12, mask="box.png", polygon="")
    made[0]["mask"] = "empty.png"
    made[1]["mask"] = "full.png"
    made[2]["split"] = "train"
    Image.fromarray(mask()).save(tmp_path / "box.png")
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "empty.png")
    Image.fromarray(np.full((40, 60), 255, np.uint8)).save(tmp_path / "full.png")
    return write_csv(tmp_path / "mine.csv", made)


def test_objects_and_shares_are_counted(source: Path) -> None:
    made = imported(source)
    train, val = (count.masks for count in made.counts)
    assert train == (2, 0.0, 500 / 2400 / 2, 500 / 2400, 1, 0)
    assert (val.objects, val.largest, val.empty, val.full) == (10, 1.0, 0, 1)
    assert any("empty mask: 1" in note and "train reference 1" in note for note in made.notes)
    assert any("1 references have the whole image as their mask, the first is val reference" in n for n in made.notes)


def test_the_rows_and_the_preview(source: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "look.png"
    printed, notes = import_rows(Request(source, tmp_path / "root"), sheet)
    assert [row["objects"] for row in printed] == [2, 10]
    assert printed[0]["masks"] == {"empty": 1, "full": 0}
    assert printed[0]["% of the pixels"] == {"smallest": 0.0, "median": 10.42, "largest": 20.83}
    assert f"10 of the references, from the smallest mask to the largest: look at {sheet}" in notes
    pixels = cv2.imread(str(sheet))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, "photos, masks and captions are drawn"


def test_examples_go_from_the_smallest_mask_to_the_largest(source: Path) -> None:
    made = imported(source)
    shares = [share(*example) for example in examples(made.data, 5)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert len(examples(made.data, 100)) == 12


def test_a_preview_without_images_says_so(tmp_path: Path) -> None:
    source = forms.jxu(Release(), tmp_path / "refcoco")
    _, notes = import_rows(Request(source, tmp_path / "root"), tmp_path / "look.png")
    assert any(note.startswith("no preview: none of the images is there") for note in notes)
    assert not (tmp_path / "look.png").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("look.jpg", "expected the name of a .png"), ("no/look.png", "is not there")]
)
def test_a_preview_that_cannot_be_written_is_said_before_the_import(
    name: str, words: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        import_rows(Request(source, tmp_path / "root"), tmp_path / name)
    assert not (tmp_path / "root").exists()


def test_absent_targets_in_folders_of_masks_are_refused(tmp_path: Path) -> None:
    source = forms.mask_folders(Release(), tmp_path / "source")
    path = source / "anns/refcoco/val.json"
    entries = json.loads(path.read_text())
    entries[1]["sentences"][0]["exist"] = False
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"val\.json, entry 1: 'exist' is False: the expression means nothing"):
        imported(source)
