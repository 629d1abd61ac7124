"""The catalogue: names, options, methods from outside."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from barbench.errors import UnknownName, UsageError
from barbench.methods.bridge import Bridge
from barbench.methods.build import build_segmenter
from barbench.methods.catalog import METHODS, method
from barbench.methods.gst import GST
from barbench.methods.resolve import method_names, resolve
from barbench.methods.snf import SNF
from tests.models.small import inputs, small

PAPER = ["etris", "snf", "snf-etris", "no-global", "barleria"]
OWN = """
from torch import nn
from barbench.methods.base import Component
from barbench.methods.catalog import method


class Scale(Component):
    label = "Scale"

    def __init__(self, start: float = 1.0):
        super().__init__()
        self.scale = nn.Parameter(nn.init.constant_(nn.Parameter(__import__("torch").empty(1)), start))

    def shortcut(self, site, x):
        return x * self.scale


@method(title="My scale")
def my_scale(start: float = 1.0):
    return (Scale(start),)


def plain():
    return (Scale(),)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with methods in the working folder; registry and imports are restored afterwards."""
    (tmp_path / "own_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = dict(METHODS._values)
    yield "own_methods"
    METHODS._values.clear()
    METHODS._values.update(known)
    sys.modules.pop("own_methods", None)


def names(text: str) -> list[str]:
    """Names of the methods that `text` stands for."""
    return [spec.name for spec in resolve(text)]


def test_groups_and_lists() -> None:
    assert names("all") == ["head-only", *PAPER, "full"]
    assert names("everything") == method_names()
    assert set(names("everything")) >= {*PAPER, "head-only", "full"}
    assert names("snf, etris,snf") == ["snf", "etris"]
    assert names("full,all")[0] == "full"


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match="barleria"):
        resolve("barlera")
    with pytest.raises(UsageError):
        resolve(" , ")


def test_titles_and_compositions_are_the_papers() -> None:
    rows = {spec.title: spec.create().composition() for spec in resolve("all")}
    assert rows == {
        "Head only": [],
        "ETRIS": ["Bridge"],
        "SNF": ["SNF"],
        "SNF+ETRIS": ["SNF", "Bridge"],
        "No Global": ["SNF", "LIM"],
        "BarLeRIa": ["SNF", "LIM", "GST"],
        "Full fine-tuning": ["Full"],
    }


def test_options_reach_their_component() -> None:
    (barleria,) = resolve("barleria")
    made = barleria.create({"gst.prior": "off", "gst.modules": 2, "snf.flow": "hadamard", "snf.towers": ["text"]})
    snf, _, gst = made.components
    assert isinstance(snf, SNF)
    assert isinstance(gst, GST)
    assert (snf.flow, snf.towers, gst.prior, gst.depth) == ("hadamard", {"text"}, False, 2)
    (etris,) = resolve("etris")
    bridge = etris.create({"bridge.dim": 64, "positional": "train"}).components[0]
    assert isinstance(bridge, Bridge)
    assert bridge.dim == 64
    assert etris.create({"positional": "train"}).composition() == ["Bridge", "Positional"]


def test_a_list_of_words_is_written_with_pluses_on_a_command_line() -> None:
    (lora,) = resolve("lora")
    (made,) = lora.create({"lora.roles": "q+up", "lora.towers": "vision"}).components
    assert (made.roles, made.towers) == ({"q", "up"}, {"vision"})
    with pytest.raises(UsageError, match=r"lora\.roles"):
        lora.create({"lora.roles": "q+w"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gst.prio": False}, r"gst\.prio.*Known:.*prior"),
        ({"gst.modules": "many"}, r"gst\.modules.*a whole number from 1"),
        ({"snf.flow": "radial"}, r"snf\.flow.*planar"),
        ({"vpt.count": 3}, r"barleria\.vpt"),
        ({"gst": 3}, r"barleria\.gst"),
        ({"positional": "on"}, "positional"),
    ],
)
def test_wrong_options_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve("barleria")[0].create(options)


def test_method_from_a_module(package: str) -> None:
    for reference in (f"{package}:my_scale", f"{package}:my-scale"):
        (spec,) = resolve(reference)
        assert (spec.name, spec.title, spec.reference) == ("my-scale", "My scale", reference)
    model = build_segmenter(spec, small(), options={"start": 2.0})
    assert model.ledger()["adapter"] == 1
    image, ids = inputs()
    model(image, ids).logits.sum().backward()
    assert all(p.grad is not None for p in model.tuned_parameters().values())
    (plain,) = resolve(f"{package}:plain")
    assert plain.create().composition() == ["Scale"]


def test_modules_that_do_not_work_are_explained(package: str) -> None:
    with pytest.raises(UsageError, match="cannot import no_such_module"):
        resolve("no_such_module:thing")
    with pytest.raises(UnknownName, match="my_scale"):
        resolve(f"{package}:my_scales")
    Path("taken.py").write_text("def etris():\n    return ()\n")
    with pytest.raises(UsageError, match="taken"):
        resolve("taken:etris")
    Path("wrong.py").write_text("def (")
    with pytest.raises(UsageError, match="SyntaxError"):
        resolve("wrong:thing")
    Path("clash.py").write_text(OWN.replace("my_scale", "etris"))
    with pytest.raises(UsageError, match="registered twice"):
        resolve("clash:etris")


def test_method_from_an_entry_point(package: str, tmp_path: Path) -> None:
    info = tmp_path / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[barbench.methods]\nfancy = {package}:plain\n")
    sys.path.insert(0, str(tmp_path))
    assert "fancy" in method_names()
    (spec,) = resolve("fancy")
    assert (spec.name, spec.reference) == ("fancy", "fancy")
    assert "fancy" in names("everything")
    with pytest.raises(UnknownName, match="fancy"):
        resolve("fanci")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):

        @method(title="again")
        def etris() -> tuple[()]:
            return ()


def test_seed_decides_head_and_method() -> None:
    first, again, other = (build_segmenter(resolve("barleria")[0], small(), seed) for seed in (1, 1, 2))
    bare = build_segmenter(resolve("head-only")[0], small(), 1)
    same, different = first.state_dict(), other.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(same.values(), again.state_dict().values(), strict=True))
    head = [n for n in bare.state_dict() if n.startswith(("neck", "decoder", "projector"))]
    assert all(torch.equal(same[n], bare.state_dict()[n]) for n in head)  # one seed, one head, whatever the method
    assert not torch.equal(same["neck.aggr.0.weight"], different["neck.aggr.0.weight"])


def test_variants_say_so_in_their_title() -> None:
    """The title is what every table prints."""
    marked = {spec.name: spec.title for spec in METHODS if spec.variant}
    assert marked == {
        "snf-hadamard": "SNF (Hadamard)",
        "no-global-hadamard": "No Global (Hadamard)",
        "no-global-released": "No Global (released)",
        "barleria-released": "BarLeRIa (released)",
        "fish": "FISH mask",
        "lora-all": "LoRA, all maps",
        "two-way-prompts": "Two-way prompts",
        "cola": "CoLA (uniform)",
        "detris": "DETRIS (CLIP)",
    }
