"""GenEval's rules on boxes made by hand, the colours of objects, and both wired to a detector with
random weights.
"""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPConfig, CLIPTokenizer

from tests.support.metric_networks import network
from workbench.metrics.geneval.colours import ObjectColours, object_crop
from workbench.metrics.geneval.object_detector import ObjectDetector
from workbench.metrics.geneval.rules import (
    GENEVAL_COLOURS,
    NAMES,
    TASKS,
    Detection,
    Verdict,
    judge,
    relations,
    surest,
)
from workbench.metrics.geneval.scorer import GenEval
from workbench.metrics.weights import MetricError, by_content

BOX = (0, 0, 10, 10)
SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)


def thing(name, score=0.95, box=BOX):
    return Detection(name, score, box)


def request(tag, *include, exclude=()):
    return {"tag": tag, "include": list(include), "exclude": list(exclude), "prompt": "a photo"}


def one(name, count=1, **more):
    return {"class": name, "count": count, **more}


def unasked(name, objects):
    raise AssertionError("no colour was asked for")


def says(*answers):
    """Colours that are told by the objects' scores, and not more than these."""
    return lambda name, objects: [dict(answers)[thing.score] for thing in objects]


def counted(number, asked=2):
    things = [thing("clock", 0.92 + n / 1000) for n in range(number)]
    return judge(
        things, request("counting", one("clock", asked), exclude=[one("clock", asked + 1)]), unasked
    )


def placed(a, b, relation):
    ask = request("position", one("car"), one("dog", position=[relation, 0]))
    return judge([thing("dog", box=a), thing("car", box=b)], ask, unasked)


def test_the_classes_are_cocos_in_its_order_with_three_longer_names():
    assert len(set(NAMES)) == 80
    assert [NAMES[n] for n in (0, 9, 24, 39, 56, 60, 79)] == [
        "person",
        "traffic light",
        "backpack",
        "bottle",
        "chair",
        "dining table",
        "toothbrush",
    ]
    assert NAMES[63:68] == (
        "laptop",
        "computer mouse",
        "tv remote",
        "computer keyboard",
        "cell phone",
    )


def test_a_score_has_to_be_above_the_threshold_in_fp32():
    ask = request("single_object", one("dog"))
    limit = np.float32(0.3)
    assert float(limit) > 0.3  # what a detector gives for 0.3
    assert not judge([thing("dog", float(limit))], ask, unasked).correct
    assert judge([thing("dog", float(np.nextafter(limit, np.float32(1))))], ask, unasked).correct
    assert judge([thing("cat")], ask, unasked) == Verdict(False, "dog: 0 found, 1 required")
    ask, limit = request("counting", one("dog")), np.float32(0.9)
    assert not judge([thing("dog", float(limit))], ask, unasked).correct
    assert judge([thing("dog", float(np.nextafter(limit, np.float32(1))))], ask, unasked).correct


def test_two_objects_have_to_be_there_both():
    ask = request("two_object", one("dog"), one("tv remote"))
    assert judge([thing("tv remote"), thing("dog"), thing("cat")], ask, unasked).correct
    assert (
        judge([thing("tv remote"), thing("tv remote")], ask, unasked).reason
        == "dog: 0 found, 1 required"
    )


def test_counting_wants_neither_fewer_nor_more():
    assert [counted(number).correct for number in range(5)] == [False, False, True, False, False]
    assert counted(1).reason == "clock: 1 found, 2 required"
    assert counted(3).reason == "clock: 3 found, fewer than 3 required"
    more = [thing("clock"), thing("clock", 0.89), thing("clock")]  # sure in other tasks only
    assert judge(
        more, request("counting", one("clock", 2), exclude=[one("clock", 3)]), unasked
    ).correct
    assert not judge(
        more, request("two_object", one("clock", 2), exclude=[one("clock", 3)]), unasked
    ).correct
    assert judge(
        [thing("dog")],
        request("single_object", one("dog"), exclude=[one("cat"), one("dog", 2)]),
        unasked,
    ).correct
    assert not judge(
        [thing("dog")], request("single_object", exclude=[one("cat"), one("dog")]), unasked
    ).correct


