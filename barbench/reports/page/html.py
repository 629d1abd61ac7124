"""One page with everything that the records show, readable offline: `barbench report --format html`.

Tables, score against cost, training, P@X, scores by kind of expression, parameters, examples, and how to reproduce it.
The page contains its style, its script and its pictures, and fetches nothing. The same records give the same bytes.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError

from barbench.paper.tables import TABLES
from barbench.reports.page.across import across_parts
from barbench.reports.page.explorer import OUTCOMES, explore
from barbench.reports.page.listings import failed_cells, found_problems, run_of
from barbench.reports.page.panels import EmbeddedPanels, embed_panels
from barbench.reports.page.sections import PageSection, assign_styles, sections_of
from barbench.reports.panels import WHY, PanelEntry, read_panel_list
from barbench.reports.report import Report
from barbench.reports.tables.grouping import Conditions, Group
from barbench.reports.tables.literature import NUMBER as PUBLISHED
from barbench.reports.tables.notes import capitalized, describe_conditions
from barbench.reports.tables.table import Table
from barbench.results.record import Record
from barbench.spec.text import plural

LIMIT: Final = 5_000_000
"""Bytes of the whole page."""


@dataclass(frozen=True)
class Condition:
    """A group of the page; its caption says in a sentence what its records share, its verdict which method wins."""

    key: str
    name: str
    caption: str
    verdict: str
    sections: tuple[PageSection, ...]


def files(report: Report) -> Iterator[tuple[str, str | bytes]]:
    """The page, at most LIMIT bytes, and pictures beside it; panels are looked for where `barbench panels` writes them,
    and records whose arrays are missing or damaged are shown without them."""
    records = report.records
    groups = report.groups
    of_groups = [members.conditions for members in groups]
    names = condition_names(of_groups)
    styles = assign_styles(groups)
    conditions = []
    runs = []
    for number, (members, name) in enumerate(zip(groups, names, strict=True), 1):
        key = f"c{number}"
        found = sections_of(members, report.evidence, styles, key)
        caption = describe_conditions(members.conditions, of_groups)
        conditions.append(Condition(key, name, capitalized(caption), found.verdict, found.parts))
        runs.append(run_of(key, name, members))
    # Tables of records that the paper does not have are in sections of their own.
    tables = [table for number in (*TABLES.names(), PUBLISHED) for table in report.tables.get(number, ())]
    page: dict[str, Any] = {
        "title": _title(records),
        "summary": _summary(records, groups),
        "synthetic": _synthetic(conditions, groups),
        "tables": unrepeated(tables),
        "conditions": conditions,
        "across": across_parts(report.store.folder),
        "failures": failed_cells(groups, names),
        "problems": found_problems(records),
        "runs": runs,
    }
    folder = report.out / "panels"
    explorer = explore(report, names, _listed(folder), _room(page))
    page = page | {"explorer": explorer}
    # Panels get the space that everything else leaves.
    yield "report.html", _filled(page | {"panels": embed_panels(folder, _room(page))})
    if explorer:
        yield from explorer.beside.items()


def _room(page: dict[str, Any]) -> int:
    """How many bytes the page may grow by."""
    without = {"explorer": None, "panels": EmbeddedPanels((), ())}
    bare = _filled(without | page)
    return LIMIT - len(bare.encode()) - 50_000


def _listed(folder: Path) -> list[PanelEntry]:
    """The panels of a folder; a list that cannot be used is named where they are shown."""
    try:
        return read_panel_list(folder)
    except ValidationError:
        return []


class PageTable(NamedTuple):
    """A table with its id on the page; `instead` is the id of a table that contains its rows, None if it is printed."""

    table: Table
    anchor: str
    instead: str | None


def unrepeated(tables: Sequence[Table]) -> list[PageTable]:
    """Each table of the report with its anchor. Of tables that show the same measurements, only the last one with a
    column for each split is printed, and the others become links to it."""
    # The place of the table that is printed, by what was measured.
    finest: dict[str, int] = {}
    for place, table in enumerate(tables):
        best = finest.setdefault(table.measured, place)
        if table.measured and _is_by_split(table) >= _is_by_split(tables[best]):
            finest[table.measured] = place
    shown = []
    for place, table in enumerate(tables):
        best = finest[table.measured] if table.measured else place
        instead = None if best == place else _anchor(best)
        shown.append(PageTable(table, _anchor(place), instead))
    return shown


def _is_by_split(table: Table) -> bool:
    return TABLES.get(table.number).shows == "splits"


def _anchor(place: int) -> str:
    return f"table{place + 1}"


def condition_names(conditions: Sequence[Conditions]) -> list[str]:
    """A short name for each: backbone and recipe, then as much more as it takes to tell one from another."""
    names = []
    for own in conditions:
        name = f"{own.backbone} · {own.recipe_fields.get('name', 'unnamed recipe')}"
        names.append(f"{name} · {own.subset}" if own.subset else name)
    for field in ("head", "weights", "image_size", "precision", "data", "data_version", "other"):
        # Of the conditions with the same name so far, which values does the field have?
        values = [str(getattr(own, field)) or "default" for own in conditions]
        by_name: dict[str, set[str]] = {}
        for name, value in zip(names, values, strict=True):
            by_name.setdefault(name, set()).add(value)
        for place, name in enumerate(names):
            if len(by_name[name]) > 1:
                names[place] = f"{name} · {values[place]}"
    # What no field tells apart is numbered.
    numbered = []
    for number, name in enumerate(names, 1):
        numbered.append(f"{name} ({number})" if names.count(name) > 1 else name)
    return numbered


def _filled(page: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("barbench.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    script = _asset("pure.js") + _asset("report.js") + _asset("explorer.js")
    # The page allows this script alone, by its hash.
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assets = {
        "why": WHY,
        "outcomes": OUTCOMES,
        "style": Markup(_asset("report.css")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }
    return environment.get_template("report.html").render(page | assets)


def _asset(name: str) -> str:
    return (resources.files("barbench.reports.page") / "templates" / name).read_text("utf-8")


def _title(records: Sequence[Record]) -> str:
    titles = list(dict.fromkeys(record.title for record in records if record.status == "done"))
    if not titles:
        return "No finished cell yet"
    if len(titles) == 1:
        return f"{titles[0]} alone"
    return f"{len(titles)} tuning methods compared"


def _summary(records: Sequence[Record], groups: Sequence[Group]) -> str:
    parts = [plural(len(records), "record")]
    failed = sum(record.status != "done" for record in records)
    if failed:
        parts.append(f"{failed} failed")
    if len(groups) > 1:
        parts.append(f"{len(groups)} sets of conditions, not to be mixed")
    datasets = dict.fromkeys(record.cell.dataset for record in records)
    return " · ".join([*parts, ", ".join(datasets)])


def _synthetic(conditions: Sequence[Condition], groups: Sequence[Group]) -> str:
    """What the banner adds; empty if no group has synthetic data."""
    shapes = []
    for condition, members in zip(conditions, groups, strict=True):
        if members.conditions.data == "shapes":
            shapes.append(condition.name)
    if not shapes:
        return ""
    which = "All records of this page" if len(shapes) == len(groups) else f"The records of {'; '.join(shapes)}"
    return f"{which} come from the embedded benchmark."
