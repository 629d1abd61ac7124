"""`torch.compile` around a whole segmenter: the outputs and gradients of eager mode, and one graph at any depth.

Tracing costs the same whatever the widths, so that the models are short: three vision blocks and one text block, the
fewest that have all stages, and one more of each. The full head is the same code behind every method and is traced
once; the others have the linear one.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from barbench.methods.build import build_segmenter
from barbench.methods.resolve import resolve
from barbench.models.efficient.dropout import without_dropout
from barbench.models.segmenter import Segmenter, training_loss
from barbench.models.towers.load import load_backbone
from barbench.spec.backbone import HeadChoice
from tests.models.small import HEAD, config, inputs

pytestmark = pytest.mark.slow


class Depth(NamedTuple):
    """Numbers of blocks."""

    vision: int
    text: int


SHORT = (Depth(3, 1), Depth(4, 2))
LONGER = (Depth(4, 4), Depth(5, 5))
NEED_MORE = {"barleria"}
"""Methods that do not fit the shortest towers."""
FULL_HEAD = {"barleria"}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Nothing compiled before counts."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def made(name: str, depth: Depth) -> Segmenter:
    """A small model, its method moved away from where it starts, without dropout."""
    sizes = config("quickgelu")
    sizes["vision_cfg"]["layers"] = depth.vision
    sizes["text_cfg"]["layers"] = depth.text
    head = HeadChoice() if name in FULL_HEAD else HeadChoice("none", "linear")
    with TemporaryDirectory() as folder:
        files = {"open_clip_config.json": {"model_cfg": sizes, "preprocess_cfg": {}}, "barbench.json": HEAD}
        for file, content in files.items():
            Path(folder, file).write_text(json.dumps(content))
        backbone = load_backbone(folder, "random", head=head)
    segmenter = build_segmenter(resolve(name)[0], backbone, seed=1).train()
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


@pytest.mark.parametrize("name", [spec.name for spec in resolve("everything")])
def test_a_compiled_step_is_the_eager_one_in_one_graph(name: str) -> None:
    depth, deeper = LONGER if name in NEED_MORE else SHORT
    segmenter = made(name, depth)
    eager = step(segmenter, segmenter)
    graphs: list[Any] = []
    compiled = step(segmenter, torch.compile(segmenter, backend=counting(graphs, "aot_eager")))
    assert compiled.keys() == eager.keys()
    for key, expected in eager.items():
        torch.testing.assert_close(compiled[key], expected, rtol=1e-5, atol=1e-6, msg=key)
    assert len(graphs) == 1
    graphs.clear()
    torch.compile(made(name, deeper), backend=counting(graphs, "eager"))(*inputs())
    assert len(graphs) == 1
