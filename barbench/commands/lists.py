"""`barbench list ...`: what there is to choose from."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from barbench.commands import options as opt
from barbench.commands.checks import CheckedCommand
from barbench.listing import Format, print_rows
from barbench.spec.text import method_options

if TYPE_CHECKING:
    from barbench.methods.catalog import MethodSpec, Options
    from barbench.spec.accounting import CountRule
    from barbench.spec.backbone import HeadChoice

WIDTH = 80
"""Columns of a narrow terminal."""
SHOWN = ("name", "description", "epochs", "batch", "optimizer", "lr", "schedule")
"""Fields of a recipe that fit in a table."""

app = typer.Typer(no_args_is_help=True, help="List methods, backbones, datasets, recipes and suites.")


@app.command("methods", cls=CheckedCommand)
def list_methods(
    backbone: opt.BackboneOption = "tiny",
    image_size: opt.ImageSizeOption = None,
    options: opt.ArgumentsOption = None,
    proportion: opt.ProportionOption = None,
    count: opt.CountOption = None,
    of: opt.OfOption = None,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Methods by kind: what each is, and how many parameters it tunes on a backbone; no weights are needed.

    --format json and csv add components and the whole parameter ledger.
    """
    from barbench.spec.accounting import parse_rule

    rule = parse_rule(count, of)
    from barbench.benchmarks.matrix import check_backbone
    from barbench.methods.entry import in_proportion
    from barbench.methods.resolve import resolve
    from barbench.spec.backbone import backbone_config

    # Sizes that the options leave open follow the backbone.
    specs = resolve("everything")
    chosen = method_options(options or [], specs)
    check_backbone(backbone, image_size)
    chosen = in_proportion(specs, backbone_config(backbone), proportion, chosen)
    rows = _method_rows(specs, backbone, image_size, chosen)
    # People get one number for each method, programs the whole account.
    if format_ is Format.table:
        table = [_for_people(row, rule) for row in rows]
        title = f"methods on {backbone}, tuned parameters"
        if rule != parse_rule(None, None):
            title += f" ({rule.words})"
        print_rows(table, format_, title=title, section="kind")
        return
    for row in rows:
        account = row.pop("account", None)
        if account is not None and (count is not None or of is not None):
            row["tuned"] = _counted(rule, account)
    print_rows(rows, format_)


def _method_rows(
    specs: "Sequence[MethodSpec]", backbone: str, image_size: int | None, chosen: "Mapping[str, Options]"
) -> list[dict[str, Any]]:
    """One row per method, by kind; what is stored is not counted again, which needs torch."""
    from barbench.methods.catalog import KINDS
    from barbench.methods.counts import stored_counts

    # A method that was counted with the same sizes needs no torch.
    known = stored_counts(backbone, image_size)
    rows = {}
    others = []
    for spec in specs:
        stored = known.get(spec.name)
        if stored is not None and chosen.get(spec.name, {}) == stored["sizes"]:
            variant = {"variant": spec.variant} if spec.variant else {}
            row = {key: stored[key] for key in ("components", "ledger", "account")} | variant
            rows[spec.name] = {"kind": spec.kind, "name": spec.name, "title": spec.title, **row}
        else:
            others.append(spec)
    if others:
        from barbench.methods.describe import describe_methods

        for row in describe_methods(others, backbone, image_size, chosen):
            rows[row["name"]] = row
    ordered = sorted(specs, key=lambda spec: KINDS.index(spec.kind))
    return [{**rows[spec.name], "what": spec.summary} for spec in ordered]


def _for_people(row: Mapping[str, Any], rule: "CountRule") -> dict[str, Any]:
    """A row of a table that a narrow terminal can show."""
    what = f"cannot be used here: {row['refused']}" if "refused" in row else row["what"]
    tuned = rule.printed(row["account"]) if "account" in row else None
    return {"kind": row["kind"], "name": row["name"], "tuned": tuned, "what": what}


