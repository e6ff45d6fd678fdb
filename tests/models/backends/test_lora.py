"""One base, several adapters: the teacher is untouched, gradients stay apart, and diffusers reads
what is saved.
"""

import copy
import dataclasses

import pytest
import torch

from tests.support.distilling import RECIPE
from tests.support.pipelines import tiny_pipeline, tiny_sdxl_pipeline
from workbench.core import seeds
from workbench.core.distiller import Distiller
from workbench.core.objectives import dmd_gan, dp_dmd
from workbench.core.recipe import Recipe
from workbench.core.sampler import rollout, sampled
from workbench.io.files import FolderError
from workbench.models.backends.sd3 import SD3Backend
from workbench.models.backends.sdxl import SDXLBackend
from workbench.models.students import load_student, save_student

PROMPTS = ["a red circle", "two stars"]

DENOISED = dp_dmd(0.05, 2, "denoised")


def at(backend, network, t=0.5):
    noise = seeds.grid_noise(backend.latent_shape, [0, 1])
    return backend.denoiser(network)(noise, torch.full((2,), t), backend.encode(PROMPTS)).raw


def trained(backend, objective=DENOISED, **changes) -> Distiller:
    recipe = dataclasses.replace(RECIPE, lora=4, **changes)
    distiller = Distiller(recipe, backend, objective, PROMPTS)
    list(distiller.rounds(2))
    return distiller


@pytest.fixture(params=[tiny_pipeline, tiny_sdxl_pipeline], ids=["sd3", "sdxl"])
def either(request):
    kind = {tiny_pipeline: SD3Backend, tiny_sdxl_pipeline: SDXLBackend}[request.param]
    return kind(request.param())


def test_a_new_adapter_is_the_teacher_and_training_leaves_the_teacher_bit_identical(either):
    before = at(either, either.network)
    weights = [p.clone() for p in either.network.parameters()]
    assert torch.equal(at(either, either.new_network(lora=4)), before)
    distiller = trained(either)
    assert torch.equal(at(either, either.network), before)
    base = [p for name, p in either.network.named_parameters() if "lora_" not in name]
    assert len(base) == len(weights)
    assert all(map(torch.equal, base, weights))
    student, fake = (
        at(either, distiller.learners["student"].network),
        at(either, distiller.learners["fake"].network),
    )
    assert not torch.equal(student, before)
    assert not torch.equal(fake, before)
    assert not torch.equal(student, fake)
    assert torch.equal(at(either, either.network), before)


def test_there_is_one_base_in_memory(either):
    full = sum(p.numel() for p in either.network.parameters())
    distiller = trained(either)
    adapters = [distiller.learners["student"].network, distiller.learners["fake"].network]
    assert all(adapter.base is either.network for adapter in adapters)
    own = [sum(p.numel() for p in adapter.parameters()) for adapter in adapters]
    assert sum(p.numel() for p in either.network.parameters()) == full + sum(own)
    assert all(0 < count < 0.6 * full for count in own)


def test_gradients_reach_only_the_active_adapter(either):
    one, other = either.new_network(lora=4), either.new_network(lora=4)
    at(either, one).sum().backward()
    assert all(p.grad is None for p in other.parameters())
    assert any(p.grad is not None for p in one.parameters())
    assert all(
        p.grad is None for name, p in either.network.named_parameters() if "lora_" not in name
    )


def test_gradient_checkpointing_recomputes_with_the_students_own_adapter(either):
    """Teacher and fake network are evaluated between the student's forward and backward pass, as
    in a student update.
    """
    student, fake = either.new_network(lora=4), either.new_network(lora=4)
    for adapter in (student, fake):
        for p in adapter.parameters():
            torch.nn.init.normal_(p, std=0.1, generator=seeds.stream(0, "p", p.numel()))
    noise, condition = seeds.grid_noise(either.latent_shape, [0, 1]), either.encode(PROMPTS)

    def gradient():
        student.zero_grad()
        path = rollout(
            either.denoiser(student), noise, condition, either.schedule.sampling_times(2)
        )
        at(either, either.network), at(either, fake)
        path.x.square().sum().backward()
        return torch.cat([p.grad.flatten() for p in student.parameters()])

    plain = gradient()
    either.network.train()
    either.network.enable_gradient_checkpointing()
    torch.testing.assert_close(gradient(), plain, rtol=1e-4, atol=1e-5)


