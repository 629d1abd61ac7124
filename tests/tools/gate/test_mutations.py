"""The gates catch: a mistake planted in each part, and a slowdown, each in a new process.

`mutations.py` holds the mistakes. Each is caught by the section named here, and by the entries named; where a mistake
is in a component, the gate names the component.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from barbench.regression.baseline import Baseline, load, save
from barbench.regression.check import SCORES

MUTATIONS = Path(__file__).with_name("mutations.py")
REPOSITORY = Path(__file__).parents[3]
pytestmark = pytest.mark.slow

# mutation, section, entries that must be among those that moved, component that must be named
CASES = [
    ("snf_sign_of_beta", "models", {"snf/gradient of SNF", "barleria/loss"}, ["SNF"]),
    ("bridge_without_layer_norm", "models", {"etris/logits", "snf-etris/gradient of head"}, ["Bridge"]),
    ("lim_skips_a_block", "models", {"no-global/gradient of LIM", "barleria/logits"}, ["LIM"]),
    ("gst_prior_not_applied", "models", {"barleria/logits", "barleria/gradient of GST"}, ["GST"]),
    ("metric_not_strictly_greater", "evaluation", {"metrics/precision"}, []),
    ("metric_union_counts_the_overlap_twice", "evaluation", {"metrics/overlap", "snf/target", "etris/swapped"}, []),
    ("letterbox_half_a_pixel", "data", {"letterbox/image 200x120", "letterbox/mask 131x97", "training/masks"}, []),
    ("adapters_at_the_rate_of_the_head", "models", {"etris/first losses", "barleria/first losses"}, []),
    ("more_is_kept", "memory", {"head-only", "barleria"}, []),
    ("training_masks_mirrored", "scores", {"etris"}, []),
    ("words_not_heard", "scores", {"etris", "snf", "barleria"}, []),
    ("component_never_trained", "scores", {"etris"}, []),
    ("rate_off_by_ten", "scores", {"etris"}, []),
    ("rate_a_tenth", "scores", {"etris"}, []),
    ("twice_as_slow", "speed", {"etris/training step", "snf/evaluation", "barleria/training step"}, []),
]


def ask(mutation: str, section: str, folder: Path, *arguments: str, update: bool = False) -> tuple[int, str, str]:
    """Exit code and both outputs of the gate that has a section, with something broken."""
    if section in SCORES.sections:
        entry = ["barbench", "--update"] if update else ["barbench"]
    else:
        entry = ["tools", "update" if update else "check"]
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"PYTHONPATH": paths, "BARBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(MUTATIONS),
        mutation,
        *entry,
        "--baseline",
        str(folder / "baseline.json"),
        "--only",
        section,
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """For a section, a folder with a baseline of this commit, made on this machine."""
    made: dict[str, Path] = {}

    def prepare(section: str) -> Path:
        if section not in made:
            folder = made[section] = tmp_path_factory.mktemp(section)
            if section == "scores":  # one run per seed takes minutes: the committed ones are used
                committed = load(SCORES.baseline, SCORES.update)
                save(Baseline(everywhere={section: committed.everywhere[section]}), folder / "baseline.json")
            else:
                code, _, err = ask("none", section, folder, update=True)
                assert code == 0, err
        return made[section]

    return prepare


@pytest.mark.parametrize(
    ("mutation", "section", "entries", "components"),
    [pytest.param(*case, id=case[0]) for case in CASES],
)
def test_a_planted_mistake_is_caught(
    mutation: str, section: str, entries: set[str], components: list[str], baselines: Any
) -> None:
    folder = baselines(section)
    code, out, err = ask(mutation, section, folder, "--format", "json")
    assert code == 1, err
    found = json.loads(out)
    assert entries <= {row["entry"] for row in found["findings"] if row["status"] == "moved"}
    assert {row["section"] for row in found["findings"]} == {section}
    assert found["suspects"] == components


@pytest.mark.parametrize(
    "section",
    list(dict.fromkeys(case[1] for case in CASES)),
)
def test_an_unchanged_run_passes(section: str, baselines: Any) -> None:
    code, out, err = ask("none", section, baselines(section), "--format", "md")
    assert code == 0, out + err
    assert "none moved" in out
