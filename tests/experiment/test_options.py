"""What command lines take for a subnet: its text, once-for-all's dict, or a .json file of either."""

from __future__ import annotations

import argparse
import json

import pytest

import nnabla_ofa as ofa
from nnabla_ofa.experiment.options import add_subnet

TEXT = "54 76 - - 33 33 34 - 36 36 36 36 74 74 - - 54 54 - -"


def parsed(*argv, repeatable=False):
    parser = argparse.ArgumentParser()
    add_subnet(parser, "which one", repeatable)
    return parser.parse_args(argv).subnet


def test_a_file_stands_for_what_it_holds(tmp_path):
    config, path = ofa.MobileNetV3(), tmp_path / "subnet.json"
    arch = config.arch(TEXT)
    for content in (json.dumps({**config.once_for_all(arch), "r": [160]}, indent=1), json.dumps(TEXT), TEXT,
                    "\ufeff" + TEXT + "\n"):
        path.write_text(content, encoding="utf-8")
        assert config.arch(parsed("--subnet", str(path))) == arch
    assert parsed("--subnet", TEXT) == TEXT and parsed() is None
    assert parsed("--subnet", "a", "--subnet", "b", repeatable=True) == ["a", "b"]
    assert parsed(repeatable=True) == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe{"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, capsys):
    path = tmp_path / "subnet.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit):
        parsed("--subnet", str(path))
    assert f"cannot read {path}" in capsys.readouterr().err
