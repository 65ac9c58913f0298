"""The pages name what there is: every key of a recipe, every command, files that exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from nnabla_ofa.commands import COMMANDS
from nnabla_ofa.data import Augment, Data
from nnabla_ofa.experiment.recipe import Finetune
from nnabla_ofa.nets import Fixed, MobileNetV3, OfaResNet50, ProxylessNAS, ResNet20, Xception
from nnabla_ofa.training.settings import Stage, Train

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("settings", [Data, Augment, Train, Stage, Finetune, Xception, ResNet20, MobileNetV3,
                                      ProxylessNAS, OfaResNet50, Fixed])
def test_recipes_page_documents_every_key_with_its_default(settings):
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for field in dataclasses.fields(settings):
        if dataclasses.is_dataclass(field.default_factory):  # has rows of its own
            continue
        own = [row for row in rows if f"`{field.name}`" in row.split("|")[1]]
        assert own, f"docs/recipes.md has no row of {settings.__name__}.{field.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#: ]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_settings_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"runners/([a-z]+)\.py|python -m nnabla_ofa ([a-z]+)", text):
        assert (name[0] or name[1]) in COMMANDS, f"{page.name} names a command {name}"
    for path in re.findall(r"`((?:nnabla_ofa|scripts|benchmarks|tests|args)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for module, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {test}" in (ROOT / module).read_text(encoding="utf-8"), f"{page.name}: {module}::{test}"
