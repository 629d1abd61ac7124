"""The LMDB files that CRIS, ETRIS and their kin train from: `lmdb/<data set>/<split>.lmdb`. For `barbench data import`.

As `tools/folder2lmdb.py` of DerrickWang005/CRIS.pytorch writes them at 664b984: under the keys b"0", b"1", … a dict
{img, mask (the files' bytes), cat, seg_id (the release's ref_id), img_name, num_sents, sents}, and the lists of keys
under `__keys__` and `__len__`. Values are written with `pyarrow.serialize`, which pyarrow itself has not been able to
read since version 12, or with pickle in forks that have left it. Neither ann_id nor sent_id is kept.

What `pyarrow.serialize` writes (Arrow's cpp/src/arrow/python/serialize.cc at 11.0): counts of tensors and buffers as
int32, then, aligned to 8 bytes, an Arrow stream of one record batch with one column, a union of the kinds of values,
where a dict is a list of structs, keys and vals. Arrow's reader of streams does the rest.
"""

from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from barbench.datasets.entries import naming
from barbench.datasets.importers.mask_file import decode_mask
from barbench.datasets.importers.mask_folder import coco_category
from barbench.datasets.importers.names import known_split
from barbench.datasets.importers.pictures import SourceImage, coco_name
from barbench.datasets.importers.writer import Given, ImportedObject, ImportedReference, Items
from barbench.datasets.pickles import loads_plain
from barbench.errors import DataError, UsageError
from barbench.values import listed, read_key, text, whole

CONTINUATION = b"\xff\xff\xff\xff"  # begins every message of an Arrow stream
HEADER = 64  # bytes within which the stream begins


def items(path: Path, given: Given) -> Items:
    """The references of a file `<split>.lmdb`, or of a folder of that name with `data.mdb` in it."""
    name = path.name.split(".")[0]
    split = known_split(name, given.partition)
    if split is None:
        yield f"{path.name} is left out: {name} is no split of {given.partition.name}"
        return
    for key, value in _values(path):
        with naming(f"{path}, entry {key}"):
            entry = decoded(value)
            # The image and the mask are files in the entry.
            name = coco_name(read_key(entry, "img_name", text))
            picture = SourceImage(name, read_key(entry, "img", _bytes))
            mask = decode_mask(read_key(entry, "mask", _bytes), "of the entry")
            sentences = [(None, text(sentence)) for sentence in read_key(entry, "sents", listed)]
            ref_id = read_key(entry, "seg_id", whole)
            meant = ImportedObject(mask, category=read_key(entry, "cat", coco_category, absent=0))
            yield ImportedReference(split, picture, meant, sentences, ref_id)


def rows(path: Path) -> int:
    """Count the references of a file; 0 for one that cannot be read, which `items` will say."""
    try:
        with _opened(path) as store:
            return max(0, int(store.stat()["entries"]) - 2)
    except (DataError, UsageError):
        return 0


def _values(path: Path) -> Iterator[tuple[int, bytes]]:
    with _opened(path) as store, store.begin() as transaction:
        # Beside the entries there are the lists of keys, whose names are no numbers.
        numbers = []
        for key in transaction.cursor().iternext(values=False):
            if bytes(key).isdigit():
                numbers.append(int(bytes(key)))
        for number in sorted(numbers):
            yield number, transaction.get(str(number).encode())


def _opened(path: Path) -> Any:
    try:
        lmdb: Any = import_module("lmdb")
    except ImportError:
        raise UsageError("LMDB files need lmdb: pip install 'barbench[lmdb]'") from None
    try:
        return lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, create=False)
    except Exception as error:
        raise DataError(f"{path} is not an LMDB file that can be read: {error}") from error


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("it holds no bytes")
    return value


def decoded(value: bytes) -> dict[str, Any]:
    """Read one entry, as `pyarrow.serialize` or pickle wrote it; ValueError if it is neither, or no dict."""
    pickled = value[:1] == b"\x80"  # as every pickle of partition 2 or later begins
    entry = loads_plain(value) if pickled else _from_arrow(value)
    if not isinstance(entry, dict):
        raise ValueError(f"it is a {type(entry).__name__} and no dict")
    return entry


def _from_arrow(value: bytes) -> Any:
    try:
        pyarrow: Any = import_module("pyarrow")
    except ImportError:
        raise UsageError("these LMDB files were written with pyarrow: pip install 'barbench[parquet]'") from None
    # What precedes the stream is pyarrow's own.
    begin = value.find(CONTINUATION, 0, HEADER)
    if begin < 0:
        raise ValueError("it is neither pyarrow's serialisation nor a pickle")
    try:
        batch = pyarrow.ipc.open_stream(BytesIO(value[begin:])).read_next_batch()
        [found] = batch.column(0).to_pylist()
    except Exception as error:  # pyarrow has a dozen of its own
        raise ValueError(f"pyarrow's serialisation cannot be read: {error}") from error
    return _plain(found)


def _plain(value: Any) -> Any:
    """A dict from its list of keys with values, at every depth."""
    if not isinstance(value, list):
        return value
    if value and all(isinstance(entry, dict) and entry.keys() == {"keys", "vals"} for entry in value):
        return {_plain(entry["keys"]): _plain(entry["vals"]) for entry in value}
    return [_plain(entry) for entry in value]
