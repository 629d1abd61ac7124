"""Public checkpoints: read without running code, mapped completely, or refused with names."""

import pickle
from collections import Counter, OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from barbench.errors import DataError, UsageError
from barbench.methods.build import build_segmenter
from barbench.methods.released import Format, fill, key_map, read_release, with_head
from barbench.methods.resolve import resolve
from barbench.models.segmenter import Segmenter
from barbench.spec.backbone import HeadSpec
from tests.models.small import RESNET, RESNET_SIZE, SIZE, inputs, small


def etris(seed: int, **options: Any) -> Segmenter:
    """A small ETRIS with random weights."""
    return build_segmenter(resolve("etris")[0], small("quickgelu", seed), seed, {"bridge.dim": 16, **options})


def public(model: Segmenter, format_: Format = "etris") -> dict[str, Tensor]:
    """The state dict as the public training script saves it, under DistributedDataParallel."""
    names = key_map(model, format_)
    state = {
        f"module.{name}": part
        for own, value in model.state_dict().items()
        for name, part in zip(names[own], value.chunk(len(names[own])) if value.ndim else [value], strict=True)
    }
    return OrderedDict({**state, "module.backbone.logit_scale": torch.tensor(4.6)})


def save(file: Path, state: dict[str, Tensor]) -> Path:
    """Write a checkpoint with the extras that the public training script adds."""
    extras = {"epoch": 50, "best_iou": 0.6, "prec": {"Pr@50": 0.7}, "scheduler": {"milestones": Counter({35: 1})}}
    torch.save({"state_dict": state, **extras}, file)
    return file


def test_an_etris_checkpoint_restores_the_outputs(tmp_path: Path) -> None:
    trained, fresh = etris(1).eval(), etris(2).eval()
    release = read_release(save(tmp_path / "best_model.pth", public(trained)), "etris")
    assert (release.method, release.options) == ("etris", {"bridge.dim": 16, "positional": "train"})
    fill(fresh, release)
    with torch.no_grad():
        assert torch.equal(fresh(*inputs()).logits, trained(*inputs()).logits)


@pytest.mark.parametrize(
    ("format_", "kind"),
    [("etris", "quickgelu"), ("cris", "quickgelu"), ("barleria", "quickgelu"), ("etris", RESNET), ("cris", RESNET)],
)
def test_every_format_builds_the_model_that_it_came_from(format_: Format, kind: str, tmp_path: Path) -> None:
    backbone, given = small(kind, 1), inputs(size=RESNET_SIZE if kind == RESNET else SIZE)
    head = HeadSpec(width=24, ffn=20, heads=4, layers=1, neck="cris" if format_ == "cris" else "etris")
    method = {"etris": "etris", "cris": "cris", "barleria": "barleria-released"}[format_]
    trained = build_segmenter(resolve(method)[0], replace(backbone, head=head), 1).eval()
    release = read_release(save(tmp_path / "best_model.pth", public(trained, format_)), format_)
    fresh = with_head(small(kind, 2), release)
    model = build_segmenter(resolve(release.method)[0], fresh, 2, release.options).eval()
    fill(model, release)
    with torch.no_grad():
        assert torch.equal(model(*given).logits, trained(*given).logits)


def test_the_public_names_of_a_resnet_are_there() -> None:
    """As `model/clip.py`, `model/bridger.py` and `model/layers.py` of kkakkkka/ETRIS (cdc6d8e) name them."""
    model = build_segmenter(resolve("etris")[0], small(RESNET), options={"positional": "train"})
    names = {name for sources in key_map(model, "etris").values() for name in sources}
    assert names >= {
        "backbone.visual.conv1.weight",
        "backbone.visual.bn1.running_var",
        "backbone.visual.layer2.0.downsample.0.weight",
        "backbone.visual.layer4.0.bn3.num_batches_tracked",
        "backbone.visual.attnpool.positional_embedding",
        "backbone.visual.attnpool.c_proj.bias",
        "backbone.visual.attnpool.connect.0.weight",
        "backbone.visual.attnpool.connect.1.running_mean",
        "backbone.transformer.resblocks.0.attn.in_proj_weight",
        "bridger.zoom_in.2.weight",
        "bridger.fusion_v.0.self_attn.in_proj_weight",
        "bridger.fusion_t.2.multihead_attn.out_proj.bias",
        "bridger.fusion_v.1.linear2.weight",
        "bridger.fusion_t.1.norm3.bias",
        "bridger.ln_v.1.weight",
        "neck.f3_proj.0.weight",
        "neck.f5_proj.1.running_var",
        "proj.vis.1.0.weight",
    }


def test_a_checkpoint_of_the_other_kind_of_encoder_says_which_backbone_it_needs(tmp_path: Path) -> None:
    for kind, other, message in (("quickgelu", RESNET, "has a ViT .* ViT-B-16-"), (RESNET, "gelu", "ResNet .* RN50-")):
        model = build_segmenter(resolve("etris")[0], small(kind), options={"bridge.dim": 16})
        release = read_release(save(tmp_path / f"{kind}.pth", public(model)), "etris")
        with pytest.raises(DataError, match=message):
            with_head(small(other), release)


def test_what_is_missing_left_over_or_misshapen_is_named(tmp_path: Path) -> None:
    state = public(etris(1))
    state["module.bridger.extra"] = torch.zeros(1)
    del state["module.neck.txt_proj.weight"]
    with pytest.raises(DataError, match=r"missing: neck\.txt_proj\.weight; left over: bridger\.extra"):
        fill(etris(2), read_release(save(tmp_path / "a.pth", state), "etris"))
    state = public(etris(1))
    with pytest.raises(DataError, match=r"bridger\.zoom_in\.0\.0\.weight is \(16, 64, 1, 1\), not \(8, 64, 1, 1\)"):
        fill(etris(2, **{"bridge.dim": 8}), read_release(save(tmp_path / "b.pth", state), "etris"))
    head_only = build_segmenter(resolve("head-only")[0], small())
    with pytest.raises(DataError, match=r"left over: .*bridger\.zoom_in\.0\.0\.weight"):
        fill(head_only, read_release(tmp_path / "b.pth", "etris"))
    snf = build_segmenter(resolve("snf")[0], small())
    with pytest.raises((DataError, UsageError), match="flows"):
        fill(snf, read_release(tmp_path / "b.pth", "etris"))


class Malice:
    """A pickle that would run a command when it is loaded."""

    def __reduce__(self) -> Any:
        return (Path("never").touch, ())


def test_no_code_is_run_and_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malice()}, "malice.pth")
    Path("plain.pth").write_bytes(pickle.dumps(Malice()))
    Path("text.pth").write_text("weights")
    torch.save([1, 2], "list.pth")
    for file in ("malice.pth", "plain.pth", "text.pth", "list.pth", "absent.pth"):
        with pytest.raises(DataError, match=file):
            read_release(Path(file), "etris")
    assert not Path("never").exists()
    torch.save({"backbone.x": torch.zeros(1)}, "other.pth")
    with pytest.raises(DataError, match="no etris checkpoint"):
        read_release(Path("other.pth"), "etris")
