"""Checkpoints as training code and failed downloads leave them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from barbench.benchmarks.matrix import identify_weights
from barbench.errors import DataError, MissingData, UsageError
from barbench.models.towers.load import load_backbone
from barbench.models.towers.weights import read_weights
from barbench.spec.backbone import backbone_config, check_weights
from barbench.spec.weights import digest, not_weights, weights_file
from tests.models.small import write_folder

STATE = {"a.weight": torch.arange(3.0), "b.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"model": STATE},
        {"epoch": 3, "model_state_dict": STATE},
        [STATE],
        {"epoch": np.int64(3), "best": np.float64(0.5), "state_dict": STATE},
        {"state_dict": {f"module.{name}": value for name, value in STATE.items()}},
        {f"_orig_mod.{name}": value for name, value in STATE.items()},
        {f"module._orig_mod.{name}": value for name, value in STATE.items()},
        {f"_orig_mod.module.{name}": value for name, value in STATE.items()},
        {name.replace(".", "._orig_mod."): value for name, value in STATE.items()},
        {"state_dict": {f"model.{name}": value for name, value in STATE.items()}},
        {f"_fsdp_wrapped_module.{name.replace('.', '._checkpoint_wrapped_module.')}": v for name, v in STATE.items()},
    ],
    ids=[
        *("bare", "model", "model_state_dict", "list", "numpy", "module"),
        *("compiled", "compiled in parallel", "parallel, compiled", "parts compiled", "lightning", "fsdp"),
    ],
)
def test_the_same_tensors_come_out_of_every_wrapping(wrapped: Any, tmp_path: Path) -> None:
    torch.save(wrapped, tmp_path / "w.pt")
    read = read_weights(tmp_path / "w.pt", backbone_config("tiny"))
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>403</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, as TensorFlow"),
        (b"\x08\x07\x12\x07pytorch" + bytes(99), "an ONNX model"),
        (b'{"model_type": "clip"}', "a JSON file"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"\x93NUMPY\1", "a numpy array"),
        (b"a.pt".ljust(257, b"\0") + b"ustar", "a tar archive"),
    ],
)
def test_what_is_found_in_the_place_of_weights_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_weights(tmp_path / "w.pt", backbone_config("tiny"))


def test_no_message_advises_to_run_the_code_in_a_file(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "config": Path("x")}, tmp_path / "w.pt")
    with pytest.raises(DataError) as caught:
        read_weights(tmp_path / "w.pt", backbone_config("tiny"))
    assert "weights_only" not in str(caught.value)
    assert "pathlib" in str(caught.value)


def test_a_zip_archive_is_no_weights_and_torchs_own_is(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.write(tmp_path / "w.pt", "w.pt")
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    assert not_weights(tmp_path / "w.pt") is None
    assert not_weights(tmp_path / "w.zip") == "a zip archive; unpack it"
    assert not_weights(tmp_path / "w.npz") == "an archive of numpy arrays"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A model folder of Hugging Face's, its weights in two files."""
    folder = tmp_path / "hf"
    folder.mkdir()
    names = {}
    for number, name in enumerate(STATE, 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: STATE[name]}, folder / shard)
        names[name] = shard
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder


def test_shards_are_read_by_their_index(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    assert weights_file(str(sharded)) == index
    read = read_weights(index, backbone_config("tiny"))
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)
    before = digest(index)
    save_file({"b.bias": torch.zeros(2)}, sharded / "model-00002-of-00002.safetensors")
    assert digest(index) != before, "a cell is another one where a shard is"
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingData, match=r"lists the shard model-00002-of-00002\.safetensors, which is not there"):
        read_weights(index, backbone_config("tiny"))


@pytest.mark.parametrize(("index", "says"), [("[]", "no JSON object"), ("{}", "weight_map"), ("", "cannot read")])
def test_an_index_that_is_none(index: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(DataError, match=says):
        read_weights(tmp_path / "model.safetensors.index.json", backbone_config("tiny"))


def test_an_index_reads_nothing_outside_its_folder(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    (tmp_path / "hf").mkdir()
    index = tmp_path / "hf" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "../w.pt"}}))
    with pytest.raises(DataError, match="outside its folder"):
        read_weights(index, backbone_config("tiny"))


def test_a_folder_is_its_weights_or_says_what_they_are_called(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sharded / "model.safetensors").write_bytes(b"whole")
    assert weights_file(str(sharded)) == sharded / "model.safetensors"
    (tmp_path / "openai").mkdir()
    monkeypatch.chdir(tmp_path)
    assert weights_file("openai") is None, "a tag of open_clip"
    with pytest.raises(MissingData, match=r"the folder holds no weights, which are model\.safetensors, "):
        weights_file("./openai")
    assert identify_weights("tiny", "hf")[0].startswith("model.safetensors@")
    with pytest.raises(UsageError, match=r"no open_clip_config\.json.*--backbone NAME --weights hf"):
        backbone_config("hf")


CLIP_CONFIG = {"model_type": "clip", "vision_config": {}, "text_config": {}}
QUICK, PLAIN = {"hidden_act": "quick_gelu"}, {"hidden_act": "gelu"}


@pytest.mark.parametrize(
    ("name", "content", "fits", "not_to"),
    [
        ("config.json", CLIP_CONFIG | {"vision_config": QUICK, "text_config": QUICK}, "quickgelu", "gelu"),
        ("config.json", CLIP_CONFIG | {"vision_config": PLAIN, "text_config": PLAIN}, "gelu", "quickgelu"),
        ("config.json", CLIP_CONFIG, "quickgelu", "gelu"),
        ("config.json", CLIP_CONFIG | {"vision_config": PLAIN}, None, "gelu"),
        ("config.json", CLIP_CONFIG | {"vision_config": PLAIN}, None, "quickgelu"),
        ("config.json", {"model_type": "resnet"}, "gelu", None),
        ("open_clip_config.json", {"model_cfg": {"vision_cfg": {}, "quick_gelu": True}}, "quickgelu", "gelu"),
        ("open_clip_config.json", {"model_cfg": {"vision_cfg": {}}}, "gelu", "quickgelu"),
    ],
)
def test_weights_for_another_activation_are_refused(
    name: str, content: Any, fits: str | None, not_to: str | None, tmp_path: Path
) -> None:
    """They would load without a word, and give other features."""
    torch.save(STATE, tmp_path / "w.pt")
    (tmp_path / name).write_text(json.dumps(content))
    if fits is not None:
        check_weights(str(tmp_path / "w.pt"), backbone_config(str(write_folder(tmp_path / fits, fits))))
    if not_to is not None:
        other = str(write_folder(tmp_path / not_to, not_to))
        with pytest.raises(UsageError, match=r"holds weights of a model with .*gelu.*, and .* has (quick_)?gelu"):
            check_weights(str(tmp_path / "w.pt"), backbone_config(other))
        with pytest.raises(UsageError, match="features would be wrong"):
            load_backbone(other, str(tmp_path / "w.pt"))
