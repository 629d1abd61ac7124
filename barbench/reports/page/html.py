"""One page with everything that the records show, readable offline: `barbench report --format html`.

Tables, score against cost, training, P@X, scores by kind of expression, parameters, examples, and how to reproduce it.
The page contains its style, its script and its pictures, and fetches nothing. The same records give the same bytes.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from barbench.errors import DataError
from barbench.reports.page.listings import failed_cells, found_problems, run_of
from barbench.reports.page.panels import EmbeddedPanels, embed_panels
from barbench.reports.page.sections import PageSection, assign_styles, sections_of
from barbench.reports.panels import WHY
from barbench.reports.report import Report
from barbench.reports.tables.grouping import Conditions, Group
from barbench.reports.tables.notes import in_words
from barbench.reports.tables.table import Table
from barbench.results.record import Record

LIMIT: Final = 5_000_000
"""Bytes of the whole page."""


@dataclass(frozen=True)
class Condition:
    """Everything about the records of one group.

    Attributes:
        key: of the group on the page.
        name: short.
        caption: what its records share, as a sentence.
        sections: in order.
    """

    key: str
    name: str
    caption: str
    sections: tuple[PageSection, ...]


def files(report: Report) -> Iterator[tuple[str, str]]:
    """The page as a file; records whose arrays are missing or damaged are shown without them."""
    arrays = {}
    for record in report.records:
        if record.status == "done":
            with suppress(DataError):
                arrays[record.id] = report.store.expressions(record.cell)
    yield "report.html", render(report, arrays, report.out / "panels")


def render(report: Report, arrays: Mapping[str, Mapping[str, Any]], panels: Path) -> str:
    """The text of the page.

    Args:
        report: its tables, records and groups.
        arrays: per-expression arrays by the record's id, as saved.
        panels: the folder that may hold panels, as `barbench panels` writes them.

    Returns:
        HTML of at most LIMIT bytes.
    """
    records, groups = report.records, report.groups
    names = condition_names([members.conditions for members in groups])
    styles = assign_styles(groups)
    conditions, runs = [], []
    for place, (members, name) in enumerate(zip(groups, names, strict=True)):
        key, others = f"c{place + 1}", [other.conditions for other in groups]
        sections = sections_of(members, arrays, styles, key, report.evidence)
        conditions.append(Condition(key, name, _sentence(in_words(members.conditions, others)), sections))
        runs.append(run_of(key, name, members))
    page = {
        "title": _title(records),
        "summary": _summary(records, groups),
        "synthetic": _synthetic(conditions, groups),
        "tables": unrepeated([table for of_one in report.tables.values() for table in of_one]),
        "conditions": conditions,
        "failures": failed_cells(groups, names),
        "problems": found_problems(records),
        "runs": runs,
    }
    bare = _filled(page | {"panels": EmbeddedPanels((), ())})
    return _filled(page | {"panels": embed_panels(panels, LIMIT - len(bare.encode()) - 50_000)})


class PageTable(NamedTuple):
    """A table of the page.

    Attributes:
        table: to print.
        anchor: its id on the page.
        instead: anchor of the table that contains its rows already; None if it is printed.
    """

    table: Table
    anchor: str
    instead: str | None


def unrepeated(tables: Sequence[Table]) -> list[PageTable]:
    """Give each table its anchor. Of tables that show the same measurements, only the one with most columns is printed,
    and the others become links to it.

    Args:
        tables: all of the report, in order.

    Returns:
        One entry per table.
    """
    anchors = [f"table{place}" for place in range(1, len(tables) + 1)]
    fullest: dict[str, int] = {}
    for place, table in enumerate(tables):
        best = fullest.setdefault(table.measured, place)
        if table.measured and len(table.headers) >= len(tables[best].headers) and table.number > tables[best].number:
            fullest[table.measured] = place
    shown = []
    for place, (table, anchor) in enumerate(zip(tables, anchors, strict=True)):
        best = fullest[table.measured] if table.measured else place
        shown.append(PageTable(table, anchor, None if best == place else anchors[best]))
    return shown


def condition_names(conditions: Sequence[Conditions]) -> list[str]:
    """Short names: backbone and recipe, then as much more as it takes to tell one from another.

    Args:
        conditions: of all groups.

    Returns:
        One name per group, all different.
    """
    names = [f"{own.backbone} · {own.recipe_fields.get('name', 'unnamed recipe')}" for own in conditions]
    for field in ("weights", "image_size", "precision", "data", "data_version", "other"):
        values = [str(getattr(own, field)) or "default" for own in conditions]
        alike = [{v for n, v in zip(names, values, strict=True) if n == name} for name in names]
        names = [f"{n} · {v}" if len(a) > 1 else n for n, v, a in zip(names, values, alike, strict=True)]
    return [f"{name} ({n})" if names.count(name) > 1 else name for n, name in enumerate(names, 1)]


def _filled(page: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("barbench.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    files = {"why": WHY, "style": Markup(style), "script": Markup(script), "script_hash": f"sha256-{digest}"}
    return environment.get_template("report.html").render(page | files)


def _asset(name: str) -> str:
    return (resources.files("barbench.reports.page") / "templates" / name).read_text("utf-8")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _title(records: Sequence[Record]) -> str:
    titles = list(dict.fromkeys(record.title for record in records if record.status == "done"))
    if not titles:
        return "No finished cell yet"
    return f"{titles[0]} alone" if len(titles) == 1 else f"{len(titles)} tuning methods compared"


def _summary(records: Sequence[Record], groups: Sequence[Group]) -> str:
    done = sum(record.status == "done" for record in records)
    count = len(records)
    parts = [
        f"{count} record{'s' * (count != 1)}",
        f"{count - done} failed" if done < count else "",
        f"{len(groups)} sets of conditions, not to be mixed" if len(groups) > 1 else "",
        ", ".join(dict.fromkeys(record.cell.protocol for record in records)),
    ]
    return " · ".join(filter(None, parts))


def _synthetic(conditions: Sequence[Condition], groups: Sequence[Group]) -> str:
    """What the banner adds; empty if no group has synthetic data."""
    shapes = [c.name for c, members in zip(conditions, groups, strict=True) if members.conditions.data == "shapes"]
    if not shapes:
        return ""
    which = "All records of this page" if len(shapes) == len(groups) else f"The records of {'; '.join(shapes)}"
    return f"{which} come from the embedded benchmark."
