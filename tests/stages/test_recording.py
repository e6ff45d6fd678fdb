"""Recorded, branching and swapped passes, on tiny random pipelines of both families."""

from dataclasses import replace

import pytest
import torch

from workbench.core.schedules import perturb
from workbench.core.seeds import grid_noise, grid_renoise
from workbench.models.model import Model, teacher_model
from workbench.stages.recording import branched, record, swapped
from workbench.stages.tasks import Swap
from workbench.stages.trajectory import Trajectory

PROMPT = "a red circle"


def student(backend, name="student", steps=3, sampler="ode", seed=0):
    """An untrained student with its own weights."""
    torch.manual_seed(seed)
    network = backend.new_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Model(
        name,
        backend.denoiser(network.eval().requires_grad_(False)),
        backend.schedule.sampling_times(steps),
        sampler=sampler,
    )


def for_one_seed(model):
    """The model on a machine without memory for more."""

    class Small:
        schedule, network = model.denoiser.schedule, model.network

        def __call__(self, x_t, t, condition):
            if len(x_t) > 1:
                raise RuntimeError("out of memory")
            return model.denoiser(x_t, t, condition)

    return replace(model, denoiser=Small())


def recorded(model, backend, seeds=(3, 5), **settings) -> Trajectory:
    return Trajectory.cat(
        [
            event
            for event in record(model, backend, PROMPT, seeds, **settings)
            if isinstance(event, Trajectory)
        ]
    )


def final(model, backend, seeds):
    return model.sampled(
        grid_noise(backend.latent_shape, list(seeds)),
        backend.encode([PROMPT]).expand(len(seeds)),
        list(seeds),
    )


@pytest.mark.parametrize("family", ["backend", "sdxl"])
def test_a_recording_is_the_pass_in_half_precision(family, request):
    backend = request.getfixturevalue(family)
    model = teacher_model(backend, 4, 2.0)
    kept = recorded(model, backend)
    assert kept.x0.shape == (4, 2, 4, 8, 8)
    assert kept.x_t.shape == (5, 2, 4, 8, 8)
    assert kept.seeds == (3, 5)
    torch.testing.assert_close(
        kept.x_t[-1].float(), final(model, backend, (3, 5)), atol=2e-3, rtol=2e-3
    )
    torch.testing.assert_close(
        kept.x_t[0].float(), grid_noise(backend.latent_shape, [3, 5]), atol=2e-3, rtol=0
    )
    alpha, sigma = (part[:-1, None, None, None, None] for part in kept.alpha_sigma.T)
    eps = (kept.x_t[:-1].float() - alpha * kept.x0.float()) / sigma
    alpha, sigma = (
        part[1:, None, None, None, None] for part in kept.alpha_sigma.T
    )  # each state is on the line of x0 and eps
    error = (alpha * kept.x0.float() + sigma * eps - kept.x_t[1:].float()).abs().max() / kept.x_t[
        1:
    ].float().abs().max()
    assert error < 5e-3


def test_a_trajectory_of_a_seed_is_the_same_in_every_batch(backend):
    model = teacher_model(backend, 3, 2.0)
    whole, alone = (
        recorded(model, backend, (0, 1, 2, 3)),
        recorded(model, backend, (0, 1, 2, 3), batch_size=1),
    )
    torch.testing.assert_close(whole.x_t.float(), alone.x_t.float(), atol=2e-3, rtol=2e-3)


def test_a_batch_that_is_too_large_is_recorded_seed_by_seed(backend):
    model = student(backend)

    kept = recorded(for_one_seed(model), backend, (0, 1, 2))
    assert kept.seeds == (0, 1, 2)
    parts = [
        event for event in record(model, backend, PROMPT, (0, 1, 2), 1) if isinstance(event, float)
    ]
    assert parts == sorted(parts)
    assert 0 < parts[0]
    assert parts[-1] <= 1


def test_a_pass_that_is_not_finite_is_named(backend):
    model = student(backend)

    class Wild:
        schedule, network = backend.schedule, model.network

        def __call__(self, x_t, t, condition):
            found = model.denoiser(x_t, t, condition)
            return replace(found, raw=found.raw * float("nan")) if float(t[0]) < 0.9 else found

    with pytest.raises(RuntimeError, match=r"seed 3 is not finite .* from step 2 on"):
        recorded(replace(model, denoiser=Wild()), backend)


def test_a_pass_that_fails_for_one_seed_says_why(backend):
    class Broken:
        schedule = backend.schedule

        def __call__(self, x_t, t, condition):
            raise RuntimeError("the network is broken")

    with pytest.raises(RuntimeError, match="broken"):
        recorded(replace(student(backend), denoiser=Broken()), backend)


def test_branches_share_the_steps_before_them_and_nothing_else(backend):
    model = student(backend, steps=4)
    kept = recorded(model, backend, (3, 5, 8))
    ends = {
        step: torch.cat(list(branched(model, backend, kept, step, 3))).unflatten(0, (3, 3))
        for step in range(4)
    }
    spread = {step: float(end.var(1).mean()) for step, end in ends.items()}
    assert spread[3] < spread[2] < spread[1] < spread[0]
    assert len({float(x) for x in ends[3][:, :, 0, 0, 0].flatten()}) == 9  # no noise twice
    again = torch.cat(list(branched(model, backend, kept, 2, 3, batch_size=2))).unflatten(0, (3, 3))
    torch.testing.assert_close(again, ends[2], atol=1e-4, rtol=1e-4)


