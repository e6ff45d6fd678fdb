"""The harness: what is made once, made again and read again, what is left when something fails,
and what the numbers are.
"""

import dataclasses
import json
import math
import os
import shutil
import time
from functools import partial

import pytest
import torch
from PIL import Image
from scipy.special import expit, logit
from scipy.stats import binomtest, ttest_1samp, ttest_ind
from transformers import CLIPModel

from tests.support.evaluations import LIST, PROMPTS, asked, done, opener
from tests.support.metric_networks import clip_config as config
from tests.support.metric_networks import network
from tests.support.processes import command, forked
from workbench.cli import main
from workbench.core.denoiser import Guided
from workbench.evaluation.evaluation import Evaluation
from workbench.evaluation.metrics import METRICS
from workbench.evaluation.numbers import Sampled
from workbench.evaluation.prompt_lists import Prompt, PromptList
from workbench.evaluation.read import feature_cache, image_checksums
from workbench.evaluation.report import write_evaluation_report
from workbench.evaluation.request import EvaluationRequest, EvaluationStage, EvaluationTask
from workbench.io.files import FolderError
from workbench.io.progress import Progress
from workbench.metrics.diversity import RANGE, diversity, mean_interval, vendi
from workbench.metrics.lite0 import Lite0
from workbench.metrics.preference.text_match import PickScore
from workbench.models.model import Model, teacher_model
from workbench.models.sampling import OFFICIAL, PER_PROMPT, images_of
from workbench.scenes.networks import new_tokenizer

IMAGES, READING, NUMBER = (partial(EvaluationTask, stage) for stage in EvaluationStage)


def pngs(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.glob("images/**/*.png")}


def test_images_do_not_depend_on_how_prompts_are_batched(backend):
    model = teacher_model(backend, steps=3)
    together = list(images_of(model, backend, PROMPTS, [0, 1]))
    alone = [next(images_of(model, backend, [prompt], [0, 1], batch=1)) for prompt in PROMPTS]
    assert len(together) == 3
    assert together[0].shape == (2, 3, 16, 16)
    torch.testing.assert_close(torch.stack(together), torch.stack(alone), rtol=0, atol=1e-5)


def test_numbers_are_those_of_the_images_in_the_files(backend, tmp_path):
    evaluation = done(
        Evaluation(tmp_path, asked("teacher", "student", metrics=("diversity", "vendi"))), backend
    )
    for result in evaluation.results():
        rows = list(
            images_of(opener(backend)(result.model), backend, PROMPTS, [0, 1, 2], noise=PER_PROMPT)
        )
        features = torch.stack([Lite0.load(32).features((row * 255).round() / 255) for row in rows])
        (division, found), (_, scores) = result.numbers.items()
        assert (division.name, division.protocol) == ("diversity lite0", "lite0@32")
        assert found.by_prompt == pytest.approx(
            dict(zip(PROMPTS, diversity(features).tolist())), abs=1e-6
        )
        assert found.prompts == 3
        assert found.failed == 0
        assert found.interval == pytest.approx(
            tuple(mean_interval(diversity(features), within=RANGE)), abs=1e-5
        )
        assert scores.interval.mean == pytest.approx(float(vendi(features).mean()), abs=1e-5)
    assert not evaluation.failures
    assert [result.images.evaluations for result in evaluation.results()] == [
        4,
        2,
    ]


def test_what_is_there_is_not_made_again(backend, tmp_path):
    first = done(Evaluation(tmp_path, asked("teacher")), backend)
    before = pngs(tmp_path)
    assert len(before) == 9
    steps = list(Evaluation(tmp_path, asked("teacher")).generate(backend, opener(backend)))
    assert steps == [Progress(9, 9, "images of teacher")]
    assert pngs(tmp_path) == before
    again = Evaluation.open(tmp_path)
    assert list(again.read()) == []
    assert again.results() == first.results()
    more = asked(
        "teacher",
        seeds=(0, 1, 2, 3),
        prompts=dataclasses.replace(LIST, prompts=(*LIST.prompts, Prompt("a star"))),
    )
    done(Evaluation(tmp_path, more), backend)
    assert before.items() <= pngs(tmp_path).items()
    assert len(pngs(tmp_path)) == 16


