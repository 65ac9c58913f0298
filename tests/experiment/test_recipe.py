"""Recipes: strict keys, checked values, overrides; the recipes under args/ are whole."""

import dataclasses

import numpy as np
import pytest

from nnabla_ofa.errors import OfaError
from nnabla_ofa.experiment.parse import ARGS, from_settings, load_recipe, recipe_names
from nnabla_ofa.nets import Fixed
from nnabla_ofa.training.schedule import learning_rate

CHAIN = ["K7_E1_D3", "K357_E1_D3", "K357_E1_D23", "K357_E1_D123", "K357_E0.8+1_D123",
         "K357_E0.6+0.8+1_D123"]
CHAINS = {
    "xception": CHAIN, "resnet20": ["C16_C32_C64", "C4-16_C4-32_C4-64"],
    "mobilenetv3": ["K7_E6_D4", "K357_E6_D4", "K357_E6_D34", "K357_E6_D234", "K357_E46_D234",
                    "K357_E346_D234"],
    "ofa_resnet50": ["D2_E0.35_W1", "D012_E0.35_W1", "D012_E0.25+0.35_W1", "D012_E0.2+0.25+0.35_W1",
                     "D012_E0.2+0.25+0.35_W0.8+1", "D012_E0.2+0.25+0.35_W0.65+0.8+1"],
    "wide_resnet20_cifar10": ["C64_C128_C256", "C16-64_C32-128_C64-256"],  # recipes of widths of their own
    "wide_resnet20_cifar10_small": ["C24_C48_C96", "C8-24_C16-48_C32-96"]}
RECIPES = recipe_names()
FIXED = [name for name in RECIPES if isinstance(load_recipe(name).net, Fixed)]


GIVEN = ["mobilenetv3_own"]  # for a supernet that is there


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in (*FIXED, *GIVEN)])
def test_recipes_lead_from_the_full_network_to_the_whole_space(name):
    recipe = load_recipe(name)
    chain = CHAINS.get(name, CHAINS[recipe.net.family])
    assert [stage.space for stage in recipe.chain(chain[-1])] == chain
    full = recipe.net.space(chain[0]).largest()
    assert all(full in map(recipe.net.arch, stage.validate) for stage in recipe.chain(chain[-1]))
    assert from_settings(recipe.settings()) == recipe


@pytest.mark.parametrize("name", GIVEN)
def test_recipes_for_a_given_supernet_train_its_classifier_alone(name):
    recipe = load_recipe(name)
    stage, = recipe.stages
    assert stage.space == CHAINS[recipe.net.family][-1] and stage.start is None
    assert stage.settings(recipe.train).only_head and not recipe.train.only_head  # nor in fine-tuning
    assert from_settings(recipe.settings()) == recipe


@pytest.mark.parametrize("name", [name for name in RECIPES if name in FIXED])
def test_recipes_of_fixed_networks_have_one_stage(name):
    recipe = load_recipe(name)
    stage, = recipe.chain(recipe.net.family)
    assert stage.name == stage.space == recipe.net.family
    assert from_settings(recipe.settings()) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_headers_say_what_a_user_wants_to_know(name):
    header = [line for line in (ARGS / f"{name}.yaml").read_text().splitlines()
              if line.startswith("#")]
    for key in ("command:", "hardware:", "time:", "result:"):
        assert any(key in line for line in header), key


def test_imagenet_recipe_is_the_published_one():
    recipe = load_recipe("xception_imagenet")
    stages = {s.space: (s.epochs, s.lr) for s in recipe.stages}
    assert [stages[space] for space in CHAIN] == [(50, 0.045), (20, 0.03), (15, 0.025), (30, 0.03),
                                                  (15, 0.02), (30, 0.03)]
    assert stages["K3_E1_D3"] == (50, 0.045)
    assert [len(s.validate) for s in recipe.chain(CHAIN[-1])] == [1, 3, 5, 5, 8, 9]
    train = recipe.train
    assert (train.momentum, train.lr_decay, train.decay_epochs) == (0.9, 0.94, 2)
    assert (train.weight_decay, train.label_smoothing, train.global_batch) == (1e-5, 0.1, 512)
    assert recipe.data.image_sizes == (128, 160, 192, 224) and recipe.data.held_out == 0.01


