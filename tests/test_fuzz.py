"""Whatever is in a name, a recipe or a file: it works, or it is one OfaError; nothing in it is run.

Every test draws the same examples each time: OFA_FUZZ_EXAMPLES of them (default 50), others by another
OFA_FUZZ_SEED (default 0). `python scripts/reliability fuzz` draws many.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pickle
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import nnabla_ofa as ofa
from nnabla_ofa.data import open_dataset
from nnabla_ofa.data.decode import read_image
from nnabla_ofa.errors import OfaError
from nnabla_ofa.experiment.parse import ARGS, from_settings, load_recipe
from nnabla_ofa.formats.torch_file import read_state_dict
from nnabla_ofa.model import load_network
from nnabla_ofa.system import container as checkpoint
from nnabla_ofa.system import records
from nnabla_ofa.system.record_rules import check

ROOT = Path(__file__).resolve().parents[1]
LARGEST = "K357_E0.6+0.8+1_D123"
EXAMPLES, SEED = (int(os.environ.get(f"OFA_FUZZ_{name}", default))
                  for name, default in (("EXAMPLES", "50"), ("SEED", "0")))


def fuzz(test):
    """A test of the examples that its arguments' strategies draw."""
    profile = settings(max_examples=EXAMPLES, deadline=None, database=None,
                       suppress_health_check=list(HealthCheck))
    return seed(SEED)(profile(test))


def attempt(read, *arguments):
    """What `read` gives, or None where it raises the documented error, in one line."""
    try:
        return read(*arguments)
    except OfaError as error:
        assert "\n" not in str(error) and len(str(error)) < 5000
        return None


def edited(whole, pieces):
    """`whole` (text or bytes), a few stretches of which are cut out or replaced by `pieces`."""
    def edit(edits):
        result = whole
        for place, length, piece in edits:
            start = int(place * len(result))
            result = result[:start] + piece + result[start + length:]
        return result
    one = st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 1, 2, 8, 64, 100000]), pieces)
    return st.lists(one, min_size=1, max_size=4).map(edit)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([LARGEST, "XP1 7x7 3", "cosine", 0, 1, -1, 10 ** 400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8)


@st.composite
def replaced(draw, tree):
    """A tree of dicts and lists, one place of which holds another value."""
    tree = json.loads(json.dumps(tree))
    node = tree
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], (dict, list)) or not node[key] or draw(st.booleans()):
            break
        node = node[key]
    if isinstance(node, dict) and draw(st.booleans()):
        key = draw(st.text(max_size=8))
    node[key] = draw(values)
    return tree


# Grammar -----------------------------------------------------------------------------------------

FAMILIES = ofa.Xception(), ofa.ResNet20(), ofa.MobileNetV3(), ofa.ProxylessNAS(), ofa.OfaResNet50()
SMALLER = {family: family.space(name) for family, name in zip(FAMILIES, (
    "K35_E0.8+1_D12", "C8_C4-8_C8", "K35_E46_D34", "K35_E46_D34", "D12_E0.2+0.35_W0.8+1"))}
DICTS = {"mobile": {"ks": [7, 5, 3, 3] * 5, "e": [6, 4, 3, 3] * 5, "d": [2, 3, 4, 2, 4]},
         "resnet": {"d": [2, 0, 1, 2, 1], "e": [0.2, 0.25, 0.35] * 6, "w": [0, 1, 2, 0, 1, 2], "r": [224]}}


@fuzz
@given(st.text() | edited("C4-16_C4-32_C4-64", st.text("0123456789C_-", max_size=3))
       | edited(LARGEST, st.text("0123456789KED_+.e- ", max_size=3))
       | edited("K357_E346_D234", st.text("0123456789KED_", max_size=3))
       | edited("D012_E0.2+0.35_W0.65+1", st.text("0123456789EDW_+. ", max_size=3))
       | st.from_regex(r"K[3579]{1,3}_E(0\.\d|1)(\+(0\.\d|1)){0,2}_D[0-4]{1,3}"))
def test_space_names(text):
    for family in FAMILIES:
        space = attempt(family.space, text)
        assert space is None or family.space(str(space)) == space and space.largest() in space


