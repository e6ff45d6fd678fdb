"""The detector on tiny networks with random weights: its input, its output, and what is said when
it cannot be had.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig

from tests.support.metric_networks import FULL, network, shapes
from workbench.metrics.geneval.mask2former_mmdet import FILE
from workbench.metrics.geneval.object_detector import (
    ObjectDetector,
    objects,
    padded,
    resized,
    scaled,
)
from workbench.metrics.geneval.rules import NAMES
from workbench.metrics.weights import MetricError, by_content

LIMITS = (160, 90)  # for a quick test, in place of 1333 x 800


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    made = ObjectDetector.from_config(network().config, LIMITS)
    with torch.no_grad():
        made.network.class_predictor.weight.mul_(20)  # a random network is as unsure as can be
    return made


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, detector):
    place = tmp_path_factory.mktemp("detector")
    detector.network.save_pretrained(place)
    return place


def bilinear(image, height, width):
    """A 2D array at another size: pixels are points at their centres, the border is repeated; one
    value at a time.
    """
    made = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y, x = (
                (n + 0.5) * old / new - 0.5
                for n, old, new in ((i, image.shape[0], height), (j, image.shape[1], width))
            )
            rows, columns = (
                (np.clip([np.floor(p), np.floor(p) + 1], 0, old - 1).astype(int), p - np.floor(p))
                for p, old in ((y, image.shape[0]), (x, image.shape[1]))
            )
            corners = image[np.ix_(rows[0], columns[0])].astype(float)
            made[i, j] = (
                np.array([1 - rows[1], rows[1]]) @ corners @ np.array([1 - columns[1], columns[1]])
            )
    return made


@pytest.mark.parametrize("size", [(26, 21), (33, 90), (12, 50)])
def test_resizing_is_bilinear_to_one_of_255_levels(size):
    image = torch.randint(
        256, (2, 33, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    for found, given in zip(resized(image, size), image):
        assert np.abs(found.numpy() - bilinear(given.numpy(), *size)).max() < 1
    assert torch.equal(resized(image, (33, 40)), image)


def test_resizing_is_opencvs():
    image = (torch.arange(20) * 53 % 256).byte().view(1, 4, 5)
    assert resized(image, (3, 7))[0].tolist() == [  # cv2.resize of OpenCV 4.10 and 5.0
        [1, 32, 70, 107, 145, 183, 213],
        [14, 44, 82, 120, 157, 195, 226],
        [25, 56, 94, 131, 169, 207, 237],
    ]
    assert resized(image, (6, 3))[0].tolist() == [
        [17, 106, 194],
        [22, 111, 199],
        [28, 116, 205],
        [34, 122, 211],
        [40, 129, 217],
        [44, 133, 221],
    ]


def test_sides_keep_their_ratio_within_both_limits():
    assert scaled(1024, 1024) == scaled(512, 512) == (800, 800)
    assert scaled(768, 1024) == (800, 1067)
    assert scaled(1024, 768) == (1067, 800)
    assert scaled(400, 1000) == (533, 1333)  # the longer side binds
    assert scaled(1536, 640) == (1333, 555)


def test_padding_is_grey_below_and_on_the_right():
    image = torch.zeros(1, 3, 33, 64, dtype=torch.uint8)
    found = padded(image)
    assert found.shape == (1, 3, 64, 64)
    assert not found[:, :, :33].any()
    assert (found[:, :, 33:] == 128).all()
    assert torch.equal(padded(image[:, :, :32]), image[:, :, :32])


def expected_detections(network, image):
    """One image at a time, one class of one query at a time."""
    height, width = image.shape[1:]
    eight_bit = (image * 255).round()
    small = resized(eight_bit.byte(), (90, 126)).float()
    inputs = torch.full((3, 96, 128), 128.0)
    inputs[:, :90, :126] = small
    inputs = (inputs / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.no_grad():
        output = network(pixel_values=inputs[None])
    probabilities = output.class_queries_logits[0].softmax(-1)
    pairs = sorted(
        ((float(probabilities[q, c]), q, c) for q in range(4) for c in range(80)), reverse=True
    )[:100]
    for probability, query, label in pairs:
        logits = F.interpolate(
            output.masks_queries_logits[0, query][None, None], (96, 128), mode="bilinear"
        )[..., :90, :126]
        logits = F.interpolate(logits, (height, width), mode="bilinear")[0, 0]
        mask = logits > 0
        if mask.any():
            rows, columns = mask.nonzero().T
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            yield NAMES[label], probability * float(logits[mask].sigmoid().mean()), box, mask


def test_detections_are_those_of_the_protocol(detector, images):
    for image, found in zip(images, detector.detect(images, above=0.01)):
        expected = [
            thing for thing in expected_detections(detector.network, image) if thing[1] > 0.01
        ]
        assert len(found) == len(expected) > 5
        for thing, (name, score, box, mask) in zip(
            sorted(found, key=lambda t: -t.score), sorted(expected, key=lambda t: -t[1])
        ):
            assert (thing.name, thing.box) == (name, box)
            assert torch.equal(thing.mask, mask)
            assert thing.score == pytest.approx(score, abs=1e-5)


def test_no_query_is_suppressed_and_no_more_than_100_are_read():
    classes, logits = torch.zeros(3, 81), torch.full((3, 6, 5), -1.0)
    classes[:, 80] = -9  # surely an object
    classes[1, 7] = 5.0
    logits[1, 2:4, 1:3] = 2.0
    logits[2] = logits[1]
    found = objects(classes, logits, above=-1.0)
    assert len(found) == 100
    assert found[0].name == "truck"
    assert found[0].box == (1, 2, 3, 4)
    assert found[0].mask.sum() == 4
    share = float(classes[1].softmax(0)[7] * torch.tensor(2.0).sigmoid())
    assert found[0].score == pytest.approx(share, abs=1e-6)
    empty = [thing for thing in found if not thing.mask.any()]
    assert empty
    assert all(thing.score == 0 and thing.box == (0, 0, 0, 0) for thing in empty)
    assert [thing.name for thing in objects(classes, logits)] == ["truck"]  # above 0.3


def test_batches_change_nothing(detector, images):
    one, both = detector.detect(images, above=0.01), detector.detect(images, above=0.01, batch=2)
    for left, right in zip(one, both):
        assert [(a.name, a.box) for a in left] == [(b.name, b.box) for b in right]
        torch.testing.assert_close(
            torch.tensor([a.score for a in left]),
            torch.tensor([b.score for b in right]),
            atol=1e-5,
            rtol=0,
        )


@pytest.mark.parametrize("wrong", [torch.rand(2, 3, 8, 8) * 2, torch.rand(3, 8, 8)])
def test_images_of_another_range_or_shape_are_refused(detector, wrong):
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        detector.detect(wrong)


def test_a_folder_in_transformers_format_is_the_same_network(detector, folder, images):
    loaded = ObjectDetector.load(str(folder))
    assert loaded.protocol == f"geneval-hf {by_content(str(folder))}, at most 1333 x 800, fp32"
    assert loaded.network.dtype == torch.float32
    for name, value in detector.network.state_dict().items():
        assert torch.equal(value, loaded.network.state_dict()[name]), name


def test_the_published_checkpoint_is_converted(tmp_path):
    state = {
        name: torch.full((1,), 0.5).expand(shape) for name, shape in shapes(**FULL).items()
    }  # a small file of the real sizes
    torch.save({"meta": {"CLASSES": NAMES}, "state_dict": state}, tmp_path / FILE)
    loaded = ObjectDetector.load(str(tmp_path))
    assert loaded.protocol == f"geneval-mmdet {by_content(str(tmp_path))}, at most 1333 x 800, fp32"
    assert (loaded.network.class_predictor.weight == 0.5).all()
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())
    assert sum(p.numel() for p in loaded.network.parameters()) == 68_741_083


def test_weights_of_another_network_are_told(folder, tmp_path):
    CLIPVisionConfig().save_pretrained(tmp_path / "clip")
    with pytest.raises(
        MetricError,
        match=r"is a clip_vision_model of .* is a mask2former of COCO's 80: choose another source",
    ):
        ObjectDetector.load(str(tmp_path / "clip"))
    panoptic = network().config
    panoptic.num_labels = 133
    panoptic.save_pretrained(tmp_path / "panoptic")
    with pytest.raises(MetricError, match="of 133 classes"):
        ObjectDetector.load(str(tmp_path / "panoptic"))
    network().config.save_pretrained(tmp_path / "less")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("class_predictor.bias")
    save_file(tensors, tmp_path / "less" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MetricError, match=r"lacks 1 of geneval's tensors, class_predictor.bias"):
        ObjectDetector.load(str(tmp_path / "less"))
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(
        MetricError, match=r"no place in transformers' network for backbone.conv1.weight"
    ):
        ObjectDetector.load(str(tmp_path / "other.pth"))


def test_weights_that_are_not_there_are_told(tmp_path):
    with pytest.raises(MetricError, match=r"holds no config.json, which geneval needs"):
        ObjectDetector.load(str(tmp_path))
    with pytest.raises(
        MetricError,
        match=r"geneval needs config.json of facebook/mask2former-swin-small.* .275 MB.*FOLDER",
    ):
        ObjectDetector.load()
    with pytest.raises(MetricError, match=f"needs {FILE} of someone/weights"):
        ObjectDetector.load(f"someone/weights/{FILE}")
    network().config.save_pretrained(tmp_path)
    with pytest.raises(
        MetricError, match="cannot be loaded as geneval, a Mask2FormerForUniversalSegmentation"
    ):
        ObjectDetector.load(str(tmp_path))
