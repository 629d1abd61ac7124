"""`panels.json`: the list of panels beside their pictures, written by `barbench panels` and read by the HTML page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, TypeAdapter

from barbench.files import write_atomically

PANEL_LIST: Final = "panels.json"


class MethodScore(BaseModel):
    """One method in a panel; `iou` is a fraction, `mask` its mask as `thumbnails.small_mask` makes it."""

    title: str
    iou: float
    record: str = ""
    mask: str = ""


class PanelEntry(BaseModel):
    """One panel: the name of its file in the same folder; its title names data set, split, image and sentence."""

    file: str
    title: str = ""
    expression: str
    pick: str = ""
    column: tuple[str, str] = ("", "")
    sentence: int = 0
    methods: tuple[MethodScore, ...] = ()


def write_panel_list(folder: Path, entries: Sequence[PanelEntry]) -> Path:
    """Write the list beside its pictures, in the order of the page; returns the file."""
    path = folder / PANEL_LIST
    content = [entry.model_dump(mode="json") for entry in entries]
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(path, text.encode() + b"\n")
    return path


def read_panel_list(folder: Path) -> list[PanelEntry]:
    """The panels in order; none if there is no list. A list that cannot be used raises pydantic's ValidationError."""
    path = folder / PANEL_LIST
    if not path.is_file():
        return []
    return TypeAdapter(list[PanelEntry]).validate_json(path.read_bytes())