def test_the_sixteen_surest_of_a_class_are_read():
    things = [thing("dog", 0.4 + n / 100) for n in range(20)] + [thing("cat")]
    found = surest(things, "single_object")
    assert [round(t.score, 2) for t in found["dog"]] == [
        round(0.59 - n / 100, 2) for n in range(16)
    ]
    assert len(found["cat"]) == 1
    assert not judge(things, request("single_object", one("dog", 17)), unasked).correct
    assert judge(
        things, request("single_object", one("dog", 16), exclude=[one("dog", 17)]), unasked
    ).correct  # 20 are there


def test_of_equally_sure_objects_the_later_one_is_first():
    first, second, third = thing("dog", 0.5), thing("dog", 0.5), thing("dog", 0.6)
    assert surest([first, second, third], "colors")["dog"] == [third, second, first]


def test_the_colour_is_that_of_the_surest_objects():
    ask = request("colors", one("car", color="red"))
    assert judge([thing("car", 0.5), thing("car", 0.8)], ask, says((0.8, "red"))).correct
    assert (
        judge([thing("car", 0.5), thing("car", 0.8)], ask, says((0.8, "pink"))).reason
        == "car: pink found, 1 red required"
    )
    both = request("colors", one("car", 2, color="red"))
    assert judge(
        [thing("car", 0.5), thing("car", 0.8)], both, says((0.8, "red"), (0.5, "red"))
    ).correct
    assert not judge(
        [thing("car", 0.5), thing("car", 0.8)], both, says((0.8, "red"), (0.5, "pink"))
    ).correct
    assert not judge([thing("car", 0.8)], both, unasked).correct  # too few: nobody asks


def test_colours_are_bound_to_their_objects():
    ask = request("color_attr", one("car", color="red"), one("dog", color="blue"))
    things = [thing("car", 0.7), thing("dog", 0.8)]
    assert judge(things, ask, says((0.7, "red"), (0.8, "blue"))).correct
    swapped = judge(things, ask, says((0.7, "blue"), (0.8, "red")))
    assert swapped == Verdict(
        False, "car: blue found, 1 red required; dog: red found, 1 blue required"
    )


@pytest.mark.parametrize(
    ("relation", "box"),
    [
        ("left of", (0, 40, 10, 50)),
        ("right of", (80, 40, 90, 50)),
        ("above", (40, 0, 50, 10)),
        ("below", (40, 80, 50, 90)),
    ],
)
def test_each_relation(relation, box):
    middle = (40, 40, 50, 50)
    for asked in ("left of", "right of", "above", "below"):
        assert placed(box, middle, asked).correct == (asked == relation)
    assert not placed(middle, box, relation).correct
    assert relations(box, middle) == {relation}


def test_the_margin_of_a_position():
    assert relations(BOX, (0, 0, 10, 10)) == set()
    assert relations((2, 0, 12, 10), BOX) == set()  # 2 apart, which is a tenth of both widths
    assert (
        relations((4, 0, 14, 10), BOX) == set()
    )  # 4 apart, of which 2, exactly half, are beyond it
    assert relations((5, 0, 15, 10), BOX) == {"right of"}
    assert relations((50, 50, 60, 60), BOX) == {"right of", "below"}  # 48 of 70.7 in both
    assert relations((50, 20, 60, 30), BOX) == {"right of"}  # 18 of 53.9 below
    assert relations((0, 0, 100, 10), (0, 12, 100, 22)) == {
        "above"
    }  # wide boxes, but it is the heights that count


