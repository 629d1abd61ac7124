"""verify, run, panels and predict on a few real photos, where a REFER folder of them lies beside the clone.

It is for machinery; its scores say nothing. `BARBENCH_PHOTOS` names the folder if it lies elsewhere.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PHOTOS = Path(os.environ.get("BARBENCH_PHOTOS", REPOSITORY.parent / "shared/real"))


@pytest.mark.slow
@pytest.mark.skipif(not (PHOTOS / "refcoco").is_dir(), reason=f"no photos in {PHOTOS}")
def test_photos_go_all_the_way(tmp_path: Path) -> None:
    def barbench(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "barbench.cli", *arguments]
        made = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr + made.stdout
        return made

    results, data = ("--results", str(tmp_path / "results")), ("--data", str(PHOTOS))
    verified = barbench("data", "verify", str(PHOTOS), "--split", "refcoco", "--own")
    assert "the data are sound, but not the public release (accepted: --own)" in verified.stderr
    barbench(
        *("run", "--methods", "head-only", "--backbone", "tiny", "--recipe", "demo", "--split", "refcoco", *data),
        *("--set", "epochs=1", "--set", "batch=4", "--device", "cpu", "--cache", "off", *results),
        *("--reports", str(tmp_path / "reports")),
    )
    [path] = (tmp_path / "results").glob("*.json")
    record = json.loads(path.read_text())
    assert {split: found["scores"]["n"] > 0 for split, found in record["splits"].items()} == {
        "val": True, "testA": True, "testB": True,
    }  # fmt: skip
    panels = barbench(
        *(
            "panels",
            "--methods",
            "head-only",
            "--split",
            "refcoco",
            "--pick",
            "random",
            "--count",
            "1",
            *data,
            *results,
        ),
        *("--device", "cpu", "--out", str(tmp_path / "panels")),
    )
    assert "random-sentence-" in panels.stdout
    photo = sorted((PHOTOS / "images/train2014").glob("*.jpg"))[0]
    found = barbench(
        *("predict", str(photo), "the person on the left", "--cell", "head-only", "--device", "cpu", *results),
        *("--out", str(tmp_path / "found.png"), "--format", "json"),
    )
    assert 0 <= json.loads(found.stdout)[0]["coverage"] <= 1
    assert (tmp_path / "found.png").stat().st_size > 1000
