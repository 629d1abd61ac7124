"""Names of the places in the encoders, as options of methods have them. Torch is not needed to check a name."""

from typing import Literal

TowerName = Literal["vision", "text"]
Branch = Literal["attn", "mlp"]
LinearRole = Literal["q", "k", "v", "out", "up", "gate", "down"]
Role = LinearRole | Literal["norm", "act"]

Connect = Literal["train", "frozen", "none"]
"""What becomes of a ResNet's `connect`, which no CLIP checkpoint holds."""

BatchNorms = Literal["keep", "train"]
"""Whether a ResNet's BatchNorms keep their statistics or use those of the batch."""

PositionRule = Literal["hub", "detris", "hf"]
"""How DINOv2's positions are fitted to another grid: as by its authors, by DETRIS, or by Hugging Face."""
