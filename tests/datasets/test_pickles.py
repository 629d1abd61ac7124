"""Python-2 pickles: read as data, never run."""

import os
import pickle
from pathlib import Path

import pytest

from barbench.datasets.pickles import load_plain, repair_text
from barbench.errors import DataError

# What Python 2.7's pickle.dumps([{'ref_id': 5, 'sent': 'caf\xc3\xa9', 'area': 1.5, 'big': 7L}]) gives, protocol 0.
PROTOCOL_0 = (
    b"(lp0\n(dp1\nS'ref_id'\np2\nI5\nsS'sent'\np3\nS'caf\\xc3\\xa9'\np4\nsS'area'\np5\nF1.5\nsS'big'\np6\nL7L\nsa."
)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "refs(unc).p"
    path.write_bytes(content)
    return path


def test_protocol_0_of_python_2(tmp_path: Path) -> None:
    value = load_plain(write(tmp_path, PROTOCOL_0))
    assert value == [{"ref_id": 5, "sent": "cafÃ©", "area": 1.5, "big": 7}]
    assert repair_text(value[0]["sent"]) == "café"


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    value = [{"a": 1, "b": ["x", "日本", (2.5, None, True)]}]
    assert load_plain(write(tmp_path, pickle.dumps(value, protocol))) == value


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("value", [Evil(), [{"sent": Evil()}], Path("x"), {1, 2}])
def test_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, pickle.dumps(value, 2))
    with pytest.raises(DataError, match=r"refs\(unc\)\.p.*plain lists and dicts"):
        load_plain(path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", PROTOCOL_0[:-1], PROTOCOL_0[:40], b"<html>404</html>", b"\xff" * 9]
)
def test_corrupt_files_are_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"refs\(unc\)\.p is not a usable pickle"):
        load_plain(write(tmp_path, content))


@pytest.mark.parametrize(
    ("read", "meant"),
    [
        ("plain words", "plain words"),
        ("  two\tparts\n", "two parts"),
        ("café".encode().decode("latin1"), "café"),  # UTF-8 bytes read as latin1
        ("日本".encode().decode("latin1"), "日本"),
        ("na\xefve", "naïve"),  # latin1 bytes read as latin1
        ("café", "café"),  # a Python-2 unicode
        ("日本 sign", "日本 sign"),
        ("a\x00b\x7fc", "a b c"),
        ("don\x92t", "don t"),  # a Windows apostrophe is a control character in latin1
        ("\n", ""),
        ("a\ud800b\u2028c", "a b c"),
        ("x" * 5_000, "x" * 2_000),
    ],
)
def test_repair_text(read: str, meant: str) -> None:
    assert repair_text(read) == meant
