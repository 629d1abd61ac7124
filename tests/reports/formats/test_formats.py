"""The same Table as markdown, LaTeX and terminal text: structure, marks, and text that anybody may have typed."""

import re
import shutil
import subprocess
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from barbench.reports.formats import latex, markdown
from barbench.reports.formats.terminal import Terminal, show
from barbench.reports.tables.build import build, build_measured
from barbench.reports.tables.grouping import group
from barbench.reports.tables.table import Entry, Header, Section, Table
from barbench.results.resampled import ResampledScores
from tests.reports.parsed_tables import Certain

NASTY = "50%_off & {a}\\b #1 ~^$ <u>|x| **y** `z` -- [l](m) ±×✓– é 漢 «"


def five(make, *protocols: str, evidence: ResampledScores | None = None, **fields) -> Table:
    columns = {"refcoco": "val testA testB", "refcoco+": "val testA testB", "refcocog-u": "val(u) test(u)"}
    records = [
        make(
            method,
            protocol,
            {column: 50 + i + j for j, column in enumerate(columns[protocol].split())},
            control=dict.fromkeys(columns[protocol].split(), 5 + i),
            **fields,
        )
        for i, method in enumerate(("etris", "snf", "snf-etris", "no-global", "barleria"))
        for protocol in protocols
    ]
    [table] = build_measured("5", group(records), evidence)
    return table


def terminal(table: Table, width: int, **options: Any) -> str:
    out = StringIO()
    Console(width=width, file=out, **options).print(Terminal(table))
    return out.getvalue()


