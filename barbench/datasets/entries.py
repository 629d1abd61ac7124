"""Entries that the public files share with each other: an image's size, a category, a sentence. Faults in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from barbench.datasets.untrusted import image_size
from barbench.errors import DataError
from barbench.values import listed, read_entries, read_key, shown, text, whole

UNREADABLE: Final = (OSError, ValueError, RecursionError)
"""What reading a file of JSON raises."""


@contextmanager
def naming(where: str, faults: tuple[type[Exception], ...] = (ValueError,)) -> Iterator[None]:
    """Turn `faults` of the block into a DataError that begins with `where`: the place in a file, or what it is not."""
    try:
        yield
    except faults as error:
        raise DataError(f"{where}: {error}") from error


def anything(value: Any) -> Any:
    """A value as it is: `read_key(entry, key, anything)` asks only that it is there."""
    return value


def read_size(entry: Any) -> tuple[int, int]:
    """Width and height of an image in pixels, from its entry; ValueError if one is absent or no whole number, which is
    named, or for a size that is not read."""
    return image_size(read_key(entry, "width", whole), read_key(entry, "height", whole))


def read_categories(raw: dict[str, Any]) -> dict[int, str]:
    """Names of COCO's categories by id, from an instances file, which may have none; ValueError for an entry that
    cannot be used, which is named."""
    entries: list[Any] = read_key(raw, "categories", listed, absent=[])
    return dict(read_entries(entries, "categories", _category))


def _category(entry: Any) -> tuple[int, str]:
    return read_key(entry, "id", whole), read_key(entry, "name", text)


def read_sentence(entry: Any) -> tuple[int, str]:
    """Id and text of a sentence, as it is written in its entry; ValueError if one is absent or cannot be used, which is
    named."""
    return read_key(entry, "sent_id", whole), read_key(entry, "sent", text)


# How data sets with absent targets say that an expression means nothing in its image.
ABSENT: dict[str, tuple[Any, ...]] = {
    "exist": (False, "false", "False"),  # a sentence of R-RefCOCO
    "source": ("zero",),  # a reference of Ref-ZOM; its ann_id may be filled all the same
    "no_target": (True, "true", "True"),  # a reference of gRefCOCO
}


def refuse_absent(reference: Any) -> None:
    """Refuse a reference that names an object although it says, itself or in a sentence, that it means nothing: a
    ValueError names the key.

    Read as if it meant the object, a model would be scored against what it should not find.
    """
    if not isinstance(reference, dict):
        return
    sentences = reference.get("sentences")
    # Either the reference says so or one of its sentences.
    entries = [reference, *(sentences if isinstance(sentences, list | tuple) else ())]
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        for key, values in ABSENT.items():
            if entry.get(key, None) in values:
                raise ValueError(
                    f"{key!r} is {shown(entry[key])}: the expression means nothing in its image, and this data set has "
                    "an object for each expression. Of data sets with absent targets, gRefCOCO's form is read "
                    "(ann_id: [-1])"
                )