@app.command("backbones", cls=CheckedCommand)
def list_backbones(format_: opt.FormatOption = Format.table) -> None:
    """Backbones that barbench supports."""
    from barbench.spec.backbone import backbone_config, backbone_names

    # The settings are open_clip's.
    rows = []
    for name in backbone_names():
        config = backbone_config(name)
        vision = config.model["vision_cfg"]  # of a ResNet: blocks of each stage, width of the first
        text = config.model["text_cfg"]
        rows.append(
            {
                "name": name,
                "image size": config.image_size(None),
                "patch": config.patch,
                "blocks": [vision.get("layers", config.depth), text.get("layers", 12)],
                "widths": [vision.get("width", config.width), text.get("width", 512)],
            }
        )
    print_rows(rows, format_, title="backbones (blocks and widths: vision, text)")


@app.command("splits", cls=CheckedCommand, hidden=True)  # the former name
@app.command("datasets", cls=CheckedCommand)
def list_datasets(format_: opt.FormatOption = Format.table) -> None:
    """Datasets and mixtures: what trains, which splits are evaluated."""
    from barbench.spec.dataset import DATASETS

    rows = []
    for dataset in DATASETS:
        # Which splits leak for a mixture depends on what it leaves out.
        leaks: list[str] = []
        if not dataset.is_mixture:
            for partition in dataset.members:
                leaks += partition.leaks
        row = {
            "name": dataset.name,
            "title": dataset.title,
            "trains on": [partition.name for partition in dataset.members],
            "evaluated": [split.key for split in dataset.evaluation_splits],
            "leaks": leaks,
            "context": dataset.context_length,
            "files": [f"{partition.folder}/{partition.refs_file}" for partition in dataset.partitions],
        }
        rows.append(row)
    print_rows(rows, format_, title="datasets")


@app.command("recipes", cls=CheckedCommand)
def list_recipes(
    fields: Annotated[
        bool, typer.Option("--fields", help="list the fields of a recipe instead, which run --set changes")
    ] = False,
    format_: opt.FormatOption = Format.table,
) -> None:
    """Training recipes that ship with barbench, or the fields that a recipe has."""
    from barbench.spec.recipe import load_recipe, recipe_fields, recipe_names

    if fields:
        print_rows(recipe_fields(), format_, title="fields of a recipe: run --set FIELD=VALUE")
        return
    rows = [load_recipe(name).model_dump(mode="json") for name in recipe_names()]
    if format_ is Format.table:
        rows = [{name: row[name] for name in SHOWN} for row in rows]
    print_rows(rows, format_, title="recipes")


@app.command("suites", cls=CheckedCommand)
def list_suites(format_: opt.FormatOption = Format.table) -> None:
    """Lists of methods with options that answer one question together."""
    from barbench.methods.suites import SUITES

    rows = []
    for name in SUITES.names():
        suite = SUITES.get(name)
        for spec in suite.methods():
            about = {"method": spec.name, "title": spec.title}
            if format_ is Format.table:  # the question is said once, over the suite's rows
                rows.append({"suite": f"{name}: {suite.question}", **about})
            else:
                rows.append({"suite": name, **about, "question": suite.question})
    print_rows(rows, format_, title="suites", section="suite")


