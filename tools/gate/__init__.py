"""The repository's own gate, `python -m tools.gate check`: what a change to barbench must not move unseen."""