def test_one_at_a_time_works_in_a_folder(backend, tmp_path):
    evaluation = Evaluation(tmp_path, asked("teacher"))
    for begun in (evaluation.generate(backend, opener(backend)), evaluation.read()):
        next(begun)
        for other in (
            Evaluation(tmp_path, asked("teacher")).generate(backend, opener(backend)),
            Evaluation(tmp_path, asked("teacher")).read(),
        ):
            with pytest.raises(
                FolderError,
                match="is in use already: stop that first, or choose another folder",
            ):
                next(other)
        list(begun)
    assert len(pngs(tmp_path)) == 9


def test_a_broken_image_is_found_and_made_again(backend, tmp_path):
    first = done(Evaluation(tmp_path, asked("teacher")), backend).results()
    before = pngs(tmp_path)
    broken = sorted(before)[4]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    unmade = Evaluation.open(tmp_path)
    assert list(unmade.read()) == []  # the other eight are read already
    assert (
        unmade.results()[0].numbers.popitem()[1].prompts == 2
    )  # the prompt of the broken one does not count
    again = done(Evaluation(tmp_path, asked("teacher")), backend)
    assert broken.read_bytes() == whole
    assert {path for path, at in pngs(tmp_path).items() if before[path] != at} == {broken}
    assert [result.numbers for result in again.results()] == [result.numbers for result in first]


def test_damage_that_keeps_size_and_time_is_told_and_mended_the_next_time(backend, tmp_path):
    first = done(Evaluation(tmp_path, asked("teacher")), backend).results()
    broken = next(tmp_path.glob("images/**/*.png"))
    content, state = bytearray(broken.read_bytes()), broken.stat()
    content[-30] ^= 255
    broken.write_bytes(content)
    os.utime(broken, ns=(state.st_atime_ns, state.st_mtime_ns))
    other = done(Evaluation(tmp_path, asked("teacher", features=("lite0=64",))), backend)
    (reason,) = other.failures.values()
    assert list(other.failures) == [READING("lite0=64")]
    assert "cannot be read" in reason
    assert "evaluate again, which regenerates it" in reason
    again = done(Evaluation(tmp_path, asked("teacher", features=("lite0=64",))), backend)
    assert not again.failures
    assert (
        done(Evaluation(tmp_path, asked("teacher")), backend).results()[0].numbers
        == first[0].numbers
    )


@pytest.mark.parametrize("foreign", ["another seed's", "resized", "red"])
def test_a_picture_that_is_not_the_evaluation_s_is_made_again(backend, tmp_path, foreign):
    """Neither counted nor in the way of the other numbers; and made again by the next start."""
    evaluation = done(Evaluation(tmp_path, asked("teacher")), backend)
    files = sorted(pngs(tmp_path))
    whole = files[0].read_bytes()
    with Image.open(files[0]) as image:
        size = image.size
    if foreign == "another seed's":
        files[0].write_bytes(files[5].read_bytes())
    else:
        Image.new("RGB", size if foreign == "red" else (24, 24), "red").save(files[0])
    shutil.rmtree(tmp_path / "readings")
    again = Evaluation.open(tmp_path)
    assert [*again.read()]
    (result,) = again.results()
    (number,) = result.numbers.values()
    assert number.failed == 1
    done(again, backend)
    assert [one.numbers for one in again.results()] == [one.numbers for one in evaluation.results()]
    assert files[0].read_bytes() == whole


def test_a_folder_keeps_the_report_of_an_earlier_evaluation(backend, tmp_path):
    first = done(Evaluation(tmp_path, asked("teacher")), backend)
    write_evaluation_report(tmp_path, [(first, first.results())])
    report = (tmp_path / "report.html").read_bytes()
    done(Evaluation(tmp_path, asked("teacher")), backend)
    assert not (tmp_path / "earlier").exists()  # the same one goes on
    assert (tmp_path / "report.html").read_bytes() == report
    done(Evaluation(tmp_path, asked("teacher", "student")), backend)
    (earlier,) = (tmp_path / "earlier").iterdir()
    assert (earlier / "report.html").read_bytes() == report
    assert Evaluation.open(earlier).request == first.request
    assert len(list(tmp_path.glob("images/teacher-*"))) == 1


def test_another_state_of_a_model_has_images_of_its_own(backend, tmp_path):
    done(Evaluation(tmp_path, asked("student")), backend)
    with torch.no_grad():
        next(backend.network.parameters()).flatten()[0] += 1
    done(Evaluation(tmp_path, asked("student")), backend)
    assert len(list(tmp_path.glob("images/student-*"))) == 2
    assert len(pngs(tmp_path)) == 18


