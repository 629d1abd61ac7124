"""The partitions' facts hang together."""

import pickle

import pytest

from barbench.errors import UnknownName
from barbench.paper.partitions import PAPER_PARTITIONS, Partition


def test_names_and_context_lengths() -> None:
    assert {p.name: p.context_length for p in PAPER_PARTITIONS} == {
        "refcoco": 17,
        "refcoco+": 17,
        "refcocog-u": 22,
        "refcocog-g": 22,
    }


@pytest.mark.parametrize("partition", list(PAPER_PARTITIONS), ids=lambda p: p.name)
def test_every_split_has_a_column_and_a_size(partition: Partition) -> None:
    assert tuple(partition.columns) == partition.eval_splits
    assert tuple(partition.counts) == partition.splits == ("train", *partition.eval_splits)
    assert set(partition.leaks) <= set(partition.eval_splits)
    assert pickle.loads(pickle.dumps(partition)) == partition, "data loader workers receive it"


def test_sentences_sum_to_the_release() -> None:
    # 142,210 and 141,564 sentences: the totals that Kazemzadeh et al. and Yu et al. give for RefCOCO and RefCOCO+.
    totals = {p.name: sum(c.sentences for c in p.counts.values()) for p in PAPER_PARTITIONS if p.trusted_sentences}
    assert totals == {"refcoco": 142_210, "refcoco+": 141_564}


def test_an_unknown_split_gets_a_hint() -> None:
    with pytest.raises(UnknownName, match="refcoco") as caught:
        PAPER_PARTITIONS.get("refcoc+")
    assert caught.value.exit_code == 2
