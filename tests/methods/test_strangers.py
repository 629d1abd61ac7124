"""A stranger's method is one file, whichever hook it uses: each of these overrides one hook and is felt or heard."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from barbench.methods.build import build_segmenter
from barbench.methods.catalog import METHODS
from barbench.methods.resolve import resolve
from barbench.models.hooks import Hooks
from tests.models.small import inputs, small

HEAD = """
import torch
from torch import nn
from barbench.methods.base import Component
from barbench.methods.catalog import method


class Mine(Component):
    label = "Mine"

    def attach(self, backbone):
        self.gain = nn.Parameter(torch.ones(1))
        self.guest = nn.Parameter(torch.ones(1, 1, backbone.text.width))
        self.heard = []

{body}

@method(title="Mine")
def mine():
    return (Mine(),)
"""
BODIES = {
    "attach": "",
    "trains": "def trains(self, name, parameter):\n    return name == 'vision.visual.ln_post.weight'",
    "weights": "def weights(self):\n    return {'vision.visual.ln_post.weight': self.gain.expand(64) * 2}",
    "calibrates": "def calibrates(self):\n    return True",
    "calibrate": "def calibrate(self, losses):\n    self.heard.append(sum(1 for _ in losses(3)))",
    "notes": "def notes(self, references):\n    return [f'of {references} references']",
    "head_parameters": "def head_parameters(self):\n    return [self.gain]",
    "tapped": "def tapped(self):\n    return frozenset({0})\n"
    "def fuse(self, query, trace):\n    return super().fuse(query * self.gain * trace.taps[0].abs().mean() * 3, trace)",
    "tapped_tokens": "def tapped_tokens(self):\n    return frozenset({('vision', 2), ('text', -1)})\n"
    "def readout(self, trace, carry):\n"
    "    self.heard.extend(x.shape[1] for x in trace.tokens.values())\n    return trace",
    "text_independent_steps": "def text_independent_steps(self, steps):\n    return steps\n"
    "def shortcut(self, site, x):\n    return x * self.gain",
    "order": "def order(self):\n    return 'text first'\n"
    "def after_text(self, words, carry):\n    carry[self] = (words,)\n"
    "def branch(self, site, x, xn, delta, carry):\n"
    "    return delta + carry[self][0].abs().mean() * xn * self.gain if site.tower == 'vision' else delta",
    "before_block": "def before_block(self, step, vision, text, carry):\n"
    "    guests = self.guest.expand(len(text.tokens), -1, -1)\n"
    "    return vision, text.insert('mine', guests) if step.text is not None else text",
    "inside_block": "def inside_block(self, phase, vision, text, carry):\n    self.heard.append(phase)",
    "phases": "def phases(self):\n    return frozenset({'mlp'})\n"
    "def inside_block(self, phase, vision, text, carry):\n    self.heard.append(phase)",
    "project": "def project(self, site, role, x, y, carry):\n    return y * (2 * self.gain) if role == 'q' else y",
    "projects": "def projects(self):\n    return frozenset({('vision', 'act')})\n"
    "def project(self, site, role, x, y, carry):\n    self.heard.append(role)\n    return y * (2 * self.gain)",
    "branch": "def branch(self, site, x, xn, delta, carry):\n    return delta + xn * self.gain",
    "shortcut": "def shortcut(self, site, x):\n    return x * (2 * self.gain)",
    "after_stage": "def after_stage(self, stage, vision, text, carry):\n"
    "    return vision.with_body(vision.body * (2 * self.gain)), text",
    "after_text": "def after_text(self, words, carry):\n    self.heard.append(tuple(words.shape))",
    "readout": "def readout(self, trace, carry):\n    return trace._replace(words=trace.words * (2 * self.gain))",
    "fuse": "def fuse(self, query, trace):\n    return super().fuse(query * (2 * self.gain), trace)",
}
SILENT = {
    "attach",
    "trains",
    "calibrates",
    "calibrate",
    "notes",
    "head_parameters",
    "tapped_tokens",
    "text_independent_steps",
    "inside_block",
    "phases",
    "after_text",
}


@pytest.fixture
def forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = dict(METHODS._values)
    yield
    METHODS._values.clear()
    METHODS._values.update(known)


def test_every_hook_is_written_once() -> None:
    assert set(BODIES) == {hook for hook in vars(Hooks) if not hook.startswith("_")}


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize("hook", BODIES)
def test_a_file_with_this_hook_is_a_method(hook: str, tmp_path: Path) -> None:
    body = "".join(f"    {line}\n" for line in BODIES[hook].splitlines())
    module = f"stranger_{hook}"
    (tmp_path / f"{module}.py").write_text(HEAD.format(body=body))
    (spec,) = resolve(f"{module}:mine")
    assert (spec.name, spec.kind) == ("mine", "own")
    model, plain = build_segmenter(spec, small()), build_segmenter(resolve("head-only")[0], small())
    with torch.no_grad():
        ours, theirs = model.eval()(*inputs()).logits, plain.eval()(*inputs()).logits
    assert torch.allclose(ours, theirs, atol=1e-6) == (hook in SILENT)
    assert model.ledger()["adapter"] + model.ledger()["head"] - plain.ledger()["head"] >= 1
    if model.method.calibrates():
        model.method.calibrate(lambda count: iter(ours.unbind()[:count]))
    assert model.method.notes(3) == (["of 3 references"] if hook == "notes" else [])
    heard = model.method.components[0].heard
    told = {"tapped_tokens": {37, 9}, "projects": {"act"}, "after_text": {(3, 9, 64)}, "calibrate": {3}}
    told |= {"inside_block": {"out", "mlp"}, "phases": {"mlp"}}
    assert told.get(hook, set()) == set(heard)