def show(
    method: Annotated[str, typer.Argument(help="name of a method, as --methods takes it")],
    backbone: opt.BackboneOption = "tiny",
    image_size: opt.ImageSizeOption = None,
    neck: opt.NeckOption = None,
    head_form: opt.HeadFormOption = None,
    options: opt.ArgumentsOption = None,
    proportion: opt.ProportionOption = None,
    count: opt.CountOption = None,
    of: opt.OfOption = None,
    format_: opt.FormatOption = Format.table,
) -> None:
    """One method: its options with their values, and its tuned parameters by part on a backbone."""
    from barbench.spec.accounting import GROUPS, PRESETS, parse_rule

    # Without a choice, every rule that some paper counts by.
    rules = dict(PRESETS)
    if count is not None or of is not None:
        rules = {count or "adapter": parse_rule(count, of)}
    from barbench.benchmarks.matrix import check_backbone
    from barbench.errors import UsageError
    from barbench.methods.entry import in_proportion
    from barbench.methods.resolve import resolve
    from barbench.spec.backbone import HeadChoice, backbone_config

    specs = resolve(method)
    if len(specs) != 1:
        raise UsageError(f"show takes one method, not {len(specs)}")
    spec = specs[0]
    chosen = method_options(options or [], specs)
    check_backbone(backbone, image_size)
    head = HeadChoice(neck, head_form).changed(backbone_config(backbone).head)
    spec.check_head(head)
    chosen = in_proportion(specs, backbone_config(backbone), proportion, chosen)[spec.name]
    # Options, parts, groups and rules, each a table of its own.
    settings, parts, account = _described(spec, backbone, image_size, chosen, head)
    groups = [{"group": group, "parameters": account[group]} for group in GROUPS]
    counted = []
    for name, rule in rules.items():
        counted.append({"rule": name, "counts": rule.words, **_counted(rule, account)})
    if format_ is Format.json:
        about = {"name": spec.name, "title": spec.title, "kind": spec.kind, "what": spec.summary}
        tuned = {"groups": {group: account[group] for group in GROUPS}, "counted": counted}
        print_rows([{**about, "options": settings, "parts": parts, **tuned, "backbone": backbone}], format_)
        return
    if format_ is Format.table:
        typer.echo(f"{spec.title}: {spec.summary}\n")
        typer.echo("\n".join(option_lines(settings)))
    else:
        print_rows(settings, format_, title="options")
    print_rows(parts, format_, title=f"tuned parameters on {backbone}")
    print_rows(groups, format_, title="all parameters by group")
    if format_ is Format.table:
        counted = [_three_digits(row) for row in counted]
    print_rows(counted, format_, title="tuned parameters, by rule")


def _described(
    spec: "MethodSpec", backbone: str, image_size: int | None, chosen: "Options", head: "HeadChoice"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    """The options of a method, its tuned parameters by part, and its account: as stored, else with torch."""
    from barbench.methods.counts import stored_counts

    known = stored_counts(backbone, image_size).get(spec.name)
    if known is not None and chosen == known["sizes"] and not head.words:
        return known["options"], known["parts"], known["account"]
    from barbench.methods.describe import describe_options, describe_parts, on_meta
    from barbench.spec.backbone import backbone_config

    settings = describe_options(spec, chosen, backbone_config(backbone).family.name)
    model = on_meta(spec, backbone, image_size, chosen, head)
    return settings, describe_parts(model), model.account()


def _counted(rule: "CountRule", account: Mapping[str, int]) -> dict[str, Any]:
    """The parameters that count as tuned, and their share in percent where the rule has one."""
    counted: dict[str, Any] = {"parameters": rule.parameters(account)}
    share = rule.share(account)
    if share is not None:
        counted["percent"] = round(share, 3)
    return counted


def _three_digits(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for people: a share with the digits that papers and records are compared in."""
    if row.get("percent") is None:
        return dict(row)
    return {**row, "percent": f"{row['percent']:.3f}"}


def option_lines(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Options for people: a line with name, value and what it may be, and below it what it means."""
    lines = ["options of --option METHOD:NAME=VALUE"]
    indent = "    "
    for row in settings:
        # What it may be, and the default where that is not its value.
        takes = str(row["takes"] or "")
        if row["value"] != row["default"]:
            takes += f"; default {_as_written(row['default'])}"
        line = f"{row['option']} = {_as_written(row['value'])}"
        if takes:
            line += f"  ({takes})"
        lines += textwrap.wrap(line, WIDTH, subsequent_indent=indent)
        lines += textwrap.wrap(row["meaning"], WIDTH, initial_indent=indent, subsequent_indent=indent)
    return [*lines, ""]


def _as_written(value: object) -> str:
    """A value as YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
