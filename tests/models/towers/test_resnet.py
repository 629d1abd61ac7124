"""CLIP's ResNet as a tower: open_clip's maps, the dense pool's positions, what trains of it, what it refuses."""

import pytest
import torch
from open_clip.model import CLIP

from barbench.errors import UnfitBackbone, UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.describe import describe_methods
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from barbench.models.towers.resnet import ResNetVision
from barbench.models.walk import walk
from barbench.spec.backbone import backbone_config
from tests.models.small import RESNET, RESNET_SIZE, config, inputs, small, write_folder

USED_ON = {"etris", "cris", "full", "head-only", "bitfit", "layernorm", "layernorm-bias", "fish", "random-mask"}


def test_levels_and_taps_are_open_clips_maps() -> None:
    backbone, (image, ids) = small(RESNET), inputs(size=RESNET_SIZE)

    class Taps(Hooks):
        def tapped(self) -> frozenset[int]:
            return frozenset({0, 2})

    torch.manual_seed(0)
    theirs = CLIP(**config(RESNET)).eval()
    for name, p in theirs.visual.named_parameters():
        if name.endswith("bn3.weight"):
            p.data.fill_(0.5)
    with torch.no_grad():
        trace = walk(backbone.vision, backbone.text, Taps(), image, ids)
        maps = theirs.visual.forward_intermediates(image, indices=[2, 3, 4])["image_intermediates"]
    assert [tuple(m.shape) for m in trace.levels] == [(3, 64, 8, 8), (3, 128, 4, 4), (3, 40, 2, 2)]
    assert [(v.width, v.grid[0]) for v in backbone.vision.levels] == [(64, 8), (128, 4), (40, 2)]
    for ours, expected in ((trace.levels[0], maps[0]), (trace.levels[1], maps[1]), (trace.taps[2], maps[2])):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(trace.taps[0], trace.levels[0])


def test_the_pool_sees_every_position_and_its_own_positions_where_the_grid_is_its_own() -> None:
    vision = small(RESNET).vision
    assert isinstance(vision, ResNetVision)
    pool = vision.visual.attnpool
    torch.testing.assert_close(vision._positions(), pool.positional_embedding[1:], rtol=1e-5, atol=1e-6)
    larger = small(RESNET, image_size=128).vision
    assert isinstance(larger, ResNetVision)
    assert larger._positions().shape == (16, 256)
    x = torch.randn(2, 4, 256)
    with torch.no_grad():
        y = x + pool.positional_embedding[1:]
        q, k, v = (
            m(y).unflatten(-1, (vision.heads, -1)).transpose(1, 2) for m in (pool.q_proj, pool.k_proj, pool.v_proj)
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        pooled = pool.c_proj((weights @ v).transpose(1, 2).flatten(2))
        conv, norm = pool.connect
        beside = (x @ conv.weight[:, :, 0, 0].T) / (norm.running_var + norm.eps).sqrt()
        torch.testing.assert_close(vision.finish(x), (pooled + beside).relu(), rtol=1e-5, atol=1e-5)


def test_what_no_clip_weights_hold_trains_as_head_and_the_rest_keeps_its_statistics() -> None:
    model = build_segmenter(resolve("head-only")[0], small(RESNET)).train()
    inside = {n for n in model.tuned_parameters() if n.startswith("vision.")}
    assert inside == {f"vision.visual.attnpool.connect.{n}" for n in ("0.weight", "1.weight", "1.bias")}
    assert inside <= model.head_parameters().keys()
    before = {n: b.clone() for n, b in model.vision.named_buffers()}
    model(*inputs(size=RESNET_SIZE))
    moved = {n for n, b in model.vision.named_buffers() if not torch.equal(b, before[n])}
    assert moved == {f"visual.attnpool.connect.1.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")}
    assert not any(m.training for m in model.eval().vision.modules())


def test_images_of_whole_cells_only() -> None:
    assert backbone_config("RN50").image_size(None) == 416
    with pytest.raises(UsageError, match="multiple of its 32-pixel patches; use 416"):
        backbone_config("RN101").image_size(420)


@pytest.mark.parametrize("name", [spec.name for spec in resolve("everything") if spec.name not in USED_ON])
def test_a_method_that_needs_transformer_blocks_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnfitBackbone, match=f"^{name}: .* cannot be used on .*: its vision tower is a ResNet"):
        build_segmenter(resolve(name)[0], small(RESNET))


def test_words_can_be_tuned_alone() -> None:
    backbone = small(RESNET)
    model = build_segmenter(resolve("lora")[0], backbone, options={"lora.towers": "text"})
    with torch.no_grad():
        assert model.eval()(*inputs(size=RESNET_SIZE)).logits.shape == (3, 1, 16, 16)
    with pytest.raises(UnfitBackbone, match="towers=text leaves it out"):
        build_segmenter(resolve("lora")[0], backbone)


def test_the_list_of_methods_says_which_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows = {
        row["name"]: row
        for row in describe_methods(resolve("everything"), str(write_folder(tmp_path, RESNET)), None, {})
    }
    assert {name for name, row in rows.items() if "ledger" in row} == USED_ON
    assert "ResNet" in rows["lora"]["refused"]


def test_connect_can_stay_random_and_frozen_or_be_left_out() -> None:
    trained = build_segmenter(resolve("etris")[0], small(RESNET)).ledger()
    frozen = build_segmenter(resolve("etris")[0], small(RESNET), options={"resnet.connect": "frozen"})
    size = 256 * 40 + 2 * 40
    assert trained["head"] - frozen.ledger()["head"] == frozen.ledger()["frozen"] - trained["frozen"] == size
    before = {n: b.clone() for n, b in frozen.vision.state_dict().items()}
    frozen.train()(*inputs(size=RESNET_SIZE))
    assert all(torch.equal(b, before[n]) for n, b in frozen.vision.state_dict().items())
    without = build_segmenter(resolve("etris")[0], small(RESNET), options={"resnet.connect": "none"}).eval()
    assert trained["head"] - without.ledger()["head"] == size
    assert without.ledger()["frozen"] == trained["frozen"]
    with torch.no_grad():
        assert (walk(without.vision, without.text, Hooks(), *inputs(size=RESNET_SIZE)).levels[2] < 0).any()


def test_batchnorms_can_see_batches_while_the_rest_trains() -> None:
    """As in the public code: normalised by the batch, and the running statistics follow it."""
    model = build_segmenter(resolve("etris")[0], small(RESNET), options={"resnet.batchnorm": "train"}).train()
    norm, seen = model.vision.visual.bn1, []
    norm.register_forward_hook(lambda module, given, out: seen.append((given[0].clone(), out.clone())))
    model(*inputs(size=RESNET_SIZE))
    (x, y), mean = seen[0], seen[0][0].mean((0, 2, 3))
    spread = x.var((0, 2, 3), unbiased=False)
    expected = (x - mean[:, None, None]) / (spread + norm.eps).sqrt()[:, None, None]
    torch.testing.assert_close(y, expected * norm.weight[:, None, None] + norm.bias[:, None, None])
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    assert not any(m.training for m in model.eval().vision.modules())
    with pytest.raises(UnfitBackbone, match="not a ResNet"):
        build_segmenter(resolve("etris")[0], small(), options={"resnet.batchnorm": "train"})