def test_recipe_of_mobilenetv3_is_that_of_once_for_all():
    """Its table: epochs and warm-up beyond them, rates and decay of summed gradients, subnets a step."""
    recipe = load_recipe("mobilenetv3_imagenet")
    table = {"fullnet": (180, 0, 2.6, 1), "kernel": (120, 5, 0.96, 1), "depth1": (25, 0, 0.08, 2),
             "depth2": (120, 5, 0.24, 2), "expand1": (25, 0, 0.08, 4), "expand2": (120, 5, 0.24, 4)}
    for stage in recipe.stages:
        epochs, warmup, lr, subnets = table[stage.name]
        train = stage.settings(recipe.train)
        assert (stage.epochs, train.warmup_epochs) == (epochs + warmup, warmup)
        assert train.subnets_per_step == subnets
        assert np.isclose(stage.lr, lr * subnets) and np.isclose(train.weight_decay, 3e-5 / subnets)
        assert np.isclose(learning_rate(stage, train, epochs + warmup), 0)
        assert np.isclose(learning_rate(stage, train, warmup), stage.lr, rtol=5e-3)
    assert recipe.train.nesterov and (recipe.train.batch_size, recipe.train.global_batch) == (64, 32 * 64)
    assert recipe.data.image_sizes == tuple(range(128, 225, 4)) and recipe.data.valid_sizes == (160, 224)
    assert recipe.data.held_out * 1281167 == 10000 and recipe.net.dropout == 0.1
    augment = recipe.data.augment
    assert (augment.brightness, augment.saturation, augment.contrast) == (32 / 255, 0.5, 0)


def test_recipe_of_resnet50_is_that_of_nnabla_nas():
    """Its rates are for 512, 1,024 and 2,048 images."""
    recipe = load_recipe("resnet50_imagenet")
    table = {"fullnet": (185, 5, 0.65, 512), "depth": (125, 5, 0.24, 512), "expand1": (25, 0, 0.02, 1024),
             "expand2": (125, 5, 0.06, 1024), "width1": (25, 0, 0.02, 2048), "width2": (125, 5, 0.06, 2048)}
    assert recipe.train.global_batch == 512
    for stage in recipe.stages:
        epochs, warmup, lr, images = table[stage.name]
        assert (stage.epochs, stage.settings(recipe.train).warmup_epochs) == (epochs, warmup)
        assert np.isclose(stage.lr, lr * 512 / images)


def test_stages_have_settings_of_their_own():
    own = ["stages.kernel.subnets_per_step=3", "stages.kernel.warmup_epochs=0.5",
           "stages.kernel.weight_decay=0", "stages.kernel.only_head=true"]
    recipe = load_recipe("xception_digits", own)
    alone = load_recipe("xception_digits", [text.replace("stages.kernel", "train") for text in own])
    assert recipe.stage("K357_E1_D3").settings(recipe.train) == alone.train != recipe.train
    assert recipe.stage("K7_E1_D3").settings(recipe.train) == recipe.train
    with pytest.raises(OfaError, match="stages.kernel: train.subnets_per_step=1 is not 1 or more, 2 or more"):
        load_recipe("xception_digits", ["train.sandwich=true", "train.subnets_per_step=2",
                                        "stages.kernel.subnets_per_step=1"])


