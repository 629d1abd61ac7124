"""`python -m tools.gate check` and `python -m tools.gate update`: the repository's values against its baseline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from barbench.errors import BarbenchError
from barbench.listing import stdout_console
from barbench.regression.check import Gate, GateSection
from barbench.regression.check import check as check_gate
from barbench.regression.check import update as update_gate
from barbench.regression.compare import GateFinding
from barbench.regression.fixtures import PAPER
from barbench.regression.rules import close
from barbench.regression.show import show
from barbench.spec.text import split_list
from tools.gate import cost, data, models, speed
from tools.gate.rules import exact, not_slower

# Tolerances: with torch's, MKL's, oneDNN's and OpenCV's code for SSE in place of AVX-512, data moved by 0.0008 at most
# and models by 0.002.
REPOSITORY = Gate(
    sections={
        "ledger": GateSection(cost.ledger, exact),
        "flops": GateSection(cost.flops, exact),
        "memory": GateSection(cost.memory, exact, portable=False),
        "data": GateSection(data.data, close(0.003)),
        "models": GateSection(models.models, close(0.006)),
        "speed": GateSection(speed.speed, not_slower, portable=False, noisy=True),
    },
    baseline=Path(__file__).with_name("baseline.json"),
    check="python -m tools.gate check",
    update="python -m tools.gate update",
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
BaselineOption = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="baseline file", show_default="tools/gate/baseline.json"),
]
OnlyOption = Annotated[
    str, typer.Option(help="sections, a comma list: " + ", ".join(REPOSITORY.sections), show_default="all")
]


@app.command()
def check(
    baseline: BaselineOption = None,
    only: OnlyOption = "",
    allow_new: Annotated[
        bool, typer.Option("--allow-new", help="show entries that the baseline lacks without failing")
    ] = False,
    format_: Annotated[
        Literal["table", "json", "md"], typer.Option("--format", help="how to print: table, json, or md (markdown)")
    ] = "table",
) -> None:
    """Measure a small fixed matrix and compare it with the baseline. The exit code is 1 if any value moved."""
    outcome = check_gate(REPOSITORY, baseline, split_list(only), allow_new)
    # Which component alone explains which of the paper's methods moved.
    compositions = {spec.name: spec.create().composition() for spec in PAPER}
    outcome = outcome._replace(suspects=suspects(outcome.findings, compositions))
    show(outcome, format_, stdout_console(160))
    if not outcome.ok:
        raise typer.Exit(1)


@app.command()
def update(baseline: BaselineOption = None, only: OnlyOption = "") -> None:
    """Measure, and store the values as the new baseline."""
    print(f"accepted into {update_gate(REPOSITORY, baseline, split_list(only))}")


def suspects(findings: Sequence[GateFinding], compositions: Mapping[str, Sequence[str]]) -> list[str]:
    """The labels of the components whose methods are exactly those with moved values; empty if all moved, or none.

    A method is a set of components, so a mistake in one component moves the methods that have it and no others.
    `compositions` has the paper's methods alone: among the variants there are other readings of a component under the
    same label.
    """
    # The paper's methods whose values were compared, and those of them with a value that moved.
    present: set[str] = set()
    moved: set[str] = set()
    for finding in findings:
        method = finding.entry.partition("/")[0]
        if finding.section != "models" or method not in compositions:
            continue
        present.add(method)
        if finding.status == "moved":
            moved.add(method)
    if not moved or moved == present:
        return []

    having: dict[str, set[str]] = {}  # methods that have a component
    for method in present:
        for label in compositions[method]:
            having.setdefault(label, set()).add(method)
    return sorted(label for label, methods in having.items() if methods == moved)


def main() -> None:
    """Run the command; mistakes end with a line and exit code 2."""
    try:
        app()
    except BarbenchError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
