"""`panels.json`: the list of panels beside their pictures, written by `barbench panels` and read by the HTML page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, TypeAdapter

from barbench.files import write_atomically

PANEL_LIST: Final = "panels.json"


class MethodScore(BaseModel):
    """The score of one method in a panel; `iou` is a fraction."""

    title: str
    iou: float


class PanelEntry(BaseModel):
    """One panel.

    Attributes:
        file: name of the picture in the same folder.
        title: dataset, split, image and sentence.
        expression: the text.
        pick: why it was chosen.
        methods: the methods shown.
    """

    file: str
    title: str = ""
    expression: str
    pick: str = ""
    methods: tuple[MethodScore, ...] = ()


def write_panel_list(folder: Path, entries: Sequence[PanelEntry]) -> Path:
    """Write the list.

    Args:
        folder: of the pictures.
        entries: in the order of the page.

    Returns:
        The file.
    """
    content = [entry.model_dump(mode="json") for entry in entries]
    write_atomically(folder / PANEL_LIST, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    return folder / PANEL_LIST


def read_panel_list(folder: Path) -> list[PanelEntry]:
    """Read the list.

    Args:
        folder: where `barbench panels` wrote.

    Returns:
        The panels in order; none if there is no list. A list that cannot be used raises pydantic's ValidationError.
    """
    path = folder / PANEL_LIST
    return TypeAdapter(list[PanelEntry]).validate_json(path.read_bytes()) if path.is_file() else []
