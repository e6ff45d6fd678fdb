"""Options from a dataclass: what the help says, what is taken, and one-line errors."""

import dataclasses

import pytest

from workbench.cli import _parser
from workbench.core.methods import METHODS
from workbench.core.presets import PRESETS
from workbench.core.recipe import Recipe
from workbench.io.settings import given_settings
from workbench.scenes.teacher_recipe import TeacherRecipe


def help_of(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        _parser().parse_args([*command.split(), "--help"])
    assert stopped.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def recipe(*words):
    options = _parser().parse_args(["train", *words])
    return dataclasses.replace(PRESETS[options.preset], **given_settings(options, Recipe))


def error_of(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        _parser().parse_args(words)
    assert stopped.value.code == 2
    [_, line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", ["train", "plan"])
def test_no_default_is_given_that_the_preset_changes(command, capsys):
    text = help_of(command, capsys)
    assert text.count("(default: from the preset)") == len(dataclasses.fields(Recipe))


def test_a_command_without_presets_shows_its_defaults(capsys):
    text = help_of("scenes make-teacher", capsys)
    for item in dataclasses.fields(TeacherRecipe):
        assert f"{item.metadata['help']} (default: {item.default!r})" in text


@pytest.mark.parametrize("command", ["train", "plan"])
def test_choices_and_switches_are_in_the_help(command, capsys):
    text = help_of(command, capsys)
    assert f"--method {{{','.join(METHODS)}}}" in text
    assert "--normaliser {none,released,dmd2}" in text
    for item in dataclasses.fields(Recipe):
        flag = item.name.replace("_", "-")
        assert (f"--{flag}, --no-{flag} " in text) == isinstance(item.default, bool)


@pytest.mark.parametrize("name", ["checkpointing", "tiling", "offload", "compile"])
def test_a_switch_is_taken_in_both_spellings(name):
    assert not getattr(recipe(), name)
    for words in ([f"--{name}"], [f"--{name}", "on"], [f"--{name}=on"]):
        assert getattr(recipe(*words, "--rounds", "3"), name) is True
    for words in ([f"--no-{name}"], [f"--{name}", "off"], [f"--{name}=off"]):
        assert getattr(recipe(*words, "--rounds", "3"), name) is False


def test_words_that_only_look_like_a_switch_stay():
    options = _parser().parse_args(["sample", "on", "off", "--out", "on"])
    assert options.prompt == ["on", "off"]
    assert str(options.out) == "on.png"


def test_a_hyphen_in_a_method_is_taken():
    assert recipe("--method", "dmd-gan").method == "dmd_gan"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--lambda", "3"], "train: unknown argument --lambda; did you mean --lam?"),
        (["train", "--round=3"], ""),
        (["plan", "--student-step-count", "3"], "did you mean --student-steps?"),
        (["sample", "x", "--zzz"], "sample: unknown argument --zzz (--help lists"),
        (["train", "--rounds", "many"], "argument --rounds: invalid int value: 'many'"),
        (["tran"], "invalid choice: 'tran'"),
        (["resume"], "the following arguments are required: RUN"),
    ],
)
def test_a_mistake_is_one_line_after_the_usage(words, message, capsys):
    if message:
        assert message in error_of(words, capsys)
    else:  # a unique beginning of an option is that option
        assert given_settings(_parser().parse_args(words), Recipe) == {"rounds": 3}


def test_an_unknown_method_gets_the_nearest_one():
    with pytest.raises(ValueError, match=r"method = 'dpdmd' is not one of .*mean 'dp_dmd'"):
        recipe("--method", "dpdmd")
    with pytest.raises(ValueError, match="family = 'sd4' is not one of sd3, sdxl"):
        TeacherRecipe(family="sd4")


def test_the_help_lists_the_methods_of_plug_ins(monkeypatch, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from workbench.core.methods import METHODS, Method\n"
        "METHODS.register('mine', Method('Mine', True, lambda recipe, tools: None))\n"
    )
    for name, value in (("_searched", False), ("_entries", dict(METHODS._entries))):
        monkeypatch.setattr(METHODS, name, value)
    monkeypatch.setenv("WORKBENCH_PLUGINS", str(path))
    _parser()
    assert METHODS.loaded == tuple(name for name in METHODS.loaded if name != "mine")
    assert "dp_dmd_no_stop,mine}" in help_of("train", capsys)
