"""Where a cell ran is told without naming a machine or a person."""

import getpass
import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from barbench.benchmarks.environment import PACKAGES, environment


def test_what_explains_a_difference_is_there() -> None:
    found = environment(torch.device("cpu"), 3)
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert packages.keys() == set(PACKAGES)
    assert str(packages["torch"]) == version("torch")
    assert found["python"] == platform.python_version()
    assert found["threads"] == 3
    assert found["device"]


def test_no_paths_and_no_names() -> None:
    text = json.dumps(environment(torch.device("cpu"), 1))
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[2]) not in text
    assert f'"{platform.node()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
