"""`torch.compile` around a whole segmenter: the outputs and gradients of eager mode, and one graph at any depth."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.efficient.dropout import without_dropout
from barbench.models.segmenter import Segmenter, training_loss
from tests.models.small import inputs, small

# Their components use most hooks: before and after blocks, shortcuts, projections, and what works after the encoders.
METHODS = ("etris", "barleria", "lora")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Nothing compiled before counts."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def made(name: str, shallow: bool) -> Segmenter:
    """A small model, its method moved away from where it starts, without dropout."""
    segmenter = build_segmenter(resolve(name)[0], small("quickgelu", shallow=shallow), seed=1).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in segmenter.method.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.03)
    without_dropout(segmenter)
    return segmenter


def step(segmenter: Segmenter, call: Callable[..., Any]) -> dict[str, Tensor]:
    """Logits and gradients of one step, in which `call` is the model."""
    segmenter.zero_grad()
    output = call(*inputs())
    training_loss(output, (torch.arange(48) > 20).float().expand(3, 48, 48)).backward()
    gradients = {name: p.grad for name, p in segmenter.tuned_parameters().items() if p.grad is not None}
    return {"logits": output.logits.detach(), **gradients}


def counting(graphs: list[Any], inner: str) -> Callable[..., Any]:
    """The backend `inner`, which adds each graph that it is given to `graphs`."""
    compile_graph = torch._dynamo.lookup_backend(inner)

    def backend(graph: Any, arguments: list[Tensor]) -> Any:
        graphs.append(graph)
        return compile_graph(graph, arguments)

    return backend


@pytest.mark.parametrize("name", METHODS)
def test_a_compiled_step_is_the_eager_one_in_one_graph(name: str) -> None:
    segmenter = made(name, shallow=True)
    eager = step(segmenter, segmenter)
    graphs: list[Any] = []
    compiled = step(segmenter, torch.compile(segmenter, backend=counting(graphs, "aot_eager")))
    assert compiled.keys() == eager.keys()
    for key, expected in eager.items():
        torch.testing.assert_close(compiled[key], expected, rtol=1e-5, atol=1e-6, msg=key)
    assert len(graphs) == 1
    # Two towers of six blocks in place of four.
    deeper: list[Any] = []
    torch.compile(made(name, shallow=False), backend=counting(deeper, "eager"))(*inputs())
    assert len(deeper) == 1
