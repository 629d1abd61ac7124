"""How a long piece of work tells its caller how far it is; `listing.progress_bar` draws it."""

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Called with how much is done and how much there is in total."""
