import torch

from workbench.core import seeds


def test_a_batch_is_the_same_in_every_split():
    whole = seeds.noise((2, 3), 5, "x1", update=7, samples=range(8))
    split = torch.cat(
        [seeds.noise((2, 3), 5, "x1", update=7, samples=part) for part in (range(4), range(4, 8))]
    )
    assert torch.equal(whole, split)


def test_streams_differ_by_seed_name_update_and_sample():
    draws = [
        seeds.noise((4,), seed, name, update=update, samples=samples)
        for seed, name, update, samples in [
            (0, "a", 0, range(1)),
            (1, "a", 0, range(1)),
            (0, "b", 0, range(1)),
            (0, "a", 1, range(1)),
            (0, "a", 0, range(1, 2)),
        ]
    ]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == 5


def test_grid_noise_of_a_seed_is_a_diffusers_pipelines_and_independent_of_its_neighbours():
    alone = seeds.grid_noise((4, 8, 8), [3])
    among = seeds.grid_noise((4, 8, 8), [1, 3, 5])
    assert torch.equal(alone[0], among[1])
    assert torch.equal(alone, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)))
