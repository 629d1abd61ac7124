"""Suites hold methods that can be built, differ from each other, and are found again from reference and options."""

import pytest
import torch

from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.methods.suites import SUITES
from tests.models.small import inputs, small

ROWS = {spec.name: spec for suite in SUITES for spec in suite.methods()}


@pytest.mark.parametrize("suite", SUITES.names())
def test_rows_differ_in_name_title_and_cell(suite: str) -> None:
    rows = SUITES.get(suite).methods()
    assert len({row.name for row in rows}) == len({row.title for row in rows}) == len(rows)
    assert len({(row.reference, str(row.options)) for row in rows}) == len(rows)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_trains_and_is_found_again_from_its_reference_and_options(name: str) -> None:
    row = ROWS[name]
    model = build_segmenter(row, small(), seed=1)
    (found,) = resolve(row.reference)
    again = build_segmenter(found, small(), seed=1, options=row.options)
    with torch.no_grad():
        assert torch.equal(model.eval()(*inputs()).logits, again.eval()(*inputs()).logits)
    logits, extra = model.train()(*inputs())
    (logits.square().mean() + (0 if extra is None else extra)).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.tuned_parameters().values())


def test_ablations_change_what_they_say() -> None:
    sizes = {row.name: build_segmenter(row, small()).ledger()["adapter"] for row in SUITES.get("ablations").methods()}
    assert sizes["barleria[gst.detach=false]"] == sizes["barleria"]
    assert sizes["barleria"] - sizes["barleria[gst.queries=64]"] == 64 * 144
    assert sizes["barleria[gst.modules=2]"] < sizes["barleria[gst.prior=false]"] < sizes["barleria"]
    assert sizes["no-global[lim.into=vision]"] < sizes["no-global"] == sizes["no-global[lim.every=input]"]
