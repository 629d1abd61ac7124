"""Files of pretrained weights, without torch: which one a folder means, what is none, and what lies beside it."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from barbench.errors import DataError, MissingData

SHARD_INDEX = ".index.json"
"""End of the name of a file that lists the shards of weights, as Hugging Face writes it."""
FOLDER_FILES = (
    *("model.safetensors", f"model.safetensors{SHARD_INDEX}", "open_clip_model.safetensors"),
    *("pytorch_model.bin", f"pytorch_model.bin{SHARD_INDEX}", "open_clip_pytorch_model.bin"),
)
"""Weights in a model folder of Hugging Face, the likeliest first."""
HUB_CONFIG, OPEN_CLIP_CONFIG = "config.json", "open_clip_config.json"
_BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with `git lfs pull`",
    b"<": "a web page, as a failed download leaves",
    b"{": "a JSON file",
    b"\x89HDF": "an HDF5 file, as TensorFlow and Keras write; save the weights from torch",
    b"\x93NUMPY": "a numpy array",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"GGUF": "a GGUF file of llama.cpp",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
}


def weights_file(weights: str) -> Path | None:
    """The file that `weights` means: itself, or the one of a model folder; None where it is neither.

    Raises:
        MissingData: for a folder without weights.
    """
    path = Path(weights)
    if path.is_file():
        return path
    if not path.is_dir():
        return None
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    if "/" not in weights:  # a tag that a folder here happens to be named like
        return None
    raise MissingData(f"--weights {weights}: the folder holds no weights, which are {', '.join(FOLDER_FILES)}")


def shards(file: Path) -> list[Path]:
    """The files that hold the tensors: those that an index lists, else `file` itself.

    Raises:
        DataError: for an index that is none, or lists a file outside its folder.
        MissingData: where a shard is not there.
    """
    if not file.name.endswith(SHARD_INDEX):
        return [file]
    names = _read_json(file).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise DataError(f"{file} holds no `weight_map`, and so lists no shards of weights")
    # Somebody else wrote the index: it may name any file.
    found = []
    for name in sorted(set(map(str, names.values()))):
        shard = file.parent / name
        if Path(name).name != name:
            raise DataError(f"{file} lists the shard {name!r}, which is outside its folder")
        if not shard.is_file():
            raise MissingData(f"{file} lists the shard {name}, which is not there")
        found.append(shard)
    return found


def without_digests(identity: str) -> str:
    """The names in what stands for weights in a cell.

    >>> without_digests("vit.pth@0a1b2c3d,openai")
    'vit.pth,openai'
    """
    return ",".join(part.partition("@")[0] for part in identity.split(","))


def digests(identity: str) -> list[str]:
    """The hashes in what stands for weights in a cell; of a tag, the tag.

    >>> digests("vit.pth@0a1b2c3d,openai")
    ['0a1b2c3d', 'openai']
    """
    return [part.rpartition("@")[2] for part in identity.split(",")]


def digest(file: Path) -> str:
    """SHA-256 of the weights, over all shards in order."""
    found = hashlib.sha256()
    for shard in shards(file):
        with shard.open("rb") as opened:
            while part := opened.read(2**20):
                found.update(part)
    return found.hexdigest()


def not_weights(file: Path) -> str | None:
    """Why a file that is commonly mistaken for weights is none; None where it may be weights."""
    if file.name.endswith(SHARD_INDEX):
        return None
    with file.open("rb") as opened:
        start = opened.read(512)
    # Text files begin with words, others with a signature.
    text = start.lstrip()
    if not text:
        return "empty"
    for beginning, kind in _BEGINNINGS.items():
        if start.startswith(beginning) or text.startswith(beginning):
            return kind
    if start.startswith(b"\x08") and any(maker in start[:64] for maker in (b"pytorch", b"onnx", b"tf2onnx", b"keras")):
        return "an ONNX model; take the weights that it was made from"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it"
    if start.startswith(b"PK") and zipfile.is_zipfile(file):
        return _not_torch(file)
    return None


def _not_torch(file: Path) -> str | None:
    """What a zip archive holds that torch did not write; None for torch's own files, which are such archives."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of numpy arrays"
    return "a zip archive; unpack it"


def activation(file: Path) -> str | None:
    """The activation of the model that a file's weights are of, by the configuration beside it: gelu, quick_gelu, …

    None where none lies there that says so. `gelu and quick_gelu` where its towers differ.
    """
    # Where both lie there, the one in whose style the file is named comes first.
    order = [HUB_CONFIG, OPEN_CLIP_CONFIG]
    if file.name.startswith("open_clip"):
        order.reverse()
    for name in order:
        beside = file.parent / name
        if not beside.is_file():
            continue
        content = _read_json(beside)
        found = _of_open_clip(content) if name == OPEN_CLIP_CONFIG else _of_hugging_face(content)
        if found is not None:
            return found
    return None


def _of_open_clip(content: dict[str, Any]) -> str | None:
    model = content.get("model_cfg", content)
    if not isinstance(model, dict) or "vision_cfg" not in model:
        return None
    return "quick_gelu" if model.get("quick_gelu") else "gelu"


def _of_hugging_face(content: dict[str, Any]) -> str | None:
    """Of a `CLIPConfig`, which leaves out what is its default, QuickGELU."""
    if content.get("model_type") != "clip":
        return None
    found = set()
    for part in ("vision_config", "text_config"):
        sizes = content.get(part)
        given = sizes.get("hidden_act") if isinstance(sizes, dict) else None
        found.add(str(given or "quick_gelu"))
    return " and ".join(sorted(found))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {file}: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no JSON object")
    return content
