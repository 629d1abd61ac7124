"""A report on very little: one image, one expression, no control, empty bands. No number appears that no data made."""

import re
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from barbench.reports.formats.terminal import show
from barbench.reports.write import write_reports
from barbench.results.record import Scores, SplitResult
from barbench.results.store import Store
from tests.results.cells import expressions, put_cell

NO_NUMBER = re.compile(r"\b(nan|NaN|inf|None)\b")


@pytest.mark.parametrize(
    ("images", "each", "seeds", "control", "splits"),
    [
        (1, 1, (0,), True, ("val",)),
        (1, 3, (0,), True, ("val",)),
        (1, 1, (0, 1), True, ("val",)),
        (2, 1, (0,), False, ("val", "testA", "testB")),
    ],
)
def test_nothing_is_shown_that_no_data_made(
    tmp_path: Path, images: int, each: int, seeds: tuple[int, ...], control: bool, splits: tuple[str, ...]
) -> None:
    store = Store(tmp_path / "results")
    for method in ("snf", "etris"):
        for seed in seeds:
            record = put_cell(Store(tmp_path / "made"), method, seed=seed)
            columns = {}
            for split in splits:
                own = expressions(seed, images=images, each=each)
                own["intersection"][:] *= method == "etris"  # the other finds nothing at all
                if not control:
                    own["control_intersection"][:], own["control_union"][:] = -1, -1
                columns |= {f"{split}/{name}": column for name, column in own.items()}
            scores = Scores(miou=0.5, oiou=0.5, p50=0.5, p60=0.4, p70=0.3, p80=0.2, p90=0.1, n=images * each)
            results = {n: SplitResult(scores=scores, column=n, images=images, references=images) for n in splits}
            store.save(record.model_copy(update={"splits": results}), columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's on a mean of nothing
        written = write_reports(store, tmp_path / "reports", ["1", "2", "5"], ["md", "latex", "html"])
    with (tmp_path / "terminal").open("w") as file:
        for tables in written.tables.values():
            show(tables, Console(width=80, file=file))
    texts = [tmp_path / "terminal", *written.paths]
    found = [(path.name, match[0]) for path in texts for match in NO_NUMBER.finditer(path.read_text("utf-8"))]
    assert not found