def test_a_position_is_of_all_objects_to_all_of_the_target():
    ask = request("position", one("car", 2), one("dog", position=["left of", 0]))
    near, far, dog = (40, 0, 50, 10), (80, 0, 90, 10), (60, 0, 70, 10)
    assert judge(
        [thing("car", box=far), thing("car", box=far), thing("dog", box=dog)], ask, unasked
    ).correct
    assert judge(
        [thing("car", box=far), thing("car", box=near), thing("dog", box=dog)], ask, unasked
    ) == Verdict(False, "dog: right of car found, left of required")
    assert (
        judge([thing("dog", box=dog)], ask, unasked).reason
        == "car: 0 found, 2 required; dog: no target to be left of"
    )
    other = request(
        "position", one("car", color="red"), one("cat"), one("dog", position=["left of", 1])
    )  # of the cat, not the car
    things = [thing("car", 0.6, near), thing("cat", box=far), thing("dog", box=dog)]
    assert judge(things, other, says((0.6, "pink"))).reason == "car: pink found, 1 red required"
    other["include"][2]["position"] = ["right of", 0]  # where a car is, but not a red one
    assert judge(things, other, says((0.6, "red"))).correct
    assert (
        judge(things, other, says((0.6, "pink"))).reason
        == "car: pink found, 1 red required; dog: no target to be right of"
    )
    assert placed(BOX, BOX, "above").reason == "dog: in no relation to car found, above required"


def test_requests_that_are_not_genevals_are_refused():
    for wrong, message in (
        (request("colours", one("dog")), "no tag 'colours'; did you mean 'colors'"),
        (request("colors", one("mouse")), "no class 'mouse'; did you mean"),
        (request("colors", one("dog", color="grey")), "no color 'grey'; did you mean 'green'"),
        (request("counting", one("dog", 0)), "counts from 1, and this one says 0"),
        (request("position", one("dog", position=["left of", 0])), "refers to an earlier clause"),
        (request("position", one("dog"), one("cat", position=["near", 0])), "no position 'near'"),
    ):
        with pytest.raises(ValueError, match=message):
            judge([], wrong, unasked)


def holds(relation, a, b):
    """In whole numbers: with s ten times the shortened offset and d ten times the offset, s > d /
    2; None at exact equality.
    """
    axis, sign = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}[
        relation
    ]
    offset = [5 * (a[n] + a[n + 2] - b[n] - b[n + 2]) for n in (0, 1)]
    beyond = sign * offset[axis] - (a[axis + 2] - a[axis] + b[axis + 2] - b[axis])
    square = offset[0] ** 2 + offset[1] ** 2
    return None if beyond > 0 and 4 * beyond**2 == square else beyond > 0 and 4 * beyond**2 > square


def expected_verdict(things, ask, colours):
    """The rules once more, clause by clause, with no early way out; None where a relation holds by
    equality only.
    """
    limit = 0.9 if ask["tag"] == "counting" else 0.3
    best = {
        name: [
            t for t in sorted(things, key=lambda t: -t.score) if t.name == name and t.score > limit
        ][:16]
        for name in NAMES
    }
    fulfilled, groups, equal = [], [], False
    for clause in ask["include"]:
        group = best[clause["class"]][: clause["count"]]
        good = len(group) == clause["count"]
        good &= all(colours(t) == clause["color"] for t in group) if "color" in clause else True
        if "position" in clause:
            relation, target = clause["position"]
            found = [holds(relation, a.box, b.box) for a in group for b in groups[target]]
            good, equal = good and fulfilled[target] and all(found), equal or None in found
        fulfilled.append(good)
        groups.append(group)
    return (
        None
        if equal
        else all(fulfilled)
        and all(len(best[clause["class"]]) < clause["count"] for clause in ask["exclude"])
    )


