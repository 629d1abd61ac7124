r"""A Table as LaTeX: two-level headers, \textbf{} for what is best. Needs `\usepackage{graphicx}` and no more."""

import re
from collections.abc import Iterator

from barbench.reports.report import Report
from barbench.reports.tables.table import Entry, Table

ESCAPES = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\(<\)",
    ">": r"\(>\)",
    "|": r"\(|\)",
    '"': "''",
    "±": r"\(\pm\)",
    "−": r"\(-\)",
    "†": r"\(\dagger\)",
    "×": r"\(\times\)",
    "✓": r"\(\surd\)",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
}
SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Opens a box that shrinks a table wider than the text."""
ALIGN = {"left": "l", "center": "c", "right": "r"}


def files(report: Report) -> Iterator[tuple[str, str]]:
    """One file per number, with all tables of it, each under its own label."""
    for number, tables in report.tables.items():
        labels = [f"tab:barbench-{number}{f'-{index}' * (index > 1)}" for index in range(1, len(tables) + 1)]
        yield f"table{number}.tex", "% \\usepackage{graphicx}\n" + "\n".join(map(render, tables, labels))


def render(table: Table, label: str) -> str:
    r"""LaTeX of `table` as a `table*` float that `\ref{<label>}` finds; ends with one newline."""
    width = len(table.headers)
    rows: list[str] = []
    for section in table.sections:
        rows.append(r"\hline")
        if section.heading:
            rows.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(section.heading)}}}}} \\")
        rows += [_line([_entry(entry) for entry in row]) for row in section.rows]
    footnotes = [_marks((n,)) + escape(text) for n, text in enumerate(table.footnotes, 1)]
    lines = [
        r"\begin{table*}[tp]",
        r"\centering\scriptsize",
        rf"\caption{{{escape(table.title)}. {escape(table.caption)}}}",
        rf"\label{{{label}}}",
        r"\setlength{\tabcolsep}{2.5pt}",
        SHRINK,
        rf"\begin{{tabular}}{{{''.join(ALIGN[header.align] for header in table.headers)}}}",
        r"\hline",
        *_headers(table),
        *rows,
        r"\hline",
        r"\end{tabular}}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}",
        r"\raggedright",
        *footnotes,
        r"\par",
        *map(escape, table.notes),
        r"\end{minipage}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """`text` as one line of literal LaTeX; a character that plain LaTeX may lack becomes its code point."""
    return re.sub("-(?=-)", "-{}", "".join(map(_escape, " ".join(text.split()))))


def _escape(char: str) -> str:
    if char in ESCAPES:
        return ESCAPES[char]
    accented = "À" <= char <= "ÿ" and char not in "ÐÞðþ÷"  # those have no glyph in LaTeX's default encoding
    return char if " " <= char <= "~" or accented else rf"\texttt{{U+{ord(char):04X}}}"


def _headers(table: Table) -> list[str]:
    """The header rows: names alone, or under their groups with one rule per group."""
    names = _line([escape(header.name) + _aside(header.footnotes) for header in table.headers])
    groups, rules, start = [], [], 1
    for group, width in table.header_groups:
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else "")
        if group:
            rules.append(rf"\cline{{{start}-{start + width - 1}}}")
        start += width
    return [_line(groups), " ".join(rules), names] if rules else [names]


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry) -> str:
    mean, sign, margin = entry.text.partition("±")
    text = escape(mean) + (rf"{{\tiny{escape(sign + margin)}}}" if sign else "")
    if entry.mark == "best":
        text = rf"\textbf{{{text}}}"
    return text + _aside(entry.footnotes)


def _marks(footnotes: tuple[int, ...]) -> str:
    return rf"\textsuperscript{{{', '.join(map(str, footnotes))}}}" if footnotes else ""


def _aside(footnotes: tuple[int, ...]) -> str:
    """Footnote marks that take no width, so that the numbers of a column stay aligned."""
    return rf"\rlap{{{_marks(footnotes)}}}" if footnotes else ""