def test_the_official_policy_reads_quality_from_images_of_its_own(backend, tmp_path):
    evaluation = done(
        Evaluation(tmp_path, asked("teacher", metrics=("diversity", "clipscore"), noise=OFFICIAL)),
        backend,
    )
    names = sorted(path.name for path in pngs(tmp_path))
    assert len(names) == 12
    assert names[:3] == [
        "batch-42-row-0.png",
        "batch-42-row-1.png",
        "batch-42-row-2.png",
    ]
    assert list(evaluation.failures) == [READING("clipscore")]
    assert "hub cannot be reached" in evaluation.failures[READING("clipscore")]


def test_models_and_metrics_that_cannot_be_had_leave_a_blank_and_a_reason(backend, tmp_path):
    metrics = ("diversity", "maniqa", "spread", "geneval")
    evaluation = done(
        Evaluation(
            tmp_path, asked("gone", "teacher", features=("lite0=32", "dinov3"), metrics=metrics)
        ),
        backend,
    )
    (result,) = evaluation.results()
    assert [column.name for column in result.numbers] == ["diversity lite0"]
    failures = evaluation.failures
    assert failures[IMAGES("gone")] == "there is no model and no folder called gone"
    assert "dinov3=FOLDER" in failures[READING("dinov3")]
    assert "maniqa=FOLDER" in failures[READING("maniqa")]
    assert "images" in failures[NUMBER("spread", "teacher")]
    assert failures.keys() == {
        IMAGES("gone"),
        READING("dinov3"),
        READING("maniqa"),
        NUMBER("spread", "teacher"),
        READING("the exact detector of scenes"),
    }
    assert set(map(str, failures)) == {
        "images of gone",
        "dinov3",
        "maniqa",
        "spread of teacher",
        "the exact detector of scenes",
    }
    again = Evaluation.open(tmp_path)
    assert again.images.keys() == {"teacher"}
    again.request = asked(
        "gone", "teacher"
    )  # other metrics: what the earlier ones left is nothing to this one
    assert list(again.read()) == []
    assert again.failures.keys() == {IMAGES("gone")}


def test_images_that_are_not_finite_are_counted_and_the_rest_goes_on(backend, tmp_path):
    class Broken:
        schedule = backend.schedule

        def __call__(self, x_t, t, condition):
            found = backend.denoiser(backend.network)(x_t, t, condition)
            return dataclasses.replace(
                found,
                raw=found.raw.masked_fill(torch.arange(len(x_t)).view(-1, 1, 1, 1) == 4, torch.nan),
            )

    model = Model("broken", Broken(), torch.linspace(1, 0, 3))
    evaluation = Evaluation(tmp_path, asked("broken"))
    for _ in (*evaluation.generate(backend, lambda name: model), *evaluation.read()):
        pass
    reason = "1 failed: the model's output is not finite (NaN)"
    assert evaluation.failures == {IMAGES("broken"): reason}
    (number,) = evaluation.results()[0].numbers.values()
    assert number.failed == 1
    assert number.prompts == 2


@pytest.mark.parametrize("metric", ["diversity", "coverage", "kid", "spread"])
def test_a_model_without_images_does_not_cost_the_others_their_numbers(backend, tmp_path, metric):
    def opened(name: str) -> Model:
        model = opener(backend)(name)
        if name == "broken":
            return dataclasses.replace(model, times=torch.tensor([1.0, torch.nan, 0.0]))
        return model

    evaluation = Evaluation(tmp_path, asked("teacher", "broken", "student", metrics=(metric,)))
    for _ in (*evaluation.generate(backend, opened), *evaluation.read()):
        pass
    teacher, broken, student = evaluation.results()
    assert not broken.numbers
    reason = evaluation.missing[IMAGES("broken")]
    assert reason == "9 failed: the model's output is not finite (NaN)"
    assert (
        bool(teacher.numbers) == bool(student.numbers) == (metric != "spread")
    )  # 16 px images are no scenes
    assert NUMBER(metric, "broken") in evaluation.missing
    write_evaluation_report(tmp_path, [(evaluation, [teacher, broken, student])])


