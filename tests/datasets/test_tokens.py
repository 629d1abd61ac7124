"""Token ids against open_clip's tokenizer, which cuts in silence."""

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from barbench.datasets.tokens import Tokens

TEXTS = ["man", "the man on the left with a red shirt", "word " * 15, "word " * 16, "word " * 80, "", "café 日本"]


def test_ids_are_open_clips(tokens: Tokens) -> None:
    ids = tokens(TEXTS)
    assert ids.dtype == torch.int64
    assert torch.equal(ids, SimpleTokenizer()(TEXTS, 17))


def test_truncation_is_known_exactly(tokens: Tokens) -> None:
    assert tokens.encode(TEXTS).truncated.tolist() == [False, False, False, True, True, False, False]


@pytest.mark.parametrize("text", TEXTS)
def test_end_of_text_is_kept(tokens: Tokens, text: str) -> None:
    """CLIP reads a sentence at its end-of-text token, the highest id."""
    (ids,) = tokens([text])
    assert ids.max() == 49407
    assert (ids == 49407).sum() == 1
    if tokens.encode([text]).truncated[0]:
        assert ids[-1] == 49407


def test_no_texts(tokens: Tokens) -> None:
    assert tokens([]).shape == (0, 17)
