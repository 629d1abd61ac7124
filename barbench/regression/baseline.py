"""The baseline file: what was measured when a maintainer accepted it, section by section."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from barbench.errors import DataError, UsageError
from barbench.files import write_atomically
from barbench.regression.rules import Values
from barbench.spec.text import explain

COMMITTED = Path(__file__).with_name("baseline.json")
PACKAGES = ("torch", "numpy", "opencv-python-headless")
Sections = dict[str, dict[str, int | FiniteFloat | list[FiniteFloat]]]


class OwnScores(BaseModel):
    """Scores on a user's data, as accepted on one platform. An entry is `<method> <dataset> <split>`.

    Attributes:
        seeds: of the runs, in the order of the scores.
        cells: by `<method> <dataset>`, everything that can change a cell's result, its seed apart.
        images: by entry, SHA-256 of the ids of the images that were scored.
        expressions: by entry, how many each image has, in the order of their ids.
        scores: by entry, the mean IoU of each run.
        sums: by entry and run, the sum of the IoUs of each image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seeds: list[int] = Field(min_length=1)
    cells: dict[str, dict[str, JsonValue]]
    images: dict[str, str]
    expressions: dict[str, list[int]]
    scores: dict[str, list[FiniteFloat]]
    sums: dict[str, list[list[FiniteFloat]]]


class Baseline(BaseModel):
    """What was accepted.

    Attributes:
        made_with: packages when a section was last accepted, for a reader who asks why a number moved.
        everywhere: sections whose values are valid on any machine.
        platforms: sections whose values are not, by `platform_key`.
        own: scores on a user's data, by platform.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1] = 1
    made_with: dict[str, str] = Field(default_factory=dict)
    everywhere: Sections = Field(default_factory=dict)
    platforms: dict[str, Sections] = Field(default_factory=dict)
    own: dict[str, OwnScores] = Field(default_factory=dict)

    def section(self, name: str, portable: bool) -> Values | None:
        """Values of one section, those of this platform unless it is portable; None if there are none."""
        if portable:
            return self.everywhere.get(name)
        return self.platforms.get(platform_key(), {}).get(name)

    def accept(self, everywhere: Mapping[str, Values], here: Mapping[str, Values]) -> "Baseline":
        """A baseline with other sections, portable ones and those of this platform; all others stay."""
        # Other platforms, and other sections of this one, stay as they are.
        platforms = dict(self.platforms)
        if here:
            key = platform_key()
            platforms[key] = platforms.get(key, {}) | _rounded(here)
        return Baseline(
            made_with=packages(),
            everywhere=self.everywhere | _rounded(everywhere),
            platforms=platforms,
            own=self.own,
        )

    def accept_own(self, platform: str, scores: OwnScores) -> "Baseline":
        """A baseline with other scores on a user's data on one platform; all others stay."""
        return self.model_copy(update={"made_with": packages(), "own": {**self.own, platform: scores}})


def packages() -> dict[str, str]:
    """Versions of the packages that numbers may depend on."""
    return {name: version(name) for name in PACKAGES}


def platform_key() -> str:
    """What bytes saved for the backward pass and speeds depend on: torch's version without the patch, and the
    system."""
    major, minor, *_ = version("torch").split(".")
    return f"torch {major}.{minor}, {platform.system()} {platform.machine()}"


def load(path: Path, update: str) -> Baseline:
    """Read a baseline; UsageError, which names the command `update`, if there is none; DataError for a broken one."""
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"no baseline {path}: {update} makes one") from None
    except ValidationError as error:
        raise DataError(f"{path} is no baseline: {explain(error, 'the file')}") from None


def save(baseline: Baseline, path: Path) -> None:
    """Write a baseline with one line per entry, so that a change of an entry is a change of one line."""
    # The file of barbench's own check has no scores of a user.
    fields = baseline.model_dump(mode="json")
    if not baseline.own:
        del fields["own"]
    write_atomically(path, (_text(fields) + "\n").encode())


def _rounded(sections: Mapping[str, Values]) -> Sections:
    """Values with eight digits: far below every tolerance, and legible."""
    found: Sections = {}
    for section, values in sections.items():
        rounded = found.setdefault(section, {})
        for name, value in values.items():
            if isinstance(value, list):
                rounded[name] = [float(f"{x:.8g}") for x in value]
            elif isinstance(value, int):
                rounded[name] = value
            else:
                rounded[name] = float(f"{value:.8g}")
    return found


def _text(value: object, indent: str = "") -> str:
    """JSON with mappings over several lines and lists on one; sorted."""
    if not isinstance(value, dict):
        return json.dumps(value, allow_nan=False)
    if not value:
        return "{}"
    inner = indent + " "
    lines = []
    for key, each in sorted(value.items()):
        lines.append(f"{inner}{json.dumps(key)}: {_text(each, inner)}")
    entries = ",\n".join(lines)
    return f"{{\n{entries}\n{indent}}}"
