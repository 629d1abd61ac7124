"""What happens in folders, as it happens: Linux's inotify, through the C library."""

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CREATE, MOVED_TO, DELETE = 0x100, 0x80, 0x200
NAMES = {CREATE: "create", MOVED_TO: "rename", DELETE: "delete"}


class Change(NamedTuple):
    kind: str  # create, rename (to this name) or delete
    name: str


class Watcher:
    """`fileno` can be waited on with select."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._c = ctypes.CDLL(None, use_errno=True)
        self._file = self._c.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for folder in folders:
            if self._c.inotify_add_watch(self._file, os.fsencode(folder), CREATE | MOVED_TO | DELETE) < 0:
                raise OSError(ctypes.get_errno(), f"cannot watch {folder}")

    def fileno(self) -> int:
        return int(self._file)

    def read(self) -> Iterator[Change]:
        try:
            data = os.read(self._file, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
            at += 16 + length
            for bit, kind in NAMES.items():
                if mask & bit:
                    yield Change(kind, name)

    def close(self) -> None:
        os.close(self._file)