def test_random_scenes_are_judged_as_an_independent_reading_of_the_rules():
    rng, outcomes = random.Random(0), []
    scores = [
        n for n in range(250, 1000) if n not in (300, 900)
    ]  # in thousandths; thresholds have a test of their own
    for _ in range(1500):
        names, few, things = rng.sample(NAMES, 2), rng.choice([1, 2, 3]), []
        for score in rng.sample(scores, rng.choice([2, 4, 8, 40])):
            (left, right), (top, bottom) = (sorted(rng.sample(range(65), 2)) for _ in range(2))
            things.append(
                Detection(
                    rng.choice(names), float(np.float32(score / 1000)), (left, top, right, bottom)
                )
            )
        include = []
        for n in range(rng.randint(1, 2)):
            more = {"color": rng.choice(GENEVAL_COLOURS[:few])} if rng.random() < 0.3 else {}
            more |= (
                {"position": [rng.choice(("left of", "right of", "above", "below")), 0]}
                if n and rng.random() < 0.7
                else {}
            )
            include.append(one(rng.choice(names), rng.randint(1, 2), **more))
        exclude = [one(rng.choice(names), rng.randint(1, 17))] if rng.random() < 0.5 else []
        ask = request(rng.choice(TASKS), *include, exclude=exclude)

        def colour(thing, few=few):
            return GENEVAL_COLOURS[sum(thing.box) % few]

        expected = expected_verdict(things, ask, colour)
        if expected is not None:
            assert (
                judge(things, ask, lambda name, objects: [colour(t) for t in objects]).correct
                == expected
            ), (things, ask)
            outcomes.append(expected)
    assert len(outcomes) > 1400
    assert 300 < sum(outcomes) < 1100


