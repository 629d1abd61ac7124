"""open_clip's models, which hold both encoders: how the families that it has are built and filled."""

from typing import Any

from open_clip.model import CLIP, CustomTextCLIP, convert_to_custom_text_state_dict, resize_pos_embed

from barbench.errors import DataError
from barbench.models.towers.builder import State
from barbench.spec.backbone import BackboneConfig


def build_model(config: BackboneConfig, image_size: int) -> Any:
    """open_clip's model with random weights; a ResNet keeps its own image size, see `ResNetVision`."""
    model = dict(config.model)
    if config.transformer:
        model["vision_cfg"] = {**model["vision_cfg"], "image_size": image_size}
    custom_text = bool(model.pop("custom_text", False))
    return CustomTextCLIP(**model) if custom_text else CLIP(**model)


def fill_model(clip: Any, state: State, file: str, antialias: bool) -> None:
    """Load weights strictly after resizing the vision positions.

    Args:
        clip: open_clip's model, changed in place.
        state: tensors by open_clip's names.
        file: where they come from, for messages.
        antialias: whether positions are resampled with antialiasing.

    Raises:
        DataError: if they do not fit; it names `file`.
    """
    if isinstance(clip, CustomTextCLIP):
        state = convert_to_custom_text_state_dict(state)
    try:
        resize_pos_embed(state, clip, antialias=antialias)
    except (RuntimeError, AttributeError) as error:
        raise DataError(f"the positions in {file} do not fit the backbone: {error}") from None
    if found := differences(state, clip.state_dict()):
        raise DataError(f"the weights in {file} do not fit the backbone: {'; '.join(found)}")
    clip.load_state_dict(state)


def differences(given: State, wanted: State) -> list[str]:
    """How two sets of parameters differ in names and sizes, each kind with its number and its first."""
    absent = [name for name in wanted if name not in given]
    other = [name for name in given if name not in wanted]
    sizes = [name for name in wanted if name in given and wanted[name].shape != given[name].shape]
    # One example of each kind says more than a list of hundreds.
    found = []
    if absent:
        found.append(f"{len(absent)} parameters are absent, the first is {absent[0]}")
    if other:
        found.append(f"{len(other)} are not the backbone's, the first is {other[0]}")
    if sizes:
        name = sizes[0]
        has = tuple(given[name].shape)
        wants = tuple(wanted[name].shape)
        found.append(f"{len(sizes)} have another size, the first is {name}: {has} instead of {wants}")
    return found
