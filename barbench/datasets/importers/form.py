"""The forms of a source, apart from what reads them, so that the command line names them without heavy imports."""

from enum import StrEnum


class Form(StrEnum):
    """What `barbench data import --form` takes."""

    zip = "zip"
    parquet = "parquet"
    lmdb = "lmdb"
    masks = "masks"
    mdetr = "mdetr"
    table = "table"
