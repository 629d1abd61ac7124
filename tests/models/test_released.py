"""Public checkpoints: read without running code, mapped completely, or refused with names."""

import pickle
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from barbench.errors import DataError, UsageError
from barbench.methods.resolve import build_segmenter, resolve
from barbench.models.released import fill, key_map, read_release
from barbench.models.segmenter import Segmenter
from tests.models.small import inputs, small


def etris(seed: int, **options: Any) -> Segmenter:
    return build_segmenter(resolve("etris")[0], small("quickgelu", seed), seed, {"bridge.dim": 16, **options})


def public(model: Segmenter) -> dict[str, Tensor]:
    """The state dict as the public training script saves it, under DistributedDataParallel."""
    state, names = model.state_dict(), key_map(model, "etris")
    return OrderedDict({f"module.{names[n][0]}": t for n, t in state.items()}) | {
        "module.backbone.logit_scale": torch.tensor(4.6)
    }


def save(file: Path, state: dict[str, Tensor]) -> Path:
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
