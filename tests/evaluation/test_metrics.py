"""Metrics by name: those of this package, and those that other files add."""

import dataclasses
import math

import pytest
import torch

from tests.support.evaluations import asked, done
from workbench.cli import main
from workbench.core.registry import PLUGINS, PluginError, import_plugins
from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.metrics import METRICS, per_image, per_prompt

PLUGIN = """
from workbench.evaluation.metrics import METRICS, per_image, per_prompt

METRICS.register("brightness", per_image(lambda images, prompts: images.mean((1, 2, 3))))
METRICS.register(
    "contrast", per_prompt(lambda images, prompt: float(images.std()), higher_is_better=False)
)
"""


@pytest.fixture
def own(monkeypatch):
    """METRICS, whose additions are gone after the test."""
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    return METRICS


def numbers_of(evaluation):
    (result,) = evaluation.results()
    return {column.name: (column, number) for column, number in result.numbers.items()}


def test_metrics_of_another_file_are_named_in_the_help_and_measured(
    backend, tmp_path, monkeypatch, own, capsys
):
    (tmp_path / "mine.py").write_text(PLUGIN)
    monkeypatch.setenv(PLUGINS, str(tmp_path / "mine.py"))
    import_plugins()
    request = asked("teacher", metrics=("brightness", "contrast"), image_seeds=2)
    evaluation = done(Evaluation(tmp_path / "e", request), backend)
    assert not evaluation.failures
    numbers, folder = numbers_of(evaluation), evaluation.image_folder("teacher")
    images = torch.stack([folder.read(row) for row in request.seed_draws])  # [P, S, 3, H, W]
    column, brightness = numbers["brightness"]
    assert column.protocol.startswith("brightness ")
    assert list(brightness.by_prompt.values()) == pytest.approx(
        images[:, :2].mean((1, 2, 3, 4)).tolist(), abs=1e-6
    )
    column, contrast = numbers["contrast"]
    assert not column.higher_is_better
    assert column.protocol.endswith(", 3 seeds")
    assert list(contrast.by_prompt.values()) == pytest.approx(
        images.std((1, 2, 3, 4)).tolist(), abs=1e-6
    )
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "comma-separated: diversity, vendi, coverage, kid, " in shown
    assert "clipscore, brightness, contrast; NAME=SOURCE" in shown
    assert "comma-separated: lite0, clip, " in shown


def test_another_function_under_the_same_name_is_read_again(backend, tmp_path, own):
    def dark(images, prompts):
        return torch.zeros(len(images))

    def bright(images, prompts):
        return torch.ones(len(images))

    means = []
    for function in (dark, bright):
        own._entries["light"] = per_image(function)
        request = asked("teacher", metrics=("light",))
        means.append(numbers_of(done(Evaluation(tmp_path, request), backend))["light"][1].interval)
    assert [interval.mean for interval in means] == [0, 1]


def test_images_and_prompts_without_a_number_are_left_out(backend, tmp_path, own):
    own.register("one", per_image(lambda images, prompts: torch.full([len(images)], torch.nan)))
    own.register("set", per_prompt(lambda images, prompt: math.nan if "star" in prompt else 1.0))
    evaluation = done(Evaluation(tmp_path, asked("teacher", metrics=("one", "set"))), backend)
    numbers = numbers_of(evaluation)
    assert list(numbers) == ["set"]
    assert numbers["set"][1].prompts == 2
    assert set(evaluation.failures.values()) == {"no image could be scored"}
    broken = sorted(tmp_path.glob("images/**/a-red-circle*/*.png"))[0]
    broken.unlink()
    assert numbers_of(Evaluation.open(tmp_path))["set"][1].prompts == 1


def test_a_function_that_fails_leaves_a_blank_and_a_reason(backend, tmp_path, own):
    own.register("broken", per_image(lambda images, prompts: images.nothing))
    own.register("few", per_image(lambda images, prompts: images.mean()))
    own.register("set", per_prompt(lambda images, prompt: {}[prompt]))
    request = asked("teacher", metrics=("broken", "few", "set", "vendi"))
    evaluation = done(Evaluation(tmp_path, request), backend)
    assert list(numbers_of(evaluation)) == ["vendi lite0"]
    reasons = sorted(evaluation.failures.values())
    assert [reason[:32] for reason in reasons] == [
        "broken fails: AttributeError: 'T",
        "few returns [], not [3] numbers",
        "set fails: KeyError: 'a red circ",
    ]


def test_a_metric_is_a_metric_kind_with_a_name_that_is_free(own):
    with pytest.raises(PluginError, match="already"):
        own.register("kid", per_image(len))
    with pytest.raises(PluginError, match="MetricKind"):
        own.register("mine", len)
    assert dataclasses.is_dataclass(own["kid"])
