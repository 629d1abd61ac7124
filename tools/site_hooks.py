"""Pages of the documentation whose text has its home elsewhere.

The gallery of methods and the counts of the methods' page are made from the catalogue, the table of results comes from
the README, contributing and changelog are the files at the root. `mkdocs build` calls `on_config` and `on_files`.
"""

import inspect
from pathlib import Path

# MkDocs finds the modules beside a hook.
from methods_table import catalogue_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from barbench.methods.catalog import METHODS, MethodSpec
from barbench.methods.describe import describe_methods, describe_options
from barbench.methods.suites import SUITES
from barbench.reports.formats.markdown import pipe_table

ROOT = Path(__file__).parents[1]
BACKBONES = ("ViT-B-16-quickgelu", "tiny")
GROUPS = ("adapter", "head", "positional")

INTRODUCTION = """# Gallery of methods

This page is made from the catalogue, as `barbench list methods` is. A method is a set of components; parameters are
counted on frozen encoders by group, as the ledger of a record does: `adapter` is what the paper's column "Params"
counts, `head` the segmentation head that every method trains beside it. Formula, place and source of each are in the
[catalogue](methods-catalogue.md), departures from released code in [Fidelity](fidelity.md); how to add one of your own
is in [Contributing](contributing.md).

    barbench run --methods etris,barleria --dataset refcoco+
    barbench run --methods barleria --option barleria:gst.prior=false
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List each page of docs/ that has no place in the navigation under "Documents"; called by MkDocs."""
    named: set[str] = set()
    for entry in config.nav or []:
        named |= {page for page in entry.values() if isinstance(page, str)}
    others = sorted(file.name for file in (ROOT / "docs").glob("*.md") if file.name not in named)
    for entry in config.nav or []:
        if "Documents" in entry:
            entry["Documents"] = others
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated; called by MkDocs."""
    index = (ROOT / "docs/index.md").read_text("utf-8")
    pages = {
        "index.md": index.replace("<!-- scores -->", readme_section("What it prints")),
        "methods.md": gallery(),
        "methods-catalogue.md": catalogue_page(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text("utf-8"),
    }
    for name, text in pages.items():
        # What is generated takes the place of a file of that name.
        if (old := files.get_file_from_path(name)) is not None:
            files.remove(old)
        files.append(File.generated(config, name, content=text))
    return files


def readme_section(title: str) -> str:
    """The text under one heading of the README, without the heading; its links are from docs/.

    Raises:
        IndexError: if the README has no such heading.
    """
    section = (ROOT / "README.md").read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0].strip()
    return section.replace("](docs/", "](")


def gallery() -> str:
    """One section per method: what it is, its components, the parameters that it trains."""
    specs = list(METHODS)
    rows = []
    for backbone in BACKBONES:
        rows.append({row["name"]: row for row in describe_methods(specs, backbone, None, {})})
    parts = [INTRODUCTION, "## All methods\n", *overview(specs, rows[0])]
    for spec in specs:
        parts.append(section(spec, [each[spec.name] for each in rows]))
    parts += ["## Suites\n", "Methods with options set, run together by `barbench run --suite NAME`.\n"]
    for name in SUITES.names():
        suite = SUITES.get(name)
        parts.append(f"* `{name}`: {suite.question} ({len(suite.rows)} rows)")
    return "\n".join(parts) + "\n"


def overview(specs: list[MethodSpec], rows: dict[str, dict]) -> list[str]:
    """A table of all methods, tuned parameters on the larger backbone."""
    names = ["method", "title", "components", "adapter parameters, ViT-B/16"]
    cells = []
    for spec in specs:
        row = rows[spec.name]
        labels = ", ".join(row["components"]) or "none"
        cells.append([f"[`{spec.name}`](#{spec.name})", spec.title, labels, f"{row['ledger']['adapter']:,}"])
    return [pipe_table(names, cells, ["left", "left", "left", "right"]), ""]


def section(spec: MethodSpec, rows: list[dict]) -> str:
    """Title, description, components, options with their defaults, and the ledger of one method."""
    lines = [f"## {spec.title} {{ #{spec.name} }}\n", inspect.getdoc(spec.build) or "", ""]
    if spec.variant:
        lines.append(f"Variant: {spec.variant}.\n")
    lines.append(f"* Name: `{spec.name}`")
    lines.append(f"* Components: {', '.join(rows[0]['components']) or 'none; only the head is trained'}")
    names = [row["option"] for row in describe_options(spec)]
    lines.append(f"* Options: {', '.join(f'`{name}`' for name in names)}")
    cells = []
    for backbone, row in zip(BACKBONES, rows, strict=True):
        counts = [f"{row['ledger'].get(group, 0):,}" for group in GROUPS]
        cells.append([backbone, *counts])
    lines += ["", pipe_table(["backbone", *GROUPS], cells, ["left", *["right"] * len(GROUPS)])]
    return "\n".join([*lines, ""])
