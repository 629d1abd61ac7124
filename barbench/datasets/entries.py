"""Entries that the public files share with each other: an image's size, a category, a sentence."""

from typing import Any

from barbench.datasets.untrusted import image_size
from barbench.values import listed, read_entries, read_key, shown, text, whole


def read_size(entry: Any) -> tuple[int, int]:
    """Read the size of an image from its entry.

    Args:
        entry: with `width` and `height`.

    Returns:
        Width and height in pixels.

    Raises:
        ValueError: if one is absent or no whole number, which is named, or for a size that is not read.
    """
    return image_size(read_key(entry, "width", whole), read_key(entry, "height", whole))


def read_categories(raw: dict[str, Any]) -> dict[int, str]:
    """Read the categories of COCO's instances file.

    Args:
        raw: the file's contents; `categories` may be absent.

    Returns:
        Names by id.

    Raises:
        ValueError: for an entry that cannot be used, which is named.
    """
    entries: list[Any] = read_key(raw, "categories", listed, absent=[])
    return dict(read_entries(entries, "categories", lambda c: (read_key(c, "id", whole), read_key(c, "name", text))))


def read_sentence(entry: Any) -> tuple[int, str]:
    """Read a sentence of a reference.

    Args:
        entry: with `sent_id` and `sent`.

    Returns:
        Id and text, as it is written there.

    Raises:
        ValueError: if one is absent or cannot be used, which is named.
    """
    return read_key(entry, "sent_id", whole), read_key(entry, "sent", text)


# How data sets with absent targets say that an expression means nothing in its image.
ABSENT: dict[str, tuple[Any, ...]] = {
    "exist": (False, "false", "False"),  # a sentence of R-RefCOCO
    "source": ("zero",),  # a reference of Ref-ZOM; its ann_id may be filled all the same
    "no_target": (True, "true", "True"),  # a reference of gRefCOCO
}


def refuse_absent(reference: Any) -> None:
    """Refuse a reference that names an object although it says, itself or in a sentence, that it means nothing.

    Read as if it meant the object, a model would be scored against what it should not find.

    Raises:
        ValueError: the key is named.
    """
    if not isinstance(reference, dict):
        return
    sentences = reference.get("sentences")
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
