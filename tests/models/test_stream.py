"""Inserted tokens: where they stand, who attends to them, and that the native tokens keep their order."""

import torch

from barbench.models.stream import Stream

NEVER = float("-inf")


def tokens(batch: int, *values: float) -> torch.Tensor:
    """Tokens (batch, len(values), 2), each filled with its value."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1).expand(batch, -1, 2)


def test_inserted_tokens_stand_between_prefix_and_body_and_are_replaced_in_place() -> None:
    stream = Stream(tokens(2, 0, 10, 11), prefix=1).insert("a", tokens(2, 1)).insert("b", tokens(2, 2, 3))
    assert stream.tokens[0, :, 0].tolist() == [0, 1, 2, 3, 10, 11]
    again = stream.insert("a", tokens(2, 7)).insert("b", tokens(2, 8, 9))
    assert again.tokens[0, :, 0].tolist() == [0, 7, 8, 9, 10, 11]
    assert again.inserted == (("a", 1), ("b", 2))
    assert again.native[0, :, 0].tolist() == [0, 10, 11]
    assert again.with_body(tokens(2, 5, 6)).tokens[0, :, 0].tolist() == [0, 7, 8, 9, 5, 6]


def test_causal_mask_is_extended() -> None:
    causal = torch.full((3, 3), NEVER).triu(1)
    stream = Stream(tokens(1, 1, 2, 3), prefix=0, mask=causal).insert("a", tokens(1, 0)).insert("b", tokens(1, 0))
    assert stream.mask is not None
    sees = (stream.mask == 0).tolist()
    assert sees == [
        [True, True, False, False, False],
        [True, True, False, False, False],
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, True, True, True],
    ]


def test_no_token_attends_to_hidden_tokens() -> None:
    hidden = torch.tensor([[False, True], [False, False]])
    stream = Stream(tokens(2, 0, 10), prefix=1).insert("a", tokens(2, 1, 2), hidden).insert("b", tokens(2, 3))
    assert stream.mask is not None
    assert (stream.mask == 0).flatten(1).tolist() == [[True, True, False, True, True], [True] * 5]


def test_repeated_rows_keep_their_masks() -> None:
    hidden = torch.tensor([[False, True], [True, False]])
    stream = Stream(tokens(2, 0, 10), prefix=1, pad=hidden).insert("a", tokens(2, 1, 2), hidden)
    found = stream.repeated(torch.tensor([1, 0, 1]))
    assert torch.equal(found.tokens, stream.tokens[[1, 0, 1]])
    assert stream.mask is not None
    assert found.mask is not None
    assert torch.equal(found.mask, stream.mask[[1, 0, 1]])
    assert found.pad is not None
    assert torch.equal(found.pad, hidden[[1, 0, 1]])
    assert (found.front, found.inserted) == (stream.front, stream.inserted)
    causal = Stream(tokens(2, 1), prefix=0, mask=torch.zeros(1, 1))
    assert causal.repeated(torch.tensor([0, 0, 1])).mask is causal.mask
