"""The SDXL family against diffusers' own pipeline: the same tiny weights and noise, the same
latents.
"""

import pytest
import torch

from tests.support.pipelines import tiny_sdxl_pipeline
from workbench.core import seeds
from workbench.core.denoiser import Guided
from workbench.core.sampler import sampled
from workbench.models.backends.sdxl import SDXLBackend

PROMPTS = ["a red circle", "two stars", "a blue shape"]


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("steps", [4, 50])
def test_latents_equal_those_of_the_diffusers_pipeline(guidance, steps):
    pipeline = tiny_sdxl_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    backend = SDXLBackend(pipeline)
    noise = seeds.grid_noise(backend.latent_shape, [0, 1, 2])
    theirs = pipeline(
        PROMPTS,
        latents=noise.clone(),
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="latent",
        height=16,
        width=16,
    ).images
    teacher = Guided(backend.denoiser(backend.network), guidance, backend.encode([""]))
    ours = sampled(
        teacher, noise, backend.encode(PROMPTS), backend.schedule.sampling_times(steps, "diffusers")
    )
    error = (ours - theirs).abs().max() / theirs.abs().max()
    print(
        f"guidance {guidance}, {steps} steps: largest difference {error:.1e} of the largest latent"
    )
    assert error < 2e-5


def test_a_trailing_student_equals_the_pipeline_with_that_scheduler():
    """The 999, 749, 499, 249 of a 4-step SDXL student: our `even` grid."""
    pipeline = tiny_sdxl_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    backend = SDXLBackend(pipeline)
    pipeline.scheduler = type(pipeline.scheduler).from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    noise = seeds.grid_noise(backend.latent_shape, [3, 4, 5])
    theirs = pipeline(
        PROMPTS,
        latents=noise.clone(),
        num_inference_steps=4,
        guidance_scale=1.0,
        output_type="latent",
        height=16,
        width=16,
    ).images
    # with `trailing` diffusers starts from noise x sigma_max, not from noise x sqrt(1 +
    # sigma_max^2)
    sigma = pipeline.scheduler.sigmas[0]
    ours = sampled(
        backend.denoiser(backend.network),
        noise * sigma / (1 + sigma**2).sqrt(),
        backend.encode(PROMPTS),
        backend.schedule.sampling_times(4, "even"),
    )
    assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()


def test_decoded_images_equal_those_of_the_diffusers_pipeline(sdxl):
    latents = seeds.grid_noise(sdxl.latent_shape, [0, 1])
    vae = sdxl.pipeline.vae
    theirs = sdxl.pipeline.image_processor.postprocess(
        vae.decode(latents / vae.config.scaling_factor).sample.detach(), output_type="pt"
    )
    torch.testing.assert_close(sdxl.decode(latents), theirs)


def test_a_vae_that_overflows_in_half_precision_decodes_in_fp32(sdxl):
    latents = seeds.grid_noise(sdxl.latent_shape, [0, 1])
    expected = sdxl.decode(latents)
    sdxl.pipeline.vae.half().register_to_config(force_upcast=True)
    torch.testing.assert_close(sdxl.decode(latents), expected, rtol=0, atol=2e-3)
    assert sdxl.pipeline.vae.dtype == torch.float32


def test_the_empty_prompt_is_zeros_where_the_pipeline_says_so(sdxl):
    empty, prompt = sdxl.encode(["", "a star"])[0:1], sdxl.encode(["", "a star"])[1:]
    assert not empty.tensors["tokens"].any()
    assert not empty.tensors["pooled"].any()
    assert prompt.tensors["tokens"].any()
    assert prompt.tensors["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]]
    sdxl.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    assert sdxl.encode([""]).tensors["tokens"].any()


def test_a_resolution_sets_the_latents_and_the_size_that_the_network_is_told():
    backend = SDXLBackend(tiny_sdxl_pipeline(), resolution=32)
    assert backend.latent_shape == (4, 16, 16)
    assert backend.encode(["a star"]).tensors["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]]
    with pytest.raises(ValueError, match="not a multiple of 4"):
        SDXLBackend(tiny_sdxl_pipeline(), resolution=30)


def test_a_teacher_that_predicts_velocity_the_diffusion_way_is_refused():
    pipeline = tiny_sdxl_pipeline()
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    with pytest.raises(ValueError, match="predicts 'v_prediction'"):
        SDXLBackend(pipeline)
