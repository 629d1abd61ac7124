r"""A Table as LaTeX: two-level headers, \textbf{} for what is best, booktabs' rules. It needs PACKAGES."""

import re
from collections.abc import Iterable, Iterator

from barbench.reports.report import Report, file_stem
from barbench.reports.tables.table import BOLD, Entry, Table

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
PACKAGES = ("booktabs", "graphicx")
SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Opens a box that shrinks a table wider than the text."""
ALIGN = {"left": "l", "center": "c", "right": "r"}


def files(report: Report) -> Iterator[tuple[str, str]]:
    """One file per number, with all tables of it, each under a label."""
    for number, tables in report.tables.items():
        texts = []
        for index, table in enumerate(tables, 1):
            suffix = f"-{index}" if index > 1 else ""
            texts.append(render(table, f"tab:barbench-{number}{suffix}"))
        yield f"{file_stem(number)}.tex", f"% \\usepackage{{{','.join(PACKAGES)}}}\n" + "\n".join(texts)


def render(table: Table, label: str) -> str:
    r"""LaTeX of `table` as a `table*` float that `\ref{<label>}` finds; ends with one newline."""
    columns = "".join(ALIGN[header.align] for header in table.headers)
    footnotes = [_marks((n,)) + escape(text) for n, text in enumerate(table.footnotes, 1)]
    lines = [
        r"\begin{table*}[tp]",
        r"\centering\scriptsize",
        # LaTeX's classes leave no space below a caption, which is their place for one under a figure.
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{escape(table.title)}. {escape(table.caption)}}}",
        rf"\label{{{label}}}",
        r"\setlength{\tabcolsep}{2.5pt}",
        SHRINK,
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_headers(table),
        *_rows(table),
        r"\bottomrule",
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
    line = " ".join(text.split())
    escaped = "".join(map(_escape, line))
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", escaped)


def _escape(char: str) -> str:
    if char in ESCAPES:
        return ESCAPES[char]
    accented = "À" <= char <= "ÿ" and char not in "ÐÞðþ÷"  # those have no glyph in LaTeX's default encoding
    if accented or " " <= char <= "~":
        return char
    return rf"\texttt{{U+{ord(char):04X}}}"


def _rows(table: Table) -> list[str]:
    lines = []
    for section in table.sections:
        lines.append(r"\midrule")
        if section.heading:
            heading = rf"\textit{{{escape(section.heading)}}}"
            lines.append(rf"\multicolumn{{{len(table.headers)}}}{{l}}{{{heading}}} \\")
        for row in section.rows:
            lines.append(_line(map(_entry, row)))
    return lines


def _headers(table: Table) -> list[str]:
    """The header rows: names alone, or under their groups with one rule per group."""
    names = []
    for header in table.headers:
        names.append(escape(header.name) + _aside(header.footnotes))
    # Groups of columns, with a rule under each; a column without a group has none.
    groups = []
    rules = []
    start = 1
    for name, width in table.header_groups:
        if name:
            groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        else:
            groups.append("")
        start += width
    if not rules:
        return [_line(names)]
    return [_line(groups), " ".join(rules), _line(names)]


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry) -> str:
    mean, sign, margin = entry.text.partition("±")
    text = escape(mean)
    if sign:
        text += rf"{{\tiny{escape(sign + margin)}}}"
    if entry.mark in BOLD:
        text = rf"\textbf{{{text}}}"
    return text + _aside(entry.footnotes)


def _marks(footnotes: tuple[int, ...]) -> str:
    return rf"\textsuperscript{{{', '.join(map(str, footnotes))}}}"


def _aside(footnotes: tuple[int, ...]) -> str:
    """Footnote marks that take no width, so that the numbers of a column stay aligned."""
    if not footnotes:
        return ""
    return rf"\rlap{{{_marks(footnotes)}}}"
