"""Records by hand: `make(method, protocol, {column: IoU})`, everything else fixed unless told."""

from collections.abc import Callable, Mapping

import pytest

from barbench.results.record import Cell, DataIdentity, Record, Scores, SplitResult

METHODS = {
    "etris": ("ETRIS", ("Bridge",), 1_387_648),
    "snf": ("SNF", ("SNF",), 184_416),
    "snf-etris": ("SNF+ETRIS", ("SNF", "Bridge"), 1_572_064),
    "no-global": ("No Global", ("SNF", "LIM"), 390_656),
    "barleria": ("BarLeRIa", ("SNF", "LIM", "GST"), 2_205_920),
    "head-only": ("Head only", (), 0),
    "full": ("Full fine-tuning", ("Full",), 149_989_376),
}
Make = Callable[..., Record]


def scores(iou: float, n: int = 100) -> Scores:
    return Scores(miou=iou / 100, oiou=0.5, p50=0.5, p60=0.4, p70=0.3, p80=0.2, p90=0.1, n=n)


@pytest.fixture(scope="session")
def make() -> Make:
    def record(
        method: str,
        protocol: str,
        iou: Mapping[str, float] | None = None,
        *,
        control: Mapping[str, float] | None = None,
        leaks: bool = False,
        fields: Mapping[str, object] | None = None,
        **cell_fields: object,
    ) -> Record:
        title, composition, adapter = METHODS[method]
        cell = Cell.model_validate(
            {
                "method": method,
                "backbone": "ViT-B-16-quickgelu",
                "weights": "openai",
                "dataset": protocol,
                "recipe": {"name": "paper", "train": {"lr": 1e-4}},
                "seed": 0,
                "data": DataIdentity(kind="refer", fingerprint=f"hash of {protocol}"),
            }
            | cell_fields
        )
        splits = {  # of a mixed cell: "refcoco val"
            column: SplitResult(
                scores=scores(value),
                control=scores(control[column], 90) if control else None,
                column=column.rpartition(" ")[2],
                dataset=column.rpartition(" ")[0] or None,
                leaks=leaks,
                images=10,
                references=50,
            )
            for column, value in (iou or {}).items()
        }
        return Record.model_validate(
            {
                "id": cell.id(),
                "cell": cell,
                "title": title,
                "composition": composition,
                "ledger": {"adapter": adapter, "positional": 0, "head": 22_671_361, "frozen": 150_000_000},
                "status": "done",
                "splits": splits,
            }
            | dict(fields or {})
        )

    return record
