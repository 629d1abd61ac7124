"""The protocols' facts hang together."""

import pickle

import pytest

from barbench.errors import UnknownName
from barbench.paper.protocols import PROTOCOLS, Protocol


def test_names_and_context_lengths() -> None:
    assert {p.name: p.words for p in PROTOCOLS} == {"refcoco": 17, "refcoco+": 17, "refcocog-u": 22, "refcocog-g": 22}


@pytest.mark.parametrize("protocol", list(PROTOCOLS), ids=lambda p: p.name)
def test_every_split_has_a_column_and_a_size(protocol: Protocol) -> None:
    assert tuple(protocol.columns) == protocol.evals
    assert tuple(protocol.counts) == protocol.splits == ("train", *protocol.evals)
    assert set(protocol.leaks) <= set(protocol.evals)
    assert pickle.loads(pickle.dumps(protocol)) == protocol, "data loader workers receive it"


def test_sentences_sum_to_the_release() -> None:
    # 142,210 and 141,564 sentences: the totals that Kazemzadeh et al. and Yu et al. give for RefCOCO and RefCOCO+.
    totals = {p.name: sum(c.sentences for c in p.counts.values()) for p in PROTOCOLS if p.trusted_sentences}
    assert totals == {"refcoco": 142_210, "refcoco+": 141_564}


def test_an_unknown_split_gets_a_hint() -> None:
    with pytest.raises(UnknownName, match="refcoco") as caught:
        PROTOCOLS.get("refcoc+")
    assert caught.value.exit_code == 2
