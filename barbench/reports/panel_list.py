"""`panels.json`: the list of panels beside their pictures, written by `barbench panels` and read by the HTML page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, TypeAdapter

from barbench.files import write_atomically

PANEL_LIST: Final = "panels.json"


class MethodScore(BaseModel):
    """What a panel says of one method; `iou` is a fraction."""

    title: str
    iou: float


class PanelEntry(BaseModel):
    """One panel: a picture in the same folder, and what is in it."""

    file: str
    title: str = ""
    expression: str
    pick: str = ""
    methods: tuple[MethodScore, ...] = ()


def write_panel_list(folder: Path, entries: Sequence[PanelEntry]) -> Path:
    """Write the list into `folder`; returns the file."""
    content = [entry.model_dump(mode="json") for entry in entries]
    write_atomically(folder / PANEL_LIST, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    return folder / PANEL_LIST


def read_panel_list(folder: Path) -> list[PanelEntry]:
    """Read the list; raises pydantic's ValidationError for one that cannot be used.

    Args:
        folder: where `barbench panels` wrote.

    Returns:
        The panels in its order; none without a list.
    """
    path = folder / PANEL_LIST
    return TypeAdapter(list[PanelEntry]).validate_json(path.read_bytes()) if path.is_file() else []
