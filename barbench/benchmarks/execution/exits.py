"""How a worker says why it left no record: exit codes, and an event, since a launcher of several processes hides codes.

Imports nothing: a worker needs it before torch.
"""

from typing import Final

STOPPED: Final = 75
"""It was asked to stop, and the cell goes on another time."""

UNWRITABLE: Final = 74
"""The results folder cannot be written to, so that no other cell could be kept either."""

STOPPED_EVENT: Final = {"event": "stopped"}