def test_what_another_revision_has_read_is_never_compared(backend, tmp_path, monkeypatch):
    request = asked("teacher", "student", metrics=("kid",))
    first = done(Evaluation(tmp_path, asked("teacher", metrics=("kid",))), backend)
    monkeypatch.setattr(Lite0, "protocol", property(lambda self: "lite0, another revision"))
    evaluation = done(Evaluation(tmp_path, request), backend)
    assert {
        column.protocol.split(",")[1]
        for result in evaluation.results()
        for column in result.numbers
    } == {" another revision"}
    assert (
        first.results()[0].numbers.popitem()[0].protocol.startswith("lite0, another")
    )  # read again, of every model
    cache = feature_cache(evaluation, request.parsed[0], "student")
    cache.begin("a third")
    checksums = image_checksums(evaluation, request.parsed[0], "student")
    cache.add(checksums.items(), torch.rand(9, 1280))
    cache.save()
    evaluation.results()
    reason = "its images and the teacher's were not read by the same network"
    assert evaluation.failures == {NUMBER("kid", "student"): reason}


def test_weights_that_change_in_their_folder_are_noticed(backend, tmp_path, clip):
    folder = tmp_path / "clip"
    shutil.copytree(clip, folder)
    request = asked("teacher", features=(f"clip={folder}",))
    before = done(Evaluation(tmp_path / "e", request), backend).results()
    torch.manual_seed(1)
    CLIPModel(config()).save_pretrained(folder)
    assert done(Evaluation(tmp_path / "e", request), backend).results() != before


def test_verdicts_belong_to_what_was_asked(backend, tmp_path, clip, monkeypatch):
    detector = tmp_path / "detector"
    network().save_pretrained(detector)

    def numbers(count: int) -> dict:
        prompts = tuple(
            Prompt(text, {"tag": "counting", "include": [{"class": "dog", "count": count}]})
            for text in PROMPTS
        )
        request = asked(
            "teacher",
            prompts=PromptList("geneval", prompts, {}),
            metrics=(f"geneval={detector}+{clip}",),
        )
        evaluation = Evaluation(tmp_path / "e", request)
        steps = [*evaluation.generate(backend, opener(backend)), *evaluation.read()]
        return {step.what for step in steps}

    assert any(what.startswith("loading geneval") for what in numbers(1))
    assert not any(what.startswith("loading geneval") for what in numbers(1))
    assert any(what.startswith("loading geneval") for what in numbers(2))


def test_what_an_interruption_left_out_is_told(backend, tmp_path):
    done(Evaluation(tmp_path, asked("teacher", "student")), backend)
    stopped = Evaluation(tmp_path, asked("teacher", "student", "other"))
    for step in stopped.generate(backend, opener(backend)):
        if step.what == "images of student":
            break
    stopped.save()
    assert Evaluation.open(tmp_path).missing == {IMAGES("other"): "not begun"}


def test_the_reference_is_the_teacher_from_other_seeds(backend, tmp_path):
    metrics = ("coverage", "kid", "fid")
    evaluation = done(Evaluation(tmp_path, asked("teacher", "student", metrics=metrics)), backend)
    folders = {
        path.name.rsplit("-", 1)[0]: len(list(path.glob("*/*.png")))
        for path in tmp_path.glob("images/*")
    }
    assert folders == {"teacher": 18, "student": 9}
    teacher, student = evaluation.results()
    assert [column.name for column in student.numbers] == [
        f"{name} lite0" for name in ("precision", "recall", "density", "coverage", "kid", "fid")
    ]
    coverage = next(
        number for column, number in teacher.numbers.items() if column.name == "coverage lite0"
    )
    assert "coverage of the same distribution would be" in coverage.note
    assert 0 <= coverage.interval.mean <= 1
    fid = next(
        (column, number) for column, number in student.numbers.items() if column.name == "fid lite0"
    )
    assert "prefer KID or CMMD" in fid[1].note
    assert not fid[0].higher_is_better
    assert "9 images against as many of the teacher" in fid[0].protocol


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a tiny CLIP with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config()).save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)
    return folder