@fuzz
@given(st.text() | edited("-".join("8" * 20), st.text("0123456789- ", max_size=3))
       | edited(", ".join(["XP0.8 3x3 2"] * 8), st.text("XP0.12345678x ,'[]", max_size=4))
       | edited(" ".join(["54 76 33 -"] * 5), st.text("34567- ", max_size=3))
       | edited(str(FAMILIES[-1].arch(DICTS["resnet"])), st.text("0.123568+- ", max_size=3))
       | edited(json.dumps(DICTS["mobile"]), st.text("[]{}:,-.'\"dekswr0123567 ", max_size=3))
       | st.from_regex(r"(XP(0\.[68]|1) (3x3|5x5|7x7) [123], ?){7}XP(0\.[68]|1) (3x3|5x5) [0-4]"))
def test_subnet_names(text):
    for family in FAMILIES:
        arch = attempt(family.arch, text)
        assert arch is None or family.arch(str(arch)) == arch
        net = ofa.Network(family, SMALLER[family])
        assert attempt(net.arch, text) in (None, arch)


@fuzz
@given(replaced(DICTS["mobile"]) | replaced(DICTS["resnet"]) | values)
def test_dicts_of_subnets(given):
    for family in FAMILIES[2:]:
        arch = attempt(family.arch, given) if isinstance(given, dict) else None
        assert arch is None or family.arch(family.once_for_all(arch)) == arch
        assert attempt(family.arch, json.dumps(given)) == arch


# Recipes -----------------------------------------------------------------------------------------

RECIPE = (ARGS / "xception_digits.yaml").read_text(encoding="utf-8")
TOKENS = st.text(max_size=4) | st.sampled_from(
    ["&a ", "*a", "<<: *a", "!!int x", "!!timestamp x", "!!python/object/apply:os.abort []", "2001-99-99",
     ".nan", ".inf", "- ", ": ", "{", "[", "? ", "|\n", "'", "%YAML 9", "---", "0x", "1" * 5000, "[" * 3000,
     "\t", "&a [*a]"])


@fuzz
@given(text=st.text() | edited(RECIPE, TOKENS))
def test_recipe_files(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    recipe = attempt(load_recipe, path)
    assert recipe is None or from_settings(recipe.settings()) == recipe


@fuzz
@given(replaced(load_recipe("xception_digits").settings()))
def test_recipe_values(settings):
    recipe = attempt(from_settings, settings)
    assert recipe is None or from_settings(recipe.settings()) == recipe


KEYS = ["net.width_mult", "net.middle_blocks", "net.widths", "data.image_sizes", "data.augment.scale",
        "data.augment.pad", "train.batch_size", "train.clip_grad", "stages", "stages.kernel",
        "stages.kernel.lr", "stages.kernel.start", "finetune.subnet", "name", "train", "data.augment"]


@fuzz
@given(st.text() | st.builds("{}={}".format, st.sampled_from(KEYS) | st.text(".abc", max_size=4),
                             TOKENS | values.map(lambda v: yaml.safe_dump(v, default_flow_style=True))))
def test_overrides(text):
    recipe = attempt(load_recipe, "xception_digits", [text])
    assert recipe is None or from_settings(recipe.settings()) == recipe


@pytest.mark.parametrize("override", ["net.middle_blocks=999999999999", f"net.middle_blocks={10 ** 400}",
                                      "net.width_mult=1e300", f"net.width_mult={10 ** 400}",
                                      "train.weight_decay=.inf"])
def test_numbers_beyond_reason(override):
    assert attempt(load_recipe, "xception_digits", [override]) is None


@pytest.mark.parametrize("settings, said", [
    ({"net": None}, "net is not a mapping"), ({"net": {"family": []}}, r"net.family=\[\] is not str"),
    ({"train": {"batch_size": 0}}, "train.batch_size=0 is not 1 or more"),
    ({"a\nb": 1}, r"unknown key a\\nb"),
    ({"train": {"schedule": "\x1b[2J\n"}}, r"schedule=\\x1b\[2J\\n is not")])
def test_values_of_another_kind_are_one_line(settings, said):
    with pytest.raises(OfaError, match=said) as caught:
        from_settings({**load_recipe("xception_digits").settings(), **settings})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("word", ["*a{}", "name: {}!\n" + RECIPE], ids=["alias", "name"])
def test_the_error_of_a_long_yaml_word_is_short(tmp_path, word):
    (tmp_path / "long.yaml").write_text(word.replace("{}", "1" * 10000))
    with pytest.raises(OfaError, match="long.yaml.* ... .*(line 1|digit, _ or .* first)") as caught:
        load_recipe(tmp_path / "long.yaml")
    assert len(str(caught.value)) < 5000


def test_a_small_recipe_that_unfolds_to_gigabytes_is_one_short_error(tmp_path):
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(98 + i)}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines + ["net: {widths: *a12}"]))
    assert attempt(load_recipe, tmp_path / "bomb.yaml") is None
    (tmp_path / "bomb.yaml").write_text("\n".join(lines + ["net: {family: *a12}"]))
    assert attempt(load_recipe, tmp_path / "bomb.yaml") is None
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, RECIPE.replace("[16, 20, 24, 28]", "*a12")]))
    assert attempt(load_recipe, tmp_path / "bomb.yaml") is None


