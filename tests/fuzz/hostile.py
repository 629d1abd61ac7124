"""Folders that somebody broke, on purpose or not: changes to the hand-written REFER folder, drawn by hypothesis."""

import json
import pickle
import struct
import zlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
from hypothesis import strategies as st

from tests.datasets.refer_folder import HEIGHT, REFS, WIDTH, box, instances, pixels, python2

Draw = st.DrawFn
REFS_FILE, INSTANCES_FILE, IMAGES = "refcoco/refs(unc).p", "refcoco/instances.json", "images/train2014"
NAMES = [f"{IMAGES}/COCO_train2014_{i:012}.jpg" for i in (1, 9, 3, 4)]

TEXTS = [
    *("", " ", "\x00", "\x1b[2J\x1b[31m", "a\u202eb", "\ud800", "\udcff", "\u2028", "café", "日本", "NaN", "1e5", "-1"),
    *("../../etc/passwd", "/etc/passwd", "..", "COCO_train2014_000000000001.jpg/", "C:\\x", "a" * 255, "a" * 1_000),
    *("<script>alert(1)</script>", "\\input{/etc/passwd}", "| a | b |", "%s %d {0}", "train", "testA"),
]
NUMBERS = [
    *(0, 1, -1, 2, 101, 2**15, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1e-320, 1e9, 1e18, 1e300, float("nan"), float("inf"), float("-inf")),
]
SCALARS: list[Any] = [*TEXTS, *NUMBERS, None, True, False]
LONG = ["a" * 1_000_000, "word " * 200_000, "é" * 300_000, "x-" * 500_000, "ab" * 400_000]


