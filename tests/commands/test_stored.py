"""What a command says of the records and the data that it could not read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from barbench.commands.stored import open_store


def test_what_could_not_be_read_is_said_also_where_the_command_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etris--tiny--refcoco+--seed0--0123456789ab.json").write_text("{")
    scenes: Any = SimpleNamespace(notes=["no images in /data"])
    with pytest.raises(IndexError), open_store(tmp_path, scenes) as store:
        store.all()[0]
    [record, data] = capsys.readouterr().err.splitlines()
    assert "0123456789ab" in record
    assert data == "note: no images in /data"