def test_a_small_recipe_that_merges_itself_again_and_again_is_one_short_error(tmp_path, little_memory):
    lines = ["a: &a0 {k: 1, l: 2}"]
    lines += [f"b{i}: &a{i + 1} {{<<: [{', '.join([f'*a{i}'] * 9)}]}}" for i in range(12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with little_memory(), pytest.raises(OfaError, match="a mapping of more than 100 keys"):
        load_recipe(tmp_path / "bomb.yaml")
    usual = RECIPE.replace("train:", "train:\n  <<: {momentum: 0.7}", 1).replace("momentum: 0.9", "")
    (tmp_path / "usual.yaml").write_text(usual)
    assert "<<" in usual and load_recipe(tmp_path / "usual.yaml").train.momentum == 0.7


def test_a_recipe_that_is_no_recipe_is_not_parsed(tmp_path, little_memory):
    (tmp_path / "long.yaml").write_text("a: 1\n" * 60000)
    (tmp_path / "holes.yaml").touch()
    os.truncate(tmp_path / "holes.yaml", 2**40)
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name, why in (("long", "300,000 characters"), ("holes", "bytes, more than"), ("zero", "no regular")):
        with little_memory(), pytest.raises(OfaError, match=why):
            load_recipe(tmp_path / f"{name}.yaml")


# Files -------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "net.h5"
    config = ofa.Xception(classes=3, widths=(8,) * 8, middle_blocks=1, stem_stride=1)
    ofa.Network.create(config, "K35_E1_D12").save(path)
    return path


def signed(content):
    """`content` with the checksum that belongs to it, as only who means harm would write it."""
    start = len(checkpoint.MAGIC) + 65
    digest = hashlib.sha256(content[start:]).hexdigest()
    return checkpoint.MAGIC + digest.encode() + b"\n" + content[start:]


@fuzz
@given(data=st.data())
def test_damaged_networks_never_pass(network_file, data):
    whole = network_file.read_bytes()
    path = network_file.with_name("damaged.h5")
    path.write_bytes(data.draw(edited(whole, st.binary(max_size=4))))
    assert path.read_bytes() == whole or attempt(ofa.load, path) is None


@fuzz
@given(data=st.data())
def test_networks_with_a_forged_checksum(network_file, data):
    """First the described network, then HDF5's own structures, which lie between and behind arrays."""
    whole = network_file.read_bytes()
    meta = checkpoint.load(network_file)[1]
    header = json.dumps(data.draw(replaced(meta))).encode() + b"\n"
    path, start = network_file.with_name("forged.h5"), len(checkpoint.MAGIC) + 65
    body = whole.index(b"\x89HDF")
    path.write_bytes(signed(whole[:start] + header.ljust(body - start) + whole[body:]))
    attempt(load_network, path)
    path.write_bytes(signed(data.draw(edited(whole, st.binary(max_size=4)))))
    attempt(load_network, path)
    path.write_bytes(whole[body:])
    attempt(lambda: ofa.load(path, widths=(8,) * 8, classes=3))


@fuzz
@given(content=st.binary() | edited(b"images/a.png 0\nimages/b c.png 1\n# no image\n",
                                    st.binary(max_size=4) | st.sampled_from([b" 9" * 300, b"\0", b" 1\n"])))
def test_list_files(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "lists"
    folder.mkdir(exist_ok=True)
    for name in ("train_label", "val_label"):
        (folder / name).write_bytes(content)
    found = attempt(open_dataset, folder)
    if found is not None:
        train = found[0]
        assert len(train.paths) == len(train.labels) and train.labels.max() < len(train.classes)
        attempt(train.decode, 0)


RECORD = json.loads(next((ROOT / "results/records").rglob("train-*.json")).read_text())


@fuzz
@given(text=st.text() | edited(records.to_text(RECORD), st.text(max_size=4))
       | replaced(RECORD).map(lambda tree: json.dumps(tree)) | values.map(json.dumps))
def test_record_files(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "records"
    path = folder / records.relative_path(RECORD)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    attempt(records.read, folder)


@pytest.mark.parametrize("kind", [[], {}, None, 1])
def test_a_record_of_no_kind(kind):
    with pytest.raises(OfaError, match="kind=.* of a record is not one of"):
        check({**RECORD, "kind": kind})


PIXELS = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp"])
def test_image_files(tmp_path_factory, extension):
    path = tmp_path_factory.getbasetemp() / f"fuzzed{extension}"
    whole = cv2.imencode(extension, PIXELS)[1].tobytes()

    @fuzz
    @given(st.binary() | edited(whole, st.binary(max_size=4)))
    def one(content):
        path.write_bytes(content)
        image = attempt(read_image, str(path))
        assert image is None or image.ndim == 3 and image.dtype == np.uint8

    one()


TORCH = ROOT / "tests" / "fixtures" / "torch"


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(path.name for path in TORCH.glob("*.pth"))))
def test_pytorch_files(tmp_path_factory, data, name):
    """The legacy form has no checksum: there the damage reaches the pickle and the numbers."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(data.draw(edited((TORCH / name).read_bytes(), st.binary(max_size=4))))
    arrays = attempt(read_state_dict, path)
    assert arrays is None or all(isinstance(array, np.ndarray) for array in arrays.values())


# No code out of files ----------------------------------------------------------------------------

class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_run(tmp_path):
    went_off, path = tmp_path / "went off", tmp_path / "weights.h5"
    with pytest.raises(OfaError, match="YAML"):
        load_recipe("xception_digits", [f"name=!!python/object/apply:os.mkdir ['{went_off}']"])
    path.write_bytes(pickle.dumps(Bomb(went_off)))
    with pytest.raises(OfaError):
        ofa.load(path, widths=(8,) * 8, classes=3)
    with open(path, "wb") as file:
        np.save(file, np.array([Bomb(went_off)], object), allow_pickle=True)
    with pytest.raises(OfaError):
        ofa.load(path, widths=(8,) * 8, classes=3)
    with h5py.File(path, "w") as file:
        file["w"] = np.frombuffer(pickle.dumps(Bomb(went_off)), "V1")
        file["text"] = "import os"
    with pytest.raises(OfaError, match="plain array"):
        ofa.load(path, widths=(8,) * 8, classes=3)
    assert not went_off.exists()


def test_arrays_of_other_files_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("w", (4,), "f4", external=[(str(secret), 0, 16)])
        file["link"] = h5py.ExternalLink(str(secret), "/")
    with pytest.raises(ValueError, match="plain array"):
        checkpoint.read_hdf5(tmp_path / "w.h5")


FORBIDDEN = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "eval", "exec", "unsafe_load",
             "full_load", "allow_pickle", "load_parameters"}


def test_the_sources_have_no_way_to_run_a_file():
    for path in [*(ROOT / "nnabla_ofa").rglob("*.py"), *(ROOT / "runners").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {getattr(node, key, None) for key in ("id", "attr", "arg", "module")}
            names |= {alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)}
            names -= {"eval", "exec"} if isinstance(node, ast.Attribute) else set()  # methods so named
            names -= {"pickle"} if path.name == "unpickler.py" else set()  # it runs what its caller lists
            assert not names & FORBIDDEN, (path, getattr(node, "lineno", 0), names & FORBIDDEN)
            if isinstance(node, ast.Attribute) and node.attr == "load":
                assert getattr(node.value, "id", "") not in ("yaml", "np", "nn"), (path, node.lineno)