def deep(levels: int, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """Lists or mappings, `levels` of them, one in another."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


def wide(levels: int) -> Any:
    """A value of 2^levels leaves in `levels` lists: each holds the one before twice."""
    value: Any = ["leaf"]
    for _ in range(levels):
        value = [value, value]
    return value


values = st.one_of(
    st.sampled_from(SCALARS),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.lists(st.sampled_from(SCALARS), max_size=6),
    st.dictionaries(st.sampled_from(["id", "counts", "size", "sent", "sent_id"]), st.sampled_from(SCALARS), max_size=3),
    st.builds(deep, st.integers(1, 300), st.sampled_from([list, dict])),
)
numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(-100, 1_000), st.floats(-100, 1_000), st.floats())


@st.composite
def polygons(draw: Draw) -> Any:
    """Parts of any length, with coordinates near, far and impossible."""
    return draw(st.lists(st.lists(numbers, max_size=12), max_size=4))


@st.composite
def run_lengths(draw: Draw) -> Any:
    """RLE whose size and runs lie, compressed and not."""
    size = draw(
        st.sampled_from([[HEIGHT, WIDTH], [WIDTH, HEIGHT], [0, 0], [-1, -1], [2**31, 2**31], [HEIGHT], None, 5])
    )
    runs: Any = st.lists(st.one_of(st.integers(0, HEIGHT * WIDTH), numbers), max_size=8)
    code = st.one_of(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30), st.text(max_size=8))
    counts = draw(st.one_of(runs, code, values, st.sampled_from(["o" * 100_000, "P" * 9, [HEIGHT * WIDTH], [0] * 999])))
    return {"size": size, "counts": counts}


segmentations = st.one_of(polygons(), run_lengths(), values, st.just([box(2, 3, 8, 6), [1e300] * 6]))


@st.composite
def edited(draw: Draw, tree: Any) -> Any:
    """`tree` with one place replaced, removed, doubled, or filled from elsewhere in it."""
    tree = deepcopy(tree)
    node, steps = tree, draw(st.integers(1, 6))
    for _ in range(steps):
        if not isinstance(node, list | dict) or not node:
            break
        parent = node
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        node = parent[key]
    action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "move"]))
    if action == "replace":
        parent[key] = draw(values)
    elif action == "remove":
        del parent[key]
    elif action == "double" and isinstance(parent, list):
        parent.append(deepcopy(node))
    else:
        parent[key] = deepcopy(draw(st.sampled_from(list(tree.values()) if isinstance(tree, dict) else tree)))
    return tree


@st.composite
def damaged(draw: Draw, content: bytes) -> bytes:
    """`content` with bytes changed, put in, cut out or cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        action = draw(st.sampled_from(["set", "set", "insert", "cut", "end"]))
        if action == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif action == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif action == "cut":
            del data[at : at + draw(st.integers(1, 200))]
        else:
            del data[at:]
    return bytes(data)


def small_bombs() -> list[bytes]:
    """Pickles of a few bytes that ask for much: memo entries, text, bytes and frames of gigabytes; values without end
    where an id or a text is due."""
    ask = [b"r" + struct.pack("<I", n) for n in (2**24, 2**30, 2**32 - 1)]
    ask += [code + struct.pack("<Q", 2**40) for code in (b"\x8d", b"\x8e", b"\x95", b"\x96")]
    ask += [code + struct.pack("<I", 2**31 - 1) for code in (b"X", b"T", b"B")]
    entry = {**REFS[0], "sentences": [{"sent_id": 1, "sent": "x"}], "file_name": "x", "split": "train"}
    nested = [{**entry, key: wide(60)} for key in ("ref_id", "split", "category_id", "sentences")]
    return [b"\x80\x04]" + part + b"." for part in ask] + [pickle.dumps([value], 2) for value in nested]


def wrong_images() -> list[bytes]:
    """What is no JPEG of 40x30 pixels: other formats, headers that promise gigabytes, text."""
    shot = pixels(1)
    encoded = [cv2.imencode(kind, shot)[1].tobytes() for kind in (".png", ".bmp", ".tiff", ".webp", ".ppm", ".jpg")]
    jpeg, frame = encoded[-1], encoded[-1].index(b"\xff\xc0")
    huge = jpeg[: frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9 :]
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    flat = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT" + b"\x00" * 13
    gif = b"GIF89a\xff\xff\xff\xff\x80\x00\x00" + b"\x00" * 20
    return [*encoded, huge, flat, gif, b"<html>404</html>", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"%PDF-1.4", b""]


BOMBS, WRONG = small_bombs(), wrong_images()
DEEP_JSON = [b"[" * 100_000, b'{"images":' + b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900]
JPEG = cv2.imencode(".jpg", pixels(1))[1].tobytes()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def changes(draw: Draw) -> dict[str, bytes]:
    """Contents of one to three of the folder's files, by their paths under its root."""
    kinds = ["refs", "refs bytes", "bomb", "instances", "instances bytes", "segmentation", "image", "expression"]
    made: dict[str, bytes] = {}
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True)):
        if kind == "refs":
            made[REFS_FILE] = pickle.dumps(draw(edited(TEXT_REFS)), draw(st.integers(0, 5)))
        elif kind == "refs bytes":
            made[REFS_FILE] = draw(damaged(draw(st.sampled_from(PICKLES))))
        elif kind == "bomb":
            made[REFS_FILE] = draw(st.sampled_from(BOMBS))
        elif kind == "instances":
            made[INSTANCES_FILE] = as_json(draw(edited(instances())))
        elif kind == "instances bytes":
            made[INSTANCES_FILE] = draw(st.one_of(damaged(as_json(instances())), st.sampled_from(DEEP_JSON)))
        elif kind == "segmentation":
            value = instances()
            draw(st.sampled_from(value["annotations"]))["segmentation"] = draw(segmentations)
            made[INSTANCES_FILE] = as_json(value)
        elif kind == "image":
            made[draw(st.sampled_from(NAMES))] = draw(st.one_of(damaged(JPEG), st.sampled_from(WRONG)))
        else:
            refs = deepcopy(TEXT_REFS)
            sentence = draw(st.sampled_from(draw(st.sampled_from([r for r in refs if r["sentences"]]))["sentences"]))
            sentence["sent"] = draw(st.one_of(st.text(), st.sampled_from(TEXTS), st.sampled_from(LONG)))
            made[REFS_FILE] = pickle.dumps(refs, 2)
    return made


def _texts(value: Any) -> Any:
    """The hand-written references with Python 3's text, so that any value can be put beside it."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, list):
        return [_texts(v) for v in value]
    return {k: _texts(v) for k, v in value.items()} if isinstance(value, dict) else value


TEXT_REFS: list[dict[str, Any]] = _texts(REFS)
PICKLES = [python2(REFS), *(pickle.dumps(TEXT_REFS, protocol) for protocol in range(6))]


def write(root: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