def test_an_adapter_learns_as_the_method_says_also_with_a_head_and_an_average(either):
    distiller = trained(either, dmd_gan(), ema=0.5)
    assert distiller.result() is distiller.average
    assert distiller.average.base is either.network
    assert set(distiller.state_dict()["student"]["network"]) == {
        f"weights.{name}" for name in distiller.learners["student"].network.weights
    }
    again = Distiller(distiller.recipe, either, dmd_gan(), PROMPTS)
    again.load_state_dict(copy.deepcopy(distiller.state_dict()))
    first, second = ([s.losses for s in d.rounds(1)] for d in (distiller, again))
    assert first == second


def test_a_saved_adapter_is_read_back_and_by_diffusers_alone(either, tmp_path):
    distiller = trained(either)
    save_student(distiller, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "pytorch_lora_weights.safetensors",
        "student.json",
    }
    noise, condition = seeds.grid_noise(either.latent_shape, [0, 1]), either.encode(PROMPTS)
    expected = sampled(
        either.denoiser(distiller.result()), noise, condition, distiller.student_times
    )
    model = load_student(tmp_path, either)
    torch.testing.assert_close(model.sampled(noise, condition, [0, 1]), expected, rtol=0, atol=1e-6)

    fresh = tiny_sdxl_pipeline() if isinstance(either, SDXLBackend) else tiny_pipeline()
    fresh.load_lora_weights(tmp_path)
    plain = type(either)(fresh)
    theirs = sampled(plain.denoiser(plain.network), noise, condition, distiller.student_times)
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5)


def test_an_adapter_of_another_teacher_is_refused(tmp_path):
    save_student(trained(SDXLBackend(tiny_sdxl_pipeline())), tmp_path)
    with pytest.raises(FolderError, match="trained on another teacher"):
        load_student(tmp_path, SD3Backend(tiny_pipeline()))
    with pytest.raises(FolderError, match="not of this teacher's architecture"):
        load_student(tmp_path, SD3Backend(tiny_pipeline()), other_teacher=True)


def test_a_base_in_half_precision_takes_adapters_in_fp32():
    backend = SD3Backend(tiny_pipeline().to(torch.bfloat16))
    adapter = backend.new_network(lora=2)
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    assert adapter.dtype == torch.bfloat16
    assert torch.equal(at(backend, adapter), at(backend, backend.network))
    assert Recipe(lora=2).lora == 2


def test_adapters_need_no_global_seed_and_full_students_and_copies_do_not_see_them(
    either, tmp_path
):
    full = Distiller(dataclasses.replace(RECIPE), either, dp_dmd(0.05, 2, "denoised"), PROMPTS)
    save_student(full, tmp_path)
    names = list(either.network.state_dict())
    torch.manual_seed(1)
    first = trained(either)
    torch.manual_seed(2)
    fresh = type(either)(
        tiny_sdxl_pipeline() if isinstance(either, SDXLBackend) else tiny_pipeline()
    )
    torch.manual_seed(3)
    again = trained(fresh)
    assert all(
        map(
            torch.equal,
            first.learners["student"].network.parameters(),
            again.learners["student"].network.parameters(),
        )
    )
    load_student(tmp_path, either)  # not refused as another architecture
    assert list(either.new_network().state_dict()) == names


def test_a_student_that_is_opened_again_is_the_same_adapter(either, tmp_path):
    save_student(trained(either), tmp_path)
    one, two = (load_student(tmp_path, either).denoiser.network for _ in range(2))
    assert one is two


def test_checkpointing_with_a_head_and_adapters_gives_the_same_losses(either):
    kind, new = (
        type(either),
        tiny_sdxl_pipeline if isinstance(either, SDXLBackend) else tiny_pipeline,
    )
    losses = [
        [
            s.losses
            for s in Distiller(
                dataclasses.replace(RECIPE, lora=4, checkpointing=checkpointing),
                kind(new()),
                dmd_gan(),
                PROMPTS,
            ).rounds(2)
        ]
        for checkpointing in ("off", "on")
    ]
    for plain, lean in zip(*losses):
        assert plain == pytest.approx(lean, rel=1e-3)


def test_a_damaged_adapter_file_is_named(either, tmp_path):
    save_student(trained(either), tmp_path)
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"half")
    with pytest.raises(FolderError, match="cannot load the student"):
        load_student(tmp_path, either)