def test_recipes_of_the_zoo_are_the_published_ones():
    """Networks alone: the settings that their tables name."""
    cifar10, cifar100 = load_recipe("zoo_cifar10"), load_recipe("zoo_cifar100")
    pycls, xception = load_recipe("pycls_imagenet"), load_recipe("xception299_imagenet")
    epochs = [recipe.stages[0].epochs for recipe in (cifar10, cifar100, pycls, xception)]
    assert epochs == [300, 200, 100, 250]
    assert cifar10.train.schedule == pycls.train.schedule == "cosine"
    assert [r.train.weight_decay for r in (cifar10, cifar100, pycls, xception)] == [5e-4, 5e-4, 5e-5, 1e-4]
    assert learning_rate(pycls.stages[0], pycls.train, 0) == 0.1 * 256 / 128
    assert (pycls.data.image_sizes, pycls.data.augment.valid_resize) == ((224,), 256 / 224)
    own = xception.train
    assert (own.schedule, own.warmup_epochs, own.lr_init, own.lr_end) == ("linear", 1, 4e-5, 4e-5)
    assert (own.label_smoothing, own.label_smoothing_to, own.loss_scale, own.keep_checkpoints) == (
        0.1, "others", 1024, 5)
    assert (own.batch_size, own.global_batch, xception.stages[0].lr) == (64, 8 * 64, 0.4)
    assert (xception.data.image_sizes, xception.data.augment.valid_resize) == ((299,), 320 / 299)


def test_overrides():
    recipe = load_recipe("xception_digits", ["train.momentum=0.5", "stages.kernel.lr=1e-3",
                                             "data.valid_sizes=[24]", "train.clip_grad=5"])
    assert recipe.train.momentum == 0.5 and recipe.stage("K357_E1_D3").lr == 1e-3
    assert recipe.data.valid_sizes == (24,) and recipe.train.clip_grad == 5.0
    assert recipe != load_recipe("xception_digits") and dataclasses.is_dataclass(recipe)


@pytest.mark.parametrize("override, complaint", [
    ("train.momentun=0.5", "did you mean momentum"), ("train.momentum=fast", "not a finite number"),
    ("train.momentum=1.5", "not in"), ("train.batch_size=48", "multiple of"), ("train", "key=value"),
    ("stages.kernal.lr=1", "no stage named"), ("train.sandwich=1", "not bool"),
    ("data.image_sizes=[]", "positive"), ("net.family=vgg", "xception"), ("net.dropout=2", "dropout"),
    ("net.entry_strides=[2,2]", "3 numbers"), ("name=my recipe", "letters"),
    ("stages.kernel.name=kernel 1", "letters"),
    ("stages.kernel.space=K9_E1_D3", "9 is not allowed"), ("stages.kernel.start=K5_E1_D3", "start"),
    ("stages.fullnet.validate=[XP1 3x3 3]", "outside"), ("data.augment.crop=round", "crop"),
    ("train.inplace_distill=true", "sandwich"), ("train.schedule=poly", "cosine")])
def test_bad_values_are_named(override, complaint):
    with pytest.raises(OfaError, match=complaint):
        load_recipe("xception_digits", [override])


@pytest.mark.parametrize("text, complaint", [
    ("net: [", "YAML"), ("- a", "mapping"), ("net: {}", "missing"), ("\xff", "mapping|YAML"),
    ("net: {}\ndata: {}\ntrain: {}\nstages: []\n", "one or more")])
def test_bad_files_are_named(tmp_path, text, complaint):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(OfaError, match=complaint):
        load_recipe(path)
    with pytest.raises(OfaError, match="xception_digits"):
        load_recipe("nothing_like_that")


def test_unknown_space_names_those_there_are():
    with pytest.raises(OfaError, match="K357_E1_D23"):
        load_recipe("xception_digits").stage("K35_E1_D3")


def test_a_file_that_is_no_recipe_is_named_as_it_was_given(tmp_path):
    (tmp_path / "notes.md").write_text("notes")
    for path in (tmp_path, tmp_path / "notes.md"):
        with pytest.raises(OfaError, match=f"recipe {path} is no .yaml file"):
            load_recipe(str(path))
