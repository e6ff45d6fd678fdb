import itertools

import pytest
import torch

from tests.support.pipelines import tiny_pipeline
from workbench.core import seeds
from workbench.core.denoiser import Guided
from workbench.core.mixture import GaussianMixture
from workbench.core.sampler import rollout, sample, sampled
from workbench.core.schedules import FlowSchedule, VPSchedule
from workbench.models.backends.sd3 import SD3Backend


def test_the_walk_converges_at_first_order_to_the_exact_flow_of_a_gaussian():
    """For p_0 = N(m, v I) the probability flow maps noise z to m + sqrt(v) z exactly; the error
    halves with the step.
    """
    for schedule in (FlowSchedule(1.0), FlowSchedule(3.0), VPSchedule.scaled_linear()):
        mean, variance = torch.tensor([[1.0, -2.0]]), 0.25
        gaussian = GaussianMixture(torch.ones(1), mean, torch.tensor([variance]), schedule)
        z = torch.randn(32, 2, generator=seeds.stream(0, "z"))
        alpha, sigma = schedule.alpha_sigma(torch.ones(1))
        exact = mean + variance**0.5 * (z - alpha * mean) / (alpha**2 * variance + sigma**2).sqrt()
        errors = [
            (sampled(gaussian, z, None, schedule.sampling_times(n)) - exact).abs().mean()
            for n in (20, 40, 80)
        ]
        orders = [torch.log2(a / b).item() for a, b in itertools.pairwise(errors)]
        assert all(0.75 < order < 1.35 for order in orders), (schedule, errors)


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("steps", [4, 7])
def test_latents_equal_those_of_the_diffusers_pipeline(guidance, steps):
    pipeline = tiny_pipeline()
    backend = SD3Backend(pipeline)
    noise = seeds.grid_noise(backend.latent_shape, [0, 1, 2])
    prompts = ["a red circle", "two stars", "a blue shape"]
    theirs = pipeline(
        prompts,
        latents=noise.clone(),
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="latent",
        max_sequence_length=0,
        height=16,
        width=16,
    ).images
    teacher = Guided(backend.denoiser(backend.network), guidance, backend.encode([""]))
    ours = sampled(
        teacher, noise, backend.encode(prompts), backend.schedule.sampling_times(steps, "diffusers")
    )
    print(
        f"guidance {guidance}, {steps} steps: largest difference {(ours - theirs).abs().max():.1e}"
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


def test_decoded_images_equal_those_of_the_diffusers_pipeline():
    pipeline = tiny_pipeline()
    backend = SD3Backend(pipeline)
    latents = seeds.grid_noise(backend.latent_shape, [0, 1])
    z = latents / pipeline.vae.config.scaling_factor + pipeline.vae.config.shift_factor
    theirs = pipeline.image_processor.postprocess(
        pipeline.vae.decode(z.float()).sample.detach(), output_type="pt"
    )
    torch.testing.assert_close(backend.decode(latents), theirs)


def test_sampling_is_lazy_and_can_be_abandoned(backend):
    calls = []
    network = backend.network
    network.register_forward_hook(lambda *_: calls.append(1))
    stages = sample(
        backend.denoiser(network),
        seeds.grid_noise(backend.latent_shape, [0]),
        backend.encode(["a star"]),
        backend.schedule.sampling_times(10),
    )
    assert next(stages).index == 1
    assert next(stages).index == 2
    stages.close()
    assert len(calls) == 2


def test_detaching_cuts_the_graph_after_the_first_step_only(backend):
    noise = seeds.grid_noise(backend.latent_shape, [0, 1])
    condition, times = backend.encode(["a star", "a circle"]), backend.schedule.sampling_times(4)

    def first_step_gradient(detach_after):
        path = rollout(
            backend.denoiser(backend.new_network()),
            noise,
            condition,
            times,
            detach_after=detach_after,
        )
        path.first.raw.retain_grad()
        return torch.autograd.grad(path.x.sum(), path.first.raw, allow_unused=True)[0]

    assert first_step_gradient(detach_after=1) is None
    assert first_step_gradient(detach_after=0).abs().max() > 0


def test_re_noising_equals_the_lcm_scheduler(sdxl):
    """DMD2's 4-step sampler: LCMScheduler at 999, 749, 499, 249, given the same noises."""
    from diffusers import LCMScheduler

    scheduler = LCMScheduler.from_config(sdxl.pipeline.scheduler.config)
    scheduler.set_timesteps(timesteps=[999, 749, 499, 249])
    noise, condition = (
        seeds.grid_noise(sdxl.latent_shape, [0, 1]),
        sdxl.encode(["a red circle", "two stars"]),
    )
    denoiser, times = sdxl.denoiser(sdxl.network), sdxl.schedule.sampling_times(4, "even")
    x, generator = noise, torch.Generator().manual_seed(5)
    for t, index in zip(times, scheduler.timesteps):
        raw = denoiser(x, t.expand(2), condition).raw
        x = scheduler.step(raw, index, x, generator=generator).prev_sample
    ours = torch.Generator().manual_seed(5)
    end = sampled(
        denoiser,
        noise,
        condition,
        times,
        renoise=lambda index: torch.randn(noise.shape, generator=ours),
    )
    assert (end - x).abs().max() < 1e-5 * x.abs().max()


def test_no_new_noise_is_the_ode_and_some_changes_it(backend):
    noise, condition = (
        seeds.grid_noise(backend.latent_shape, [0, 1]),
        backend.encode(["a star", "a circle"]),
    )
    denoiser, times = backend.denoiser(backend.network), backend.schedule.sampling_times(4)
    ends = [
        list(
            sample(
                denoiser,
                noise,
                condition,
                times,
                renoise=seeds.grid_renoise(backend.latent_shape, [0, 1]),
                renoise_fraction=fraction,
            )
        )[-1].x_s
        for fraction in (0.0, 0.5)
    ]
    plain = sampled(denoiser, noise, condition, times)
    torch.testing.assert_close(ends[0], plain, rtol=0, atol=1e-5)
    assert (ends[1] - plain).abs().max() > 0.01


def test_a_re_noised_student_trains_and_samples_by_seed_alone(sdxl):
    from workbench.core.distiller import Distiller
    from workbench.core.objectives import dmd
    from workbench.core.recipe import Recipe
    from workbench.models.model import Model

    recipe = Recipe(
        teacher="sdxl",
        student_sampler="renoise",
        rounds=1,
        batch=2,
        fake_updates_per_round=1,
        teacher_steps=10,
        student_rate=1e-3,
        precision="fp32",
    )
    distiller = Distiller(recipe, sdxl, dmd(), ["a star", "a circle"])
    assert [step.network for step in distiller.rounds()] == ["fake", "student"]
    model = Model(
        "mine", sdxl.denoiser(distiller.result()), distiller.student_times, sampler="renoise"
    )
    noise, condition = seeds.grid_noise(sdxl.latent_shape, [4, 9]), sdxl.encode(["a star"] * 2)
    both = model.sampled(noise, condition, [4, 9])
    alone = model.sampled(noise[1:], condition[1:], [9])
    torch.testing.assert_close(alone, both[1:], rtol=0, atol=1e-4)
    assert not torch.allclose(model.sampled(noise[1:], condition[1:], [8]), alone, atol=1e-3)
