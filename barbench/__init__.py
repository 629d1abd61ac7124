"""barbench compares parameter-efficient tuning methods for referring image segmentation: `barbench run --methods all
--split refcoco+`."""

__version__ = "0.1.0"