def test_scorers_run_one_after_the_other_on_networks_of_their_own(backend, tmp_path, clip):
    detector = tmp_path / "detector"
    network().save_pretrained(detector)
    prompts = tuple(
        Prompt(f"a {name}", {"tag": tag, "include": [{"class": name, "count": 1}]})
        for name, tag in (("dog", "single_object"), ("cat", "colors"), ("bird", "colors"))
    )
    metrics = (
        f"clipscore={clip}",
        f"pickscore={clip}",
        f"pickscore-26={clip}",
        f"geneval={detector}+{clip}",
    )
    request = asked(
        "teacher",
        "student",
        prompts=PromptList("geneval", prompts, {}),
        seeds=(0, 1),
        metrics=metrics,
    )
    evaluation = done(Evaluation(tmp_path, request), backend)
    assert not evaluation.failures
    for result in evaluation.results():
        numbers = {column.name: (column, number) for column, number in result.numbers.items()}
        assert list(numbers) == [
            "clipscore",
            "pickscore",
            "pickscore-26",
            "correct",
            "single_object",
            "colors",
        ]
        images = torch.cat(
            [
                row[:1]
                for row in images_of(
                    opener(backend)(result.model),
                    backend,
                    [p.text for p in prompts],
                    [0],
                    noise=PER_PROMPT,
                )
            ]
        )
        scorer = PickScore.load(str(clip))
        scores = scorer.score((images * 255).round() / 255, [prompt.text for prompt in prompts])
        column, number = numbers["pickscore"]
        assert list(number.by_prompt.values()) == pytest.approx(scores.tolist(), abs=1e-4)
        assert column.protocol == scorer.protocol
        other, divided = numbers["pickscore-26"]
        assert divided.interval.mean == pytest.approx(number.interval.mean / 26)
        assert column.protocol != other.protocol
        assert numbers["correct"][0].protocol.startswith("geneval-hf")
        assert 0 <= numbers["correct"][1].interval.mean <= 1


def score_of(values: list[list[float]], metric: str, prompts: tuple[Prompt, ...]):
    request = asked(prompts=PromptList("mine", prompts, {}), metrics=(metric,))
    return request.parsed[0].numbers(
        Sampled(prompts, torch.tensor(values)[..., None], "protocol", list), None
    )


def test_scores_are_means_over_prompts_and_failures_are_counted():
    prompts = (Prompt("a star"), Prompt("a circle"), Prompt("a square"))
    ((column, number),) = score_of(
        [[1.0, 3.0], [math.nan, 5.0], [math.nan, math.nan]], "pickscore", prompts
    ).items()
    assert column.name == "pickscore"
    assert number.interval.mean == 3.5
    assert (number.prompts, number.failed) == (2, 3)
    with pytest.raises(ValueError, match="no image could be scored"):
        score_of([[math.nan]] * 3, "pickscore", prompts)


def test_geneval_is_the_mean_of_its_tasks_over_images():
    tags = ["counting"] * 2 + ["colors"]
    prompts = tuple(
        Prompt(f"prompt {n}", {"tag": tag, "include": []}) for n, tag in enumerate(tags)
    )
    found = {
        column.name: number
        for column, number in score_of(
            [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]], "geneval", prompts
        ).items()
    }
    assert found["counting"].interval.mean == 0.25
    assert found["colors"].interval.mean == 1
    assert found["correct"].interval.mean == 0.625
    assert "2 of GenEval's 6 tasks" in found["correct"].note
    assert found["counting"].interval[1:] == pytest.approx((0.0, 1.0), abs=1e-6)
    assert math.isnan(found["colors"].interval.low)
    many = tuple(
        Prompt(f"prompt {n}", {"tag": ("colors", "position")[n % 2], "include": []})
        for n in range(20)
    )
    values = torch.rand(20, 4, generator=torch.Generator().manual_seed(0)).round()
    found = {
        column.name: number.interval
        for column, number in score_of(values.tolist(), "geneval", many).items()
    }
    shares = values.mean(1).double()
    welch = ttest_ind(
        shares[::2], -shares[1::2], equal_var=False
    ).confidence_interval()  # of the sum of both means
    student = ttest_1samp(shares[::2], 0).confidence_interval()
    for name, plain, parts in (("colors", student, 1), ("correct", welch, 2)):
        mean, low, high = found[name]
        reach = (plain.high - plain.low) / (2 * parts) / (mean * (1 - mean))
        ends = expit([logit(mean) - reach, logit(mean) + reach])
        assert (low, high) == pytest.approx(tuple(ends), abs=1e-9)


def test_a_task_that_is_all_right_has_its_prompts_binomial_interval():
    """Clopper and Pearson's of 5 of 5 is [0.478, 1]; all prompts of both tasks right: narrower."""
    tags = ["counting"] * 5 + ["colors"] * 5
    prompts = tuple(
        Prompt(f"prompt {n}", {"tag": tag, "include": []}) for n, tag in enumerate(tags)
    )
    for right in (1.0, 0.0):
        found = {
            column.name: number.interval
            for column, number in score_of([[right] * 4] * 10, "geneval", prompts).items()
        }
        exact = binomtest(5 if right else 0, 5).proportion_ci(method="exact")
        assert found["counting"] == pytest.approx((right, exact.low, exact.high))
        mean, low, high = found["correct"]
        assert mean == right
        assert exact.low <= low < high <= exact.high


