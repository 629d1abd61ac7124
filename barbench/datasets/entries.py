"""Entries that the public files share with each other: an image's size, a category, a sentence."""

from typing import Any

from barbench.datasets.untrusted import image_size
from barbench.values import read_entries, read_key, text, whole


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
    entries = raw.get("categories", [])
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