def test_a_branch_continues_from_the_belief_noised_again(backend):
    """From the last step of all there is one evaluation left: that of the noised belief."""
    model = student(backend, steps=2)
    kept = recorded(model, backend, (3,))
    seen = []

    class Spied:
        schedule = backend.schedule

        def __call__(self, x_t, t, condition):
            seen.append((x_t, t))
            return model.denoiser(x_t, t, condition)

    (ends,) = branched(replace(model, denoiser=Spied()), backend, kept, 1, 4)
    ((x, t),) = seen
    assert t.tolist() == [float(model.times[1])] * 4
    assert len(ends) == 4
    belief = kept.x0[0, 0].float()
    noise = (x - (1 - t[0]) * belief) / t[0]
    torch.testing.assert_close(x, perturb(backend.schedule, belief.expand_as(x), noise, t))
    assert abs(float(noise.mean())) < 0.1
    assert 0.9 < float(noise.std()) < 1.1


def test_branching_after_the_last_step_is_refused(backend):
    model = student(backend)
    kept = recorded(model, backend)
    for step in (-1, 3):
        with pytest.raises(ValueError, match="after step 0 to 2"):
            list(branched(model, backend, kept, step, 2))


def mixed(first, then, backend, step, seeds=(3, 5), **settings):
    models, levels = {"first": first, "then": then}, min(first.times, then.times, key=len)
    return torch.cat(
        list(
            swapped(
                models.__getitem__,
                Swap("first", "then", step),
                levels,
                backend,
                PROMPT,
                seeds,
                **settings,
            )
        )
    )


def test_the_ends_of_a_swap_are_the_models_alone(backend):
    teacher, few = teacher_model(backend, 7, 2.0), student(backend)
    for first, then in ((teacher, few), (few, teacher)):
        assert torch.equal(mixed(first, then, backend, 0), final(then, backend, (3, 5)))
        assert torch.equal(mixed(first, then, backend, 3), final(first, backend, (3, 5)))
        middle = mixed(first, then, backend, 1)
        assert not torch.equal(middle, final(first, backend, (3, 5)))
        assert not torch.equal(middle, final(then, backend, (3, 5)))


@pytest.mark.parametrize("sampler", ["ode", "renoise"])
@pytest.mark.parametrize("family", ["backend", "sdxl"])
def test_a_model_swapped_with_itself_is_itself(family, sampler, request):
    """Also when noise is drawn between the steps: the second part continues with the noise
    of its own steps.
    """
    backend = request.getfixturevalue(family)
    model = student(backend, steps=4, sampler=sampler)
    for step in range(5):
        torch.testing.assert_close(
            mixed(model, model, backend, step), final(model, backend, (3, 5)), atol=1e-5, rtol=1e-5
        )


def test_a_renoising_student_draws_the_noise_of_its_own_steps_after_a_long_teacher(backend):
    teacher, few = teacher_model(backend, 9, 1.0), student(backend, steps=3, sampler="renoise")
    condition, level = backend.encode([PROMPT]), few.times[1]
    times = torch.cat([teacher.times[teacher.times > level], level[None]])
    x = replace(teacher, times=times).sampled(grid_noise(backend.latent_shape, [3]), condition, [3])
    expected = replace(few, times=few.times[1:]).sampled(x, condition, [3], taken=1)
    torch.testing.assert_close(mixed(teacher, few, backend, 1, (3,)), expected)


def test_a_teacher_that_begins_below_the_level_leaves_the_first_step_out(sdxl):
    """A pass of the eps teacher begins at t = 0.959 or so, a student of many steps has levels
    above that.
    """
    teacher, few = teacher_model(sdxl, 30, 1.0), student(sdxl, steps=29)
    assert float(teacher.times[0]) < float(few.times[1])
    assert mixed(teacher, few, sdxl, 1).isfinite().all()


def test_batches_that_fail_are_swapped_and_branched_seed_by_seed(backend):
    model = student(backend)

    small, other = for_one_seed(model), student(backend, seed=1)
    torch.testing.assert_close(
        mixed(small, other, backend, 1), mixed(model, other, backend, 1), atol=1e-4, rtol=1e-4
    )
    kept = recorded(model, backend)
    a, b = (torch.cat(list(branched(one, backend, kept, 1, 2))) for one in (small, model))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_each_model_keeps_its_own_times_on_its_side(backend):
    teacher, few, evaluated = (
        teacher_model(backend, 6, 1.0),
        student(backend, steps=2),
        {"teacher": [], "few": []},
    )

    def spied(model, name):
        class Spied:
            schedule = backend.schedule

            def __call__(self, x_t, t, condition):
                evaluated[name].append(float(t[0]))
                return model.denoiser(x_t, t, condition)

        return replace(model, denoiser=Spied())

    mixed(spied(teacher, "teacher"), spied(few, "few"), backend, 1, (3,))
    level = float(few.times[1])
    assert evaluated["few"] == [level]
    assert evaluated["teacher"] == [float(t) for t in teacher.times if t > level]


def test_renoising_between_steps_is_named_by_the_step(backend):
    model = student(backend, sampler="renoise")
    condition, noise = backend.encode([PROMPT]), grid_noise(backend.latent_shape, [3])
    stages = list(model.stages(noise, condition, [3]))
    late = list(
        replace(model, times=model.times[1:]).stages(stages[0].x_s, condition, [3], taken=1)
    )
    torch.testing.assert_close(late[-1].x_s, stages[-1].x_s)
    assert not torch.equal(
        grid_renoise(backend.latent_shape, [3])(1), grid_renoise(backend.latent_shape, [3])(2)
    )