def test_what_was_asked_goes_to_json_and_back():
    request = asked(
        "teacher",
        "dmd",
        metrics=("diversity", "geneval=folder"),
        noise=OFFICIAL,
        prompts=PromptList(
            "geneval", (Prompt("two dogs", {"tag": "counting", "include": []}),), {}
        ),
    )
    assert EvaluationRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(models=()), "no models"),
        (dict(models=("a", "a")), "named twice"),
        (dict(seeds=(0,)), "at least two seeds"),
        (dict(metrics=("diversty",)), "no metric 'diversty'; did you mean diversity"),
        (dict(features=("dino",)), "no feature 'dino'; one of lite0, clip"),
        (
            dict(models=("dmd",), metrics=("kid",)),
            "kid compares with the teacher's samples: name the teacher",
        ),
        (dict(noise=OFFICIAL, image_seeds=2), "leave image_seeds at 1"),
        *[
            (dict(noise=OFFICIAL, metrics=(name,)), f"{name} takes all images for independent")
            for name in ("kid", "fid", "cmmd")
        ],
        (dict(features=()), "no features to measure by"),
        (dict(noise="mine"), "per-prompt, official"),
        (dict(image_seeds=4), "from 1 to the number of seeds, 3"),
    ],
)
def test_requests_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        asked(**{"models": ("teacher",)} | wrong)


def test_every_metric_can_be_asked_for():
    assert {metric.name for metric in asked(metrics=METRICS).parsed} == set(METRICS)


def test_folders_without_an_evaluation_or_with_a_broken_one_are_told(tmp_path):
    with pytest.raises(FolderError, match="holds no evaluation"):
        Evaluation.open(tmp_path)
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(
        FolderError, match="evaluate again into the same folder, the images in it stay"
    ):
        Evaluation.open(tmp_path)


def test_failures_are_saved_by_stage_and_those_in_words_of_older_folders_are_read(tmp_path):
    evaluation = Evaluation(tmp_path, asked("teacher", metrics=("kid", "geneval", "maniqa")))
    evaluation.failures = {
        IMAGES("runs/images of mine"): "3 failed: NaN",
        IMAGES("gone"): "there is none",
        READING("maniqa"): "offline",
        READING("the exact detector of scenes"): "no scenes",
        NUMBER("kid", "a of b"): "too few",
    }
    evaluation.save()
    assert Evaluation.open(tmp_path).failures == evaluation.failures
    file = tmp_path / "evaluation.json"
    saved = json.loads(file.read_text())
    del saved["failures"]
    saved["left"] = {
        "3 images of runs/images of mine": "NaN",
        "images of gone": "there is none",
        "maniqa": "offline",
        "the exact detector of scenes": "no scenes",
        "kid of a of b": "too few",
    }
    file.write_text(json.dumps(saved))
    assert Evaluation.open(tmp_path).failures == evaluation.failures


def test_an_evaluation_that_was_killed_goes_on_and_ends_the_same(tmp_path):
    def arguments(out):
        return [
            "evaluate",
            "--models",
            "teacher,dmd",
            "--limit",
            "12",
            "--seeds",
            "6",
            "--teacher-steps",
            "6",
            "--features",
            "lite0=64",
            "--device",
            "cpu",
            "--out",
            str(out),
        ]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(arguments(whole)) == 0
    process = forked(tmp_path / "log", command, *arguments(killed))
    while len(pngs(killed)) < 40:
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.join()
    there = pngs(killed)
    assert 40 <= len(there) < 144
    assert main(arguments(killed)) == 0
    assert there.items() <= pngs(killed).items()  # nothing twice
    assert {path.relative_to(killed) for path in pngs(killed)} == {
        path.relative_to(whole) for path in pngs(whole)
    }
    for (column, found), expected in zip(
        Evaluation.open(killed).results()[1].numbers.items(),
        Evaluation.open(whole).results()[1].numbers.values(),
    ):
        # batches were cut elsewhere, which rounds otherwise
        assert found.interval.mean == pytest.approx(expected.interval.mean, abs=1e-3), column


def test_guidance_doubles_the_evaluations(backend):
    assert teacher_model(backend, 30, 2.0).evaluations == 60
    assert teacher_model(backend, 30, 1.0).evaluations == 30
    student = teacher_model(backend, 4, 2.0).denoiser
    assert isinstance(student, Guided)
    assert Model("student", student.denoiser, torch.linspace(1, 0, 5)).evaluations == 4
