"""A run that is killed (-9) at any moment goes on, and ends with what an undisturbed run leaves: nothing less or more.

`pytest tests/faults -m slow` kills it sixty times with one cell under way and sixty times with two, at other moments
with BARBENCH_KILL_SEED=n.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.kill_harness import PHASES

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it watches folders by inotify")


def killed(folder: Path, backbone: Path, kills: int, seed: int, slots: int = 1) -> dict[str, Any]:
    """In a process of its own, since it forks."""
    arguments = [str(folder), str(backbone), str(kills), str(seed), str(slots)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kill_harness", *arguments], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def test_four_kills(tmp_path: Path, backbone_folder: Path) -> None:
    found = killed(tmp_path, backbone_folder, 4, seed=1)
    assert sum(found["kills"].values()) >= 4
    assert found["files"] > 30


@pytest.mark.slow
def test_four_kills_with_two_cells_under_way(tmp_path: Path, backbone_folder: Path) -> None:
    assert sum(killed(tmp_path, backbone_folder, 4, seed=2, slots=2)["kills"].values()) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 2])
def test_sixty_kills(slots: int, tmp_path: Path, backbone_folder: Path) -> None:
    found = killed(tmp_path, backbone_folder, 60, int(os.environ.get("BARBENCH_KILL_SEED", "7")), slots)
    assert sum(found["kills"].values()) >= 60
    assert found["kills"].keys() == set(PHASES)