def test_markdown_of_the_main_job(make) -> None:
    text = markdown.render(five(make, "refcoco+", evidence=Certain()))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [part.strip() for part in lines[0].split("|")][1:-1] == [
        *("Method", "Params (M)", "RefCOCO+ val", "RefCOCO+ testA", "RefCOCO+ testB", "Avg")
    ]
    assert [set(part) for part in lines[1].split("|")][1:-1] == [set(" :-")] * 6
    assert [part.strip() for part in lines[2].split("|")][1:-1] == [
        *("ETRIS", "1.39", "50.0±0.0", "51.0±0.0", "52.0±0.0", "51.0±0.0")
    ]
    assert [part.strip() for part in lines[6].split("|")][1:-1] == [
        *("BarLeRIa", "2.21", "**54.0±0.0**", "**55.0±0.0**", "**56.0±0.0**", "**55.0±0.0**")
    ]
    assert len({len(line) for line in lines[:7]}) == 1
    assert {line.count("|") for line in lines} == {7}
    assert len(lines) == 2 + 5 + 1 + 5
    assert text.startswith("### Scores on every split")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_markdown_escapes(make) -> None:
    table = five(make, "refcoco", fields={"title": NASTY, "tuning_budget": NASTY})
    rows = [line for line in markdown.render(table).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert r"50%\_off \& {a}\\b \#1 \~^$ \<u\>\|x\| \*\*y\*\* \`z\` -- \[l\](m)" in markdown.render(table)


def columns_of(row: str) -> int:
    """Columns that a LaTeX row fills, from its separators and multicolumns."""
    cells = re.split(r"(?<!\\)&", row)
    return sum(int(m[1]) if (m := re.match(r"\s*\\multicolumn\{(\d+)\}", cell)) else 1 for cell in cells)


def check_structure(text: str) -> None:
    """What a compiler would insist on: balanced braces, math and environments, rows as wide as the preamble."""
    bare = re.sub(r"\\\\", "", text)
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", bare):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert bare.count(r"\(") == bare.count(r"\)")
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z]+\*?)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    for preamble, body in re.findall(r"\\begin\{tabular\}\{([lcr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {columns_of(row) for row in rows} == {len(preamble)}
        for start, end in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", body):
            assert 1 <= int(start) <= int(end) <= len(preamble)
    known = (
        "begin end centering scriptsize tiny caption label setlength tabcolsep belowcaptionskip multicolumn textbf "
        "underline textit par smallskip linewidth raggedright textsuperscript rlap times surd pm dagger texttt "
        "textbackslash textasciitilde textasciicircum textendash textemdash dots resizebox ifdim width else fi "
        "toprule midrule bottomrule cmidrule"
    )
    assert set(re.findall(r"\\([A-Za-z]+)", bare)) <= set(known.split())  # LaTeX's kernel, graphicx and booktabs


def test_latex_of_all_columns(make) -> None:
    text = latex.render(five(make, "refcoco", "refcoco+", "refcocog-u", evidence=Certain()), "tab:5")
    check_structure(text)
    lines = text.splitlines()
    top = lines.index(r"\toprule")
    assert lines[top + 1 : top + 4] == [
        r" &  & \multicolumn{3}{c}{RefCOCO} & \multicolumn{3}{c}{RefCOCO+} & \multicolumn{2}{c}{G-Ref}"
        r" & \multicolumn{2}{c}{Avg} \\",
        r"\cmidrule(lr){3-5} \cmidrule(lr){6-8} \cmidrule(lr){9-10} \cmidrule(lr){11-12}",
        r"Method & Params (M) & val & testA & testB & val & testA & testB & val(u) & test(u) & datasets & columns \\",
    ]
    assert r"\begin{tabular}{lrrrrrrrrrrr}" in text
    assert r"\textbf{54.0{\tiny\(\pm\)0.0}}" in text
    assert r"\label{tab:5}" in text


def test_latex_leaves_a_space_between_caption_and_rule(make) -> None:
    lines = latex.render(five(make, "refcoco"), "tab:5").splitlines()
    space = next(
        n for n, line in enumerate(lines) if re.fullmatch(r"\\setlength\{\\belowcaptionskip\}\{[1-9]pt\}", line)
    )
    assert lines[space + 1].startswith(r"\caption{")
    assert not any("hline" in line for line in lines)  # booktabs' rules have their own space


def test_latex_of_table_4(make) -> None:
    [table] = build_measured(
        "4", group([make("snf", "refcoco", {"val": 50}), make("etris", "refcocog-u", {"val(u)": 50})])
    )
    text = latex.render(table, "tab:4")
    check_structure(text)
    assert r"SNF & \(\surd\) & \(\times\) & \(\times\) & \(\times\) & 0.18 &" in text
    assert r"\multicolumn{3}{c}{Average IoU}" in text


def test_latex_survives_any_text(make) -> None:
    table = five(make, "refcoco", fields={"title": NASTY, "tuning_budget": NASTY}, backbone=NASTY)
    text = latex.render(table, "tab:5")
    check_structure(text)
    assert latex.escape("50%_off & {a}\\b #1 ~^$") == (
        r"50\%\_off \& \{a\}\textbackslash{}b \#1 \textasciitilde{}\textasciicircum{}\$"
    )
    assert latex.escape("a--b---c") == "a-{}-b-{}-{}-c"
    assert latex.escape("é 漢 «\n\tx") == r"é \texttt{U+6F22} \texttt{U+00AB} x"


def test_terminal_shows_the_main_job_in_100_columns(make) -> None:
    lines = [line.rstrip() for line in terminal(five(make, "refcoco+"), 100).splitlines()]
    assert max(map(len, lines)) <= 100
    start = lines.index("Method     Params (M)   val  testA  testB   Avg")
    assert lines[start - 2 : start + 4] == [
        "                            RefCOCO+",
        "                       ──────────────────",
        "Method     Params (M)   val  testA  testB   Avg",
        "───────────────────────────────────────────────",
        "ETRIS            1.39  50.0   51.0   52.0  51.0",
        "SNF              0.18  51.0   52.0   53.0  52.0",
    ]
    control = lines.index("Expressions swapped (lower is better)")
    assert lines[control + 1] == "ETRIS                   5.0    5.0    5.0   5.0"


@pytest.mark.parametrize("width", [60, 100, 40])
def test_a_narrow_terminal_loses_nothing(make, width: int) -> None:
    table = five(make, "refcoco", "refcoco+", "refcocog-u")
    text = terminal(table, width)
    assert max(map(len, text.splitlines())) <= width
    for header in table.headers:
        assert header.name in text
    values = re.findall(r"\d+\.\d(?= |$|\n)", text.split("IoU in percent")[0])
    printed = [
        entry.text for section in table.sections for row in section.rows for entry in row[2:] if entry.text != "-"
    ]
    assert sorted(values) == sorted(printed)


def test_terminal_marks_and_literal_text(make) -> None:
    table = five(make, "refcoco", fields={"title": "[red]x[/red]", "tuning_budget": "[bold]"})
    text = terminal(table, 100)
    assert "[red]x[/red]" in text
    assert "Tuning budget: [bold]." in text
    styled = terminal(five(make, "refcoco", evidence=Certain()), 100, force_terminal=True, color_system="standard")
    assert "\x1b[1m54.0±0.0\x1b[0m" in styled
    assert "\x1b[1m53.0±0.0\x1b[0m" not in styled


def test_footnotes_are_numbered_alike_everywhere(make) -> None:
    lost = {"status": "failed", "reason": "killed"}
    [table] = build_measured("5", group([make("snf", "refcoco", {"val": 50}), make("etris", "refcoco", fields=lost)]))
    assert "failed [1]" in terminal(table, 100)
    assert "[1] refcoco, seed 0: failed: killed" in terminal(table, 100)
    assert "failed <sup>1</sup>" in markdown.render(table)
    assert "- <sup>1</sup> refcoco, seed 0: failed: killed" in markdown.render(table)
    assert r"failed\rlap{\textsuperscript{1}}" in latex.render(table, "t")
    assert r"\textsuperscript{1}refcoco, seed 0: failed: killed" in latex.render(table, "t")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_with_plain_tex_live(make, tmp_path: Path) -> None:
    """Every table, with seeds, failures, mixed rows, other backbones and hostile text, in an article of the base."""
    eva = {"backbone": "EVA02-B-16", "weights": "merged2b_s8b_b131k"}
    records = [
        *(make("snf", "refcoco", {"val": 50.0 + seed, "testA": 51.0}, seed=seed) for seed in (0, 1, 2)),
        make("etris", "refcoco", fields={"status": "failed", "reason": NASTY}),
        make("barleria", "refcocog-g", {"val(g)": 50.0}, leaks=True),
        make("barleria", "refcoco", {"val": 50.0}, **eva),
        make("barleria", "mixed-leaked", {"refcoco val": 50.0}, leaks=True, **eva),
        make("no-global", "refcoco", {"val": 50.0}, backbone="tiny", fields={"title": NASTY, "tuning_budget": NASTY}),
    ]
    bodies = []
    for number in ("1", "2", "3", "4", "5"):
        tables = build(number, group(records))
        bodies += [latex.render(table, f"tab:{number}-{index}") for index, table in enumerate(tables)]
    document = [
        r"\documentclass{article}",
        r"\usepackage{booktabs,graphicx}",
        r"\begin{document}",
        *bodies,
        r"\end{document}",
    ]
    (tmp_path / "tables.tex").write_text("\n".join(document), "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert result.returncode == 0, result.stdout[-2000:]
    log = (tmp_path / "tables.log").read_text("utf-8", errors="replace")
    assert "Overfull \\hbox" not in log
    assert "Missing character" not in log


def test_a_narrow_terminal_gets_no_piece_without_rows() -> None:
    """As the columns of a plan's times are empty where everything is done."""
    headers = (
        Header("", "method", "left"),
        *(Header("", name, folds=True) for name in ("state", "time", "estimated from")),
    )
    row = (Entry("m" * 30), Entry("s" * 24), Entry(""), Entry(""))
    table = Table("plan", "", headers, (Section("", (row,)),))
    text = terminal(table, 64)
    assert text.count("method") == 1
    assert "m" * 30 in text
    nothing = Table("plan", "", headers, (Section("", ((Entry("m" * 60), Entry(""), Entry(""), Entry("")),)),))
    assert "method" in terminal(nothing, 64)


def test_a_piece_of_a_wide_table_has_only_rows_that_say_something(make) -> None:
    [table, *_] = build("4", group([make("snf", "refcoco", {"val": 50, "testA": 50, "testB": 50})]))
    whole = terminal(table, 200).split("Published rows")[0]
    assert whole.count("Measured − published") == 1
    pieces = terminal(table, 70).split("Published rows")[0]
    assert pieces.count("Method") == 2
    assert pieces.count("Measured − published") == 1
    assert pieces.count("ReSTR") == 2


def test_show_prints_every_table(make) -> None:
    out = StringIO()
    tables = build("5", group([make("snf", "refcoco", {"val": 50}, backbone="tiny")]))
    show(tables, Console(width=100, file=out))
    assert [out.getvalue().count(table.title) for table in tables] == [1, 1]


def test_markdown_is_read_as_a_table_by_another_parser(make) -> None:
    """markdown-it, which rich brings, reads GitHub's tables as GitHub does."""
    records = [
        *(make("snf", "refcoco", {"val": 50.0 + seed, "testA": 51.0}, seed=seed) for seed in (0, 1)),
        make("etris", "refcoco", {"val": 40.0}, fields={"title": NASTY}),
    ]
    for number in ("1", "2", "3", "4", "5"):
        for table in build(number, group(records)):
            page = MarkdownIt("commonmark").enable("table").render(markdown.render(table))
            [grid] = re.findall(r"<table>.*?</table>", page, re.DOTALL)
            rows = re.findall(r"<tr>.*?</tr>", grid, re.DOTALL)
            assert len(rows) == 1 + sum(len(section.rows) + bool(section.heading) for section in table.sections)
            assert {len(re.findall("<t[dh]", row)) for row in rows} == {len(table.headers)}
            assert page.count("<li>") == len(table.footnotes) + len(table.notes)
            read = re.sub(r"<sup>.*?</sup>|<[^>]+>", "", page)
            shown = [entry.text for section in table.sections for row in section.rows for entry in row]
            assert all(text in unescape(read) for text in shown)
