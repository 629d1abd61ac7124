"""Which operations of a training step have no fixed order on a GPU (complaint 10; pytorch#68961)."""

from pathlib import Path

import pytest
import torch

from tests.complaints.complaints import each_method, judge
from tests.models.small import RESNET, small
from tests.models.towers.test_resnet import USED_ON
from tools.gpu_check.simulate import simulate

PAGE = Path(__file__).parents[2] / "docs/robustness.md"
UNORDERED = {
    "aten::convolution_backward": "torch.nn.Conv2d",
    "aten::embedding_dense_backward": "torch.nn.Embedding",
    "aten::index_put": "torch.Tensor.index_put",
    "aten::index_put_": "torch.Tensor.index_put",
    "aten::_index_put_impl_": "torch.Tensor.index_put",
    "aten::_unsafe_index_put": "torch.Tensor.index_put",
    "aten::put_": "torch.Tensor.put_",
    "aten::index_add": "torch.index_add",
    "aten::index_add_": "torch.index_add",
    "aten::index_copy": "torch.Tensor.index_copy",
    "aten::scatter": "torch.Tensor.scatter",
    "aten::scatter_": "torch.Tensor.scatter",
    "aten::scatter_add": "torch.Tensor.scatter_add_",
    "aten::scatter_add_": "torch.Tensor.scatter_add_",
    "aten::scatter_reduce": "torch.Tensor.scatter_reduce",
    "aten::cumsum": "torch.cumsum",
    "aten::median": "torch.median",
    "aten::histc": "torch.histc",
    "aten::bincount": "torch.bincount",
    "aten::replication_pad2d_backward": "torch.nn.ReplicationPad2d",
    "aten::reflection_pad2d_backward": "torch.nn.ReflectionPad2d",
    "aten::upsample_linear1d_backward": "torch.nn.functional.interpolate",
    "aten::upsample_bilinear2d_backward": "torch.nn.functional.interpolate",
    "aten::upsample_bicubic2d_backward": "torch.nn.functional.interpolate",
    "aten::_upsample_bicubic2d_aa_backward": "torch.nn.functional.interpolate",
    "aten::_adaptive_avg_pool2d_backward": "torch.nn.AdaptiveAvgPool2d",
    "aten::adaptive_max_pool2d_backward": "torch.nn.AdaptiveMaxPool2d",
    "aten::nll_loss2d_forward": "torch.nn.NLLLoss",
    "aten::grid_sampler_2d_backward": "torch.nn.functional.grid_sample",
    # Not in that list; torch says it where they run ("defaults to a non-deterministic algorithm").
    "aten::_scaled_dot_product_flash_attention_backward": "",
    "aten::_scaled_dot_product_efficient_attention_backward": "",
}
"""Operations on CUDA -> under which name `torch.use_deterministic_algorithms` lists them."""


def documented() -> set[str]:
    """The operations that the page names, in the first column of its table."""
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line.startswith("| `aten::")]
    return {row.strip("`") for row in rows}


def met(name: str, kernels: str = "low_memory", kind: str = "quickgelu") -> set[str]:
    """In a step on fake tensors, with CUDA's choice of kernels."""
    step = simulate(name, kernels, lambda: small(kind, shallow=True), 2)
    return step.by_operation.keys() & UNORDERED.keys()


@pytest.mark.complaint(10)
@each_method("lora")
def test_the_page_names_what_has_no_fixed_order(name: str) -> None:
    judge(10, name, sorted(met(name) - documented()))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(USED_ON))
def test_the_page_names_what_a_resnet_adds(name: str) -> None:
    assert met(name, kind=RESNET) <= documented()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["barleria", "barleria-released", "cris", "detris"])
def test_fused_kernels_add_none(name: str) -> None:
    assert met(name, "fused") <= met(name)


@pytest.mark.slow
@pytest.mark.complaint(10)
def test_the_page_names_no_other() -> None:
    """Each that it names is met by some method; here by those that meet most."""
    found = met("cris", kind=RESNET)
    for name in ("full", "cris", "fish"):
        found |= met(name)
    assert documented() <= found


def test_torch_lists_them_under_these_names() -> None:
    said = torch.use_deterministic_algorithms.__doc__ or ""
    assert [name for name in UNORDERED.values() if name not in said] == []
