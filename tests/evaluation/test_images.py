"""The images of an evaluation: their noise, their files, and which of them count as there."""

import os

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from workbench.evaluation.images import ImageFolder
from workbench.io.digests import in_full
from workbench.io.png import read_settings
from workbench.models.sampling import OFFICIAL, noise_seed, seed_draws, single_draws

PROMPTS = ["a red circle", "two stars", "a blue shape", "a star", "a circle"]
SHAPE = (4, 8, 8)


def test_every_prompt_and_seed_has_noise_of_its_own():
    assert len({noise_seed(prompt, seed) for prompt in PROMPTS for seed in range(50)}) == 250
    first, second = (draws[0].noise(SHAPE) for draws in seed_draws(PROMPTS[:2], [0]))
    assert not torch.equal(first, second)
    assert torch.equal(
        first,
        torch.randn(SHAPE, generator=torch.Generator().manual_seed(noise_seed(PROMPTS[0], 0))),
    )


def test_single_images_are_those_of_the_first_seeds():
    assert single_draws(PROMPTS, [0, 1]) == [row[:2] for row in seed_draws(PROMPTS, range(9))]


def test_the_official_noise_is_that_of_the_released_scripts():
    """Seeds 0, 1, ... for every prompt; and, for single images, batches of four from a fresh
    generator of seed 42, a last one of one.
    """
    for row in seed_draws(PROMPTS, [0, 7], OFFICIAL):
        assert torch.equal(
            row[1].noise(SHAPE), torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))
        )
    batches = [
        torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(42))
        for count in (4, 1)
    ]
    singles = single_draws(PROMPTS, [0], OFFICIAL)
    for (draw,), expected in zip(singles, torch.cat(batches), strict=True):
        torch.testing.assert_close(draw.noise(SHAPE), expected, rtol=0, atol=0)
    assert len({draw.path for (draw,) in singles}) == 5


def test_images_go_to_files_with_their_settings_and_back(tmp_path):
    folder = ImageFolder.of(tmp_path, "runs/mine", {"steps": 4})
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    ((draw,),) = seed_draws(["a red circle"], [3])
    assert folder.checksums([draw]) == {}
    folder.write(draw, image, {"steps": 4})
    assert folder.path.name.startswith("mine-")
    assert draw.path.startswith("a-red-circle-")
    assert draw.path.endswith("/seed-0003.png")
    assert (folder.read([draw])[0] - image).abs().max() <= 0.5 / 255 + 1e-6
    settings = read_settings(folder.path / draw.path)
    assert len(settings.pop("pixels")) == 12
    assert settings.pop("noise_seed") == noise_seed("a red circle", 3)
    assert settings == {"prompt": "a red circle", "image": "seed-0003", "steps": 4}
    assert (
        ImageFolder.of(tmp_path, "runs/mine", {"steps": 4})
        == folder
        != ImageFolder.of(tmp_path, "runs/mine", {"steps": 8})
    )


def test_a_cut_or_changed_file_counts_as_missing(tmp_path):
    folder = ImageFolder.of(tmp_path, "teacher", {})
    ((draw,),) = seed_draws(["a star"], [0])
    folder.write(draw, torch.rand(3, 32, 32), {})
    file, whole = folder.path / draw.path, (folder.path / draw.path).read_bytes()
    assert draw in folder.checksums([draw])
    middle = len(whole) // 2
    for broken in (
        whole[:middle],
        whole[:-8],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"",
        b"no picture at all",
    ):
        file.write_bytes(broken)
        assert folder.checksums([draw]) == {}
    file.write_bytes(whole)
    assert draw in folder.checksums([draw])


def test_a_picture_that_the_evaluation_did_not_write_counts_as_missing(tmp_path):
    folder = ImageFolder.of(tmp_path, "teacher", {})
    ((first, second),) = seed_draws(["a star"], [0, 1])
    for draw in (first, second):
        folder.write(draw, torch.rand(3, 32, 32), {})
    file = folder.path / first.path
    own = file.read_bytes()
    with Image.open(file) as image:
        chunk, pixels = PngInfo(), image.convert("RGB")
        chunk.add_text("workbench", image.text["workbench"])

    def saved(changed, **settings):
        changed.save(file, **settings)
        return folder.checksums([first])

    assert saved(pixels.resize((24, 24))) == {}  # a thumbnailer
    assert saved(pixels.resize((24, 24)), pnginfo=chunk) == {}  # one that keeps the settings
    assert saved(pixels.point(lambda value: min(value + 1, 255)), pnginfo=chunk) == {}
    assert saved(pixels.convert("L"), pnginfo=chunk) == {}
    assert saved(Image.new("RGB", (32, 32), "red")) == {}
    file.write_bytes((folder.path / second.path).read_bytes())  # of another seed
    assert folder.checksums([first]) == {}
    assert first in saved(pixels, pnginfo=chunk)  # compressed anew, the same picture
    file.write_bytes(own)
    assert first in folder.checksums([first])


def test_reading_in_full_sees_a_change_that_kept_size_and_time(tmp_path):
    folder = ImageFolder.of(tmp_path, "teacher", {})
    ((draw,),) = seed_draws(["a star"], [0])
    folder.write(draw, torch.rand(3, 32, 32), {})
    assert draw in folder.checksums([draw])
    file = folder.path / draw.path
    content, state = bytearray(file.read_bytes()), file.stat()
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert draw in folder.checksums([draw])  # what the shortcut cannot see
    with in_full():
        assert folder.checksums([draw]) == {}


def test_pictures_of_unequal_size_are_named(tmp_path):
    folder = ImageFolder.of(tmp_path, "teacher", {})
    (draws,) = seed_draws(["a star"], [0, 1])
    for draw, side in zip(draws, (8, 16)):
        folder.write(draw, torch.rand(3, side, side), {})
    with pytest.raises(ValueError, match=r"seed-0001.png has 16 x 16 .*others have 8 x 8: delete"):
        folder.read(draws)


def test_files_that_have_not_changed_are_not_read_again(tmp_path, monkeypatch):
    folder = ImageFolder.of(tmp_path, "teacher", {})
    ((first, second),) = seed_draws(["a star"], [0, 1])
    folder.write(first, torch.rand(3, 8, 8), {})
    found = folder.checksums([first, second])
    folder.write(second, torch.rand(3, 8, 8), {})
    read = []
    monkeypatch.setattr(ImageFolder, "_checksum", lambda self, draw: read.append(draw) or 7)
    assert folder.checksums([first, second]) == found | {second: 7}
    assert read == [second]
    (folder.path / "checksums.json").write_text("{")  # broken: everything is looked at
    folder.checksums([first, second])
    assert read == [second, first, second]