@pytest.fixture(scope="module")
def colours():
    torch.manual_seed(0)
    letters = [chr(n) + end for n in range(33, 127) for end in ("", "</w>")]
    vocabulary = {word: n for n, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>")
    text = SMALL | dict(
        vocab_size=len(vocabulary),
        bos_token_id=len(vocabulary) - 2,
        eos_token_id=len(vocabulary) - 1,
    )
    config = CLIPConfig(
        vision_config=SMALL | dict(image_size=224, patch_size=32),
        text_config=text,
        projection_dim=16,
    )
    made = ObjectColours.from_config(config, tokenizer)
    with torch.no_grad():
        for parameter in made.network.parameters():  # so that what is seen and said matters
            parameter.mul_(3 if parameter.ndim > 1 else 1)
    return made


@pytest.fixture(scope="module")
def image():
    """Of 6 x 5 patches of any colour."""
    return F.interpolate(
        torch.randint(256, (1, 3, 6, 5), generator=torch.Generator().manual_seed(2)).float(),
        (90, 70),
    ).byte()[0]


def masked(box, size=(90, 70)):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    mask[sum(box[1::2]) // 2, sum(box[::2]) // 2 :] = False
    return Detection("car", 0.9, tuple(float(side) for side in box), mask)


@pytest.mark.parametrize(
    ("box", "whole", "corner"),
    [
        ((5, 10, 65, 40), (448, 224), (112, 0)),
        ((0, 3, 31, 90), (224, 628), (0, 202)),
        ((0, 6, 30, 90), (224, 627), (0, 202)),
        ((10, 10, 30, 30), (224, 224), (0, 0)),
    ],
)  # 201.5 is rounded to the even number
def test_an_object_is_shown_alone_on_grey(image, box, whole, corner):
    seen, (left, top, right, bottom) = masked(box), box
    alone = image.permute(1, 2, 0).numpy().copy()
    alone[~seen.mask.numpy()] = (0x99, 0x99, 0x99)
    large = np.array(
        Image.fromarray(alone[top:bottom, left:right]).resize(whole, Image.Resampling.BICUBIC)
    )
    across, down = corner
    assert torch.equal(
        object_crop(image, seen),
        torch.from_numpy(large[down : down + 224, across : across + 224]).permute(2, 0, 1),
    )
    assert not torch.equal(
        object_crop(image, seen), object_crop(image, Detection("car", 0.9, seen.box))
    )  # without a mask, the box as it is


def test_the_colour_is_the_one_whose_texts_are_nearest(colours, image):
    things = [masked((5, 10, 65, 40)), masked((0, 3, 31, 90)), masked((10, 10, 30, 30))]
    network, tokens = colours.network, colours.tokenizer
    centres = []
    with torch.no_grad():
        for colour in GENEVAL_COLOURS:
            units = [
                F.normalize(
                    network.get_text_features(**tokens(text, return_tensors="pt")).pooler_output[0],
                    dim=0,
                )
                for text in (
                    f"a photo of a {colour} hot dog",
                    f"a photo of a {colour}-colored hot dog",
                    f"a photo of a {colour} object",
                )
            ]
            centres.append(F.normalize(sum(units), dim=0))
        inputs = torch.stack([object_crop(image, seen) for seen in things]) / 255
        inputs = (
            inputs - torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
        ) / torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
        nearest = (
            network.get_image_features(pixel_values=inputs).pooler_output @ torch.stack(centres).T
        ).argmax(1)
    expected = [GENEVAL_COLOURS[n] for n in nearest]
    assert colours.names(image, "hot dog", things) == expected
    assert len(set(expected)) > 1
    torch.testing.assert_close(colours.texts["hot dog"], torch.stack(centres), atol=1e-5, rtol=0)


def test_clip_from_a_folder_names_the_same_colours(colours, image, tmp_path):
    colours.network.save_pretrained(tmp_path)
    colours.tokenizer.save_pretrained(tmp_path)
    loaded = ObjectColours.load(str(tmp_path))
    assert loaded.protocol == f"colours {by_content(str(tmp_path))}, three templates, fp32"
    things = [masked((5, 10, 65, 40)), masked((10, 10, 30, 30))]
    assert loaded.names(image, "car", things) == colours.names(image, "car", things)
    torch.testing.assert_close(loaded.texts["car"], colours.texts["car"])


def test_clip_that_cannot_be_had_is_told(tmp_path):
    with pytest.raises(
        MetricError, match=r"geneval needs config.json of openai/clip-vit-large-patch14 .1.7 GB"
    ):
        ObjectColours.load()
    network().config.save_pretrained(tmp_path)
    with pytest.raises(MetricError, match="is a mask2former, and geneval is a clip"):
        ObjectColours.load(str(tmp_path))
    CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(
        MetricError, match="cannot be loaded as geneval, a CLIPModel with its tokenizer"
    ):
        ObjectColours.load(str(tmp_path))


def test_images_are_judged_by_what_the_detector_finds_in_them(colours):
    torch.manual_seed(0)
    detector = ObjectDetector.from_config(network().config, (160, 96))
    with torch.no_grad():
        detector.network.class_predictor.bias[NAMES.index("dog")] = (
            12.0  # a network that sees four dogs, wherever its masks are
        )
    scorer = GenEval(detector, colours)
    images = torch.rand(4, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    dog = surest(detector.detect(images[3:])[0], "colors")["dog"][0]
    seen = colours.names((images[3] * 255).round().byte(), "dog", [dog])
    other = next(colour for colour in GENEVAL_COLOURS if colour not in seen)
    asks = [
        request("single_object", one("dog")),
        request("single_object", one("cat")),
        request("colors", one("dog", color=other)),
        request("colors", one("dog", color=seen[0])),
    ]
    assert [verdict.correct for verdict in scorer.verdicts(images, asks)] == [
        True,
        False,
        False,
        True,
    ]
    assert scorer.protocol == f"{detector.protocol}; {colours.protocol}"
    with pytest.raises(ValueError, match="4 images and 1 requests"):
        scorer.verdicts(images, asks[:1])
    with pytest.raises(ValueError, match="no class 'dogs'; did you mean 'dog'"):
        scorer.verdicts(images[:1], [request("single_object", one("dogs"))])


def test_both_networks_are_loaded_from_their_sources(tmp_path):
    with pytest.raises(MetricError, match=r"geneval needs config.json of facebook/mask2former"):
        GenEval.load()
    network().save_pretrained(tmp_path)
    with pytest.raises(MetricError, match=r"geneval needs config.json of openai/clip"):
        GenEval.load(detector=str(tmp_path))
