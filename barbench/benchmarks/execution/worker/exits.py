"""How a worker says that it ends without a record: an event, since a launcher of several processes hides exit codes.

A worker needs it before torch, so that it imports next to nothing.
"""

import errno
from typing import Final, Literal

Left = Literal["stopped", "refused", "unwritable"]

LEFT: Final = 75
"""Exit code of a worker that said so."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the system says where nothing more can be written."""


def leaving(how: Left, said: str = "") -> dict[str, str]:
    """The event. `stopped`: it was asked to; the cell goes on another time. `refused`: this host cannot run the cell.
    `unwritable`: the results folder cannot be written to, so that no other cell could be kept either."""
    return {"event": "leaving", "how": how, "said": said}
