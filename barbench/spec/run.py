"""What a run is: the cells that are asked for, and where they run."""

from barbench.errors import UsageError
from barbench.paper.tables import TABLES
from barbench.spec.text import split_list


def table_numbers(text: str) -> list[str]:
    """Read a comma list of table numbers, each once; `all` means every table. UsageError for an empty list."""
    names = split_list(text)
    if not names:
        raise UsageError("no table was named; try --table 4")
    if names == ["all"]:
        return TABLES.names()
    return list(dict.fromkeys(names))
