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
from barbench.models.towers.configs import HeadSpec
from tests.models.small import inputs, small


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


@pytest.mark.parametrize("format_", ["etris", "cris", "barleria"])
def test_every_format_builds_the_model_that_it_came_from(format_: Format, tmp_path: Path) -> None:
    backbone = small("quickgelu", 1)
    head = HeadSpec(width=24, ffn=20, heads=4, layers=1, neck="cris" if format_ == "cris" else "etris")
    method = {"etris": "etris", "cris": "full", "barleria": "barleria-released"}[format_]
    trained = build_segmenter(resolve(method)[0], replace(backbone, head=head), 1).eval()
    release = read_release(save(tmp_path / "best_model.pth", public(trained, format_)), format_)
    fresh = with_head(small("quickgelu", 2), release)
    model = build_segmenter(resolve(release.method)[0], fresh, 2, release.options).eval()
    fill(model, release)
    with torch.no_grad():
        assert torch.equal(model(*inputs()).logits, trained(*inputs()).logits)


def test_resnets_are_refused(tmp_path: Path) -> None:
    state = {"neck.f1_v_proj.0.weight": torch.zeros(1), "backbone.visual.layer1.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(DataError, match="ResNet"):
        read_release(save(tmp_path / "r50.pth", state), "cris")


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
