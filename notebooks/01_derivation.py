# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Derivation: the DMD gradient, equation by equation
#
# Appendix A of the paper derives the gradient of Distribution Matching Distillation (DMD): equations (10) to (36). This notebook
# walks through it with code. Student and teacher are so small that their densities are known exactly, so each equation can be
# checked against a number computed in another way. Then it looks at the additions of DP-DMD, (6) to (8).
#
# | part | question | equations |
# | --- | --- | --- |
# | 1 to 4 | Is the score form the gradient of the KL divergence? | (4), (10) to (36) |
# | 5 | Why add noise, and what does the code compute? | (5) |
# | 6 | Why does this objective lose modes? And does it, with noise? | |
# | 7, 8 | What is the target of the first step, and in which space is it compared? | (6), (7), (39) to (41) |
# | 9 | What does the normaliser do to the direction? | |
# | 10 | What does the gradient stop cut? | (8) |
#
# Reading time is about 30 minutes; it runs in less than half a minute on one CPU core. It ends with a table of every identity, with
# the largest error found and the error allowed.

# %% tags=["parameters"]
import os

SHORT = "WORKBENCH_SHORT" in os.environ  # the settings of CI: seconds instead of minutes
SEED = 0
DRAWS = 20_000 if SHORT else 400_000  # samples of a Monte Carlo mean
SEEDS = 500 if SHORT else 2_000  # starting noises of the teacher's paths
LEVELS = 10 if SHORT else 25  # noise levels of an average over t

# %%
import math

import torch
import torch.nn.functional as F

from workbench.core.mixture import GaussianMixture
from workbench.core.objectives.diversity import diversity_loss, secant_anchor
from workbench.core.objectives.dmd import dmd_gradient, surrogate
from workbench.core.prediction import EPS, VELOCITY, Prediction
from workbench.core.sampler import sample, walk
from workbench.core.schedules import FlowSchedule, VPSchedule, perturb
from workbench.core.seeds import stream
from workbench.lab import begin
from workbench.lab import derivation as d
from workbench.lab import derivation_figures as figures
from workbench.lab import derivation_noise as dn

session = begin(seed=SEED)
FLOW, checks = FlowSchedule(1.0), {}  # checks: claim -> (largest error, error allowed)

# %% [markdown]
# ## 1. The loss: KL divergence (4), (10)
#
# The teacher $q$ is a mixture of two Gaussians, at $-2$ (weight 0.35) and $+2$ (weight 0.65). The student is one map of Gaussian
# noise, bent by a tanh:
#
# $$x = G_\theta(z) = m + a\,z + b\,\tanh\big(c\,(z - d)\big), \qquad z \sim \mathcal N(0, 1), \qquad \theta = (m, a, b, c, d).$$
#
# It is not Gaussian, but its density is exact: $G_\theta$ is increasing, so $p_\theta(G(z)) = \mathcal N(z) / G'(z)$. DMD minimises
# the *reverse* KL divergence, an average over the **student's** samples:
#
# $$\mathcal L = \mathrm{KL}(p_\theta \,\|\, q) = \int p_\theta \log\frac{p_\theta}{q}\,dx \quad (10)
# \;=\; \mathbb E_{z}\big[\log p_\theta(G(z)) - \log q(G(z))\big] \quad (4)$$
#
# The next cell computes both. The first needs an integral over $x$ and the inverse of $G$; the second only samples, which is why it
# is the form that a large model can use. Look at the right panel: the integrand is large where the student puts mass and the teacher
# has none. Where the teacher has the most mass it is only slightly below zero, and it is zero wherever the student has none.

# %%
teacher = GaussianMixture(
    torch.tensor([0.35, 0.65]).double(),
    torch.tensor([[-2.0], [2.0]]).double(),
    torch.tensor([0.25, 0.25]).double(),
    FLOW,
)
student = d.BentStudent(torch.tensor([0.3, 0.7, 1.0, 1.5, -0.2], dtype=torch.float64))
line, noise_line = (
    d.QuadratureGrid.line(-8, 8, 8001),
    d.QuadratureGrid.line(-9, 9, 4001),
)  # of x, and of z

log_p, log_q = student.log_density(line.x), d.log_density(teacher, line.x)
over_x, over_z = (
    float(d.kl(log_p, log_q, line)),
    float(d.kl_of_student(student.theta, teacher, noise_line)),
)
print(f"(10) over x: {over_x:.10f}\n(4)  over z: {over_z:.10f}")
checks["(4) = (10)"] = abs(over_x - over_z), 1e-9
figures.kl_figure(line.x, log_p, log_q)

# %% [markdown]
# Both give 1.32 nats. All of it, and more, comes from the student's mass between the modes.
#
# ## 2. Its gradient (11) to (13): the constant drops out
#
# Differentiate under the integral. The product rule gives a term 1, from $p\,\partial \log p = \partial p$:
#
# $$\frac{\partial \mathcal L}{\partial\theta_k} = \int \frac{\partial p_\theta}{\partial\theta_k}\,
# \Big[\log p_\theta - \log q + 1\Big]\,dx. \quad (13)$$
#
# The cell takes central differences of the KL divergence itself (the number to be explained), then the integral with and without
# the 1. They agree, because a density keeps its mass: $\int \partial p_\theta / \partial\theta_k\,dx = \partial 1/\partial\theta_k = 0$.

# %%
exact = d.finite_differences(
    lambda theta: d.kl(d.BentStudent(theta).log_density(line.x), log_q, line), student.theta
)
change = d.finite_differences(
    lambda theta: d.BentStudent(theta).log_density(line.x).exp(), student.theta
).T  # dp / dtheta [N, 5]
with_one = line.integral(change * (log_p - log_q + 1)[:, None])
without = line.integral(change * (log_p - log_q)[:, None])
print("      of the KL    (13)         without the 1")
for name, *row in zip(d.PARAMETERS, exact, with_one, without):
    print(f"d/d{name} " + " ".join(f"{float(value):+12.8f}" for value in row))
checks["(13) is the gradient of (10)"] = float((with_one - exact).abs().max()), 1e-6
checks["the 1 in (13) drops out"] = float((with_one - without).abs().max()), 1e-9

# %% [markdown]
# ## 3. How a density moves: the continuity equation (14) to (26)
#
# (13) needs $\partial p_\theta/\partial\theta_k$, which is unknown for an image model. The way out is to look at samples. Change
# $\theta_k$ a little and each sample moves with velocity $\partial G_\theta(z)/\partial\theta_k$. All samples at $x$ move on
# average with
#
# $$u_k(x) = \mathbb E\Big[\tfrac{\partial G_\theta(z)}{\partial\theta_k} \,\Big|\, G_\theta(z) = x\Big], \qquad
# \frac{\partial p_\theta}{\partial\theta_k} = -\nabla\!\cdot\!\big(p_\theta\,u_k\big). \quad (26)$$
#
# This is conservation of mass, as for a fluid. Here exactly one $z$ leads to each $x$, so $u_k(x)$ is one number, not a mean. The
# figure draws both sides of (26) for each parameter: wide and pale the finite difference of the density at a fixed $x$, dashed minus
# the divergence of the flow. Read the panels as motion: $m$ moves the density to the right, $a$ widens it.

# %%
flow = line.divergence(log_p.exp()[:, None] * student.velocities(line.x))
error = float((change + flow).abs().max())
print(
    f"largest difference of the two sides: {error:.1e}, where the sides reach {float(change.abs().max()):.2f}"
)
checks["(26) continuity equation"] = error, 2e-5
figures.continuity_figure(line.x, change, -flow, d.PARAMETERS)

# %% [markdown]
# The curves coincide. The remaining difference, about $10^{-6}$, comes from the grid: halving its step divides it by four.
#
# ## 4. The score form (27) to (36)
#
# Put (26) into (13) and integrate by parts. The derivative moves from the flow to the bracket, the boundary terms vanish, and the 1
# disappears because its derivative is 0:
#
# $$\frac{\partial\mathcal L}{\partial\theta_k} = \int p_\theta\,u_k\cdot\nabla\big[\log p_\theta - \log q\big]dx \quad (30)
# \;=\; \mathbb E_z\Big[\tfrac{\partial G_\theta(z)}{\partial\theta_k}\cdot
# \underbrace{\big(s_\theta - s_q\big)}_{\Delta s}(G_\theta(z))\Big]. \quad (36)$$
#
# The last step is the law of total expectation: a mean over $x$ of a conditional mean is a mean over $z$. Now there is no density and no
# inverse left, only samples, their Jacobian (which `backward()` applies) and two scores, which diffusion models provide.
#
# The table shows three ways to one number: finite differences of the KL divergence, (36) with the integral over $z$, and (36) as used
# in practice, a mean over random draws with its standard error.

# %%
weights = d.log_normal(noise_line.x, 0.0, 1.0).exp()[:, None]
by_quadrature = noise_line.integral(weights * d.score_form(student, teacher, noise_line.x))
draws = d.score_form(
    student, teacher, torch.randn(DRAWS, generator=stream(SEED, "z"), dtype=torch.float64)
)
mean, spread = draws.mean(0), draws.std(0) / math.sqrt(DRAWS)
print("      of the KL    (36) integral  (36) from draws")
for name, *row in zip(d.PARAMETERS, exact, by_quadrature, mean, spread):
    print("d/d{} {:+12.8f} {:+12.8f}   {:+.4f} ± {:.4f}".format(name, *map(float, row)))
checks["(36) is the gradient of (10)"] = float((by_quadrature - exact).abs().max()), 1e-6
checks["(36) from draws, in standard errors"] = float(((mean - exact) / spread).abs().max()), 4.5

# %% [markdown]
# To eight digits the score form **is** the gradient. The derivation needs no approximation. The approximations of practice come
# from elsewhere: the fake network's score is learned, the teacher's is guided, and both are taken at noised samples.
#
# ## 5. Why noise, and what the code computes
#
# (5) takes the scores at $x_t = \alpha_t x + \sigma_t\varepsilon$, not at $x$. The reason is in the next figure. Let the student be a
# narrow Gaussian $\mathcal N(m, s^2)$, as narrow as the teacher's modes, and look at $d\,\mathrm{KL}_t/dm$:
#
# - **Left:** the student is on the left mode. At $t = 0$ the gradient is zero: the scores agree there, and nothing in them shows that
#   another mode exists. With noise the modes overlap, and the gradient (negative: it pushes $m$ to the right) points to the other one.
# - **Right:** the student is at $-1$, next to that mode. At $t = 0$ the gradient grows like $1/s^2$: thin supports that miss
#   each other have an enormous score difference. With noise it stays finite for every $s$.

# %%
times, near_times = [n / 40 for n in range(41)], [n / 100 for n in range(36)]
fine, on, near = d.QuadratureGrid.line(-9, 9, 3001), {}, {}
for width in (0.3, 0.1, 0.03):
    narrow = GaussianMixture(
        teacher.weights, teacher.means, torch.full((2,), width**2, dtype=torch.float64), FLOW
    )
    on[width] = [dn.pull(-2.0, width, narrow, t, fine) for t in times]
    near[width] = [dn.pull(-1.0, width, narrow, t, fine) for t in near_times]
print(
    "next to a mode, at t = 0:",
    {width: f"{values[0]:.1f}" for width, values in near.items()},
    "=",
    "1 / s²",
)
checks["next to a mode the force is 1 / s², relative"] = (
    max(abs(values[0] * width**2 - 1) for width, values in near.items()),
    5e-3,
)
checks["on a mode the force at t = 0"] = max(abs(values[0]) for values in on.values()), 1e-6
figures.noise_figure(times, on, near_times, near)

# %% [markdown]
# On the left the three widths give one curve: at $t \approx 0.6$ the noise hides the width and shows the weights.
#
# **What the code computes.** A network predicts $\hat x_0$, and
# $s_{\rm fake} - s_{\rm real} = \frac{\alpha}{\sigma^2}(\hat x_0^{\rm fake} - \hat x_0^{\rm real})$.
# `dmd_gradient` returns $g = \hat x_0^{\rm fake} - \hat x_0^{\rm real}$, and `surrogate` is a scalar whose gradient in $x$ is $g$ over the number of
# elements. One more $\alpha_t$ comes from $\partial x_t/\partial\theta = \alpha_t\,\partial G/\partial\theta$, which (5) hides in $w_t$. So
#
# $$\nabla_\theta\,\mathrm{KL}\big(p_t \,\|\, q_t\big) = \frac{\alpha_t^2}{\sigma_t^2}\;
# \mathbb E\Big[\Big(\tfrac{\partial G}{\partial\theta}\Big)^{\!\top} g\Big].$$
#
# The cell runs the workbench's own two functions on a plane: student $x = \mu + s z$, two modes, an exact fake, `backward()`. It compares
# with finite differences of the exact KL divergence at three noise levels.

# %%
plane = GaussianMixture(
    torch.tensor([0.35, 0.65]),
    torch.tensor([[-1.5, 0.5], [1.0, -0.5]]),
    torch.tensor([0.2, 0.4]),
    FLOW,
)
plane64 = GaussianMixture(
    plane.weights.double(), plane.means.double(), plane.variances.double(), FLOW
)
theta, square, worst = (
    torch.tensor([0.4, -0.2, 0.6], dtype=torch.float64),
    d.QuadratureGrid.square(7, 281),
    0.0,
)
for t in (0.2, 0.5, 0.8):
    truth = d.finite_differences(lambda at, t=t: dn.diffused_kl(at, plane64, t, square), theta)
    batches = dn.surrogate_gradients(theta, plane, t, 20, DRAWS // 20, stream(SEED, "surrogate", t))
    mean, spread = batches.mean(0), batches.std(0) / math.sqrt(20)
    worst = max(worst, float(((mean - truth) / spread).abs().max()))
    print(
        f"t = {t}: "
        + ", ".join(
            f"{float(v):+.4f} (code {float(m):+.4f} ± {float(e):.4f})"
            for v, m, e in zip(truth, mean, spread)
        )
    )
checks["(5) by the workbench's code, in standard errors"] = worst, 5.0

# %% [markdown]
# ## 6. Mode seeking
#
# Now let a single Gaussian fit the two modes. Between reverse KL and forward KL, $\mathrm{KL}(q\|p)$, lies a continuous family, Minka's
# alpha-divergences ([MSR-TR-2005-173](https://www.microsoft.com/en-us/research/publication/divergence-measures-and-message-passing/);
# we call the index $\beta$, since $\alpha$ is the schedule's):
#
# $$D_\beta = \frac{1 - \int q^{\beta} p^{1-\beta}\,dx}{\beta(1-\beta)}, \qquad D_0 = \mathrm{KL}(p\|q), \quad D_1 = \mathrm{KL}(q\|p).$$
#
# We take this family, not a weighted sum of the two ends, because parts 2 to 4 hold for it with one change. Its gradient is (36)
# with a weight, as f-distill ([arXiv 2502.15681](https://arxiv.org/abs/2502.15681)) derives for every f-divergence:
#
# $$\nabla_\theta D_\beta = \mathbb E_z\Big[\big(q/p_\theta\big)^{\beta}\,\big(\tfrac{\partial G}{\partial\theta}\big)^{\!\top}\Delta s\Big].$$
#
# DMD is $\beta = 0$: a sample in a region that the teacher visits often and the student rarely counts no more than any other. The cell
# checks the weighted form at $\beta = 1/2$ and $1$ first. Then it follows the local minima, from each mode upwards and from the wide fit
# downwards. Look at the end of each branch.

# %%
for beta in (0.5, 1.0):
    weighted = noise_line.integral(weights * d.score_form(student, teacher, noise_line.x, beta))
    truth = d.finite_differences(
        lambda at, beta=beta: d.alpha_divergence(
            d.BentStudent(at).log_density(line.x), log_q, line, beta
        ),
        student.theta,
    )
    checks[f"(36) weighted, β = {beta:g}"] = float((weighted - truth).abs().max()), 1e-5
wide_line = d.QuadratureGrid.line(-12, 12, 1201)
wide_q, betas = d.log_density(teacher, wide_line.x), [n / 40 for n in range(41)]
branches = {
    "from the left mode": (betas, d.gaussian_branch(wide_q, wide_line, betas, -2.0, 0.5)),
    "from the right mode": (betas, d.gaussian_branch(wide_q, wide_line, betas, 2.0, 0.5)),
    "from the wide fit": (betas[::-1], d.gaussian_branch(wide_q, wide_line, betas[::-1], 0.6, 2.0)),
}
found = {beta: [dict(zip(*branch))[beta] for branch in branches.values()] for beta in betas}
fits = {beta: min(found[beta], key=lambda fit: fit[2]) for beta in (0.0, 0.25, 0.5, 0.75, 1.0)}
for beta, fit in fits.items():
    print("β = {:4}: best mean {:+.3f}, std {:.3f}, D {:.3f}".format(beta, *fit))
checks["forward KL matches mean and std"] = (
    max(abs(fits[1.0][0] - 0.6), abs(fits[1.0][1] - math.sqrt(0.25 + 4 - 0.36))),
    1e-3,
)
checks["reverse KL on mode k is −log w_k"] = (
    max(abs(found[0.0][0][2] + math.log(0.35)), abs(found[0.0][1][2] + math.log(0.65))),
    1e-3,
)
figures.family_figure(wide_line.x, wide_q, fits, branches)

# %% [markdown]
# - **Forward KL** ($\beta = 1$) has one minimum, the moments of the teacher: mean 0.6, std 1.97. It covers both modes and the gap.
# - **Reverse KL** ($\beta = 0$) has two, one per mode. On mode $k$ it costs $-\log w_k$: dropping 65 % of the teacher's mass costs
#   1.05 nats, dropping 35 % costs 0.43. To drop a mode of 1 % costs 0.01. Nothing in the loss objects to losing rare modes.
# - Between them the minima appear and vanish. The best fit jumps from wide to narrow near $\beta = 0.57$, but the narrow ones exist
#   already: the right mode holds a student up to about 0.6, the left one up to about 0.5.
#
# **Is it only that one Gaussian cannot do better?** No. The bent student can cover both modes well. The next cell minimises reverse KL
# with it from three starts: wide, and narrow on each mode.

# %%
starts = {
    "wide start": [0.0, 1.0, 0.5, 1.0, 0.0],
    "start on the left mode": [-2.0, 0.5, 0.05, 1.0, 0.0],
    "start on the right mode": [2.0, 0.5, 0.05, 1.0, 0.0],
}
ends = {
    name: d.minimised(
        lambda at: d.kl_of_student(at, teacher, noise_line),
        torch.tensor(start, dtype=torch.float64),
    )
    for name, start in starts.items()
}
reached = {name: float(d.kl_of_student(end, teacher, noise_line)) for name, end in ends.items()}
for name, value in reached.items():
    print(f"{name}: reverse KL {value:.3f}")
checks["the bent student can cover both: reverse KL"] = reached["wide start"], 0.1
checks["but stays on a mode: KL + log w"] = (
    max(
        abs(reached["start on the left mode"] + math.log(0.35)),
        abs(reached["start on the right mode"] + math.log(0.65)),
    ),
    2e-3,
)
figures.endings_figure(
    line.x, log_q, {name: d.BentStudent(end).log_density(line.x) for name, end in ends.items()}
)

# %% [markdown]
# One student, one loss, three ends. With this capacity the collapse is not a property of the minimum. It is where the optimiser stays
# after it has lost a mode: samples are drawn from the student, none falls on the lost mode, so no term pushes back. DP-DMD adds a
# term that does, on the first step.
#
# **Does noise change this?** Part 5 suggests that it might: at large $t$ a student on one mode feels the other. The cell minimises averages over
# $t$ for the Gaussian student, from each mode. First $\mathrm{KL}_t$ with equal weights; then with $\sigma_t^2/\alpha_t^2$, which is equivalent to the plain
# $x_0$-space $g$ of the code, with $t$ uniform.

# %%
coarse, noisy = d.QuadratureGrid.line(-12, 12, 721), {}
for name, weight in (("equal weights", lambda t: 1.0), ("x0 space", lambda t: (t / (1 - t)) ** 2)):
    for mode in (-2.0, 2.0):
        end = d.minimised(
            lambda at, weight=weight: dn.weighted_kl(at, teacher, weight, LEVELS, coarse),
            torch.tensor([mode, math.log(0.525)]).double(),
        )
        noisy[name, mode] = end
        print(f"{name}, from {mode:+.0f}: mean {float(end[0]):+.3f}, std {float(end[1].exp()):.3f}")
checks["equal weights: distance from its mode"] = (
    max(abs(float(noisy["equal weights", mode][0]) - mode) for mode in (-2.0, 2.0)),
    0.2,
)
checks["x0 space: both starts end at one fit"] = (
    float((noisy["x0 space", -2.0] - noisy["x0 space", 2.0]).abs().max()),
    1e-3,
)

# %% [markdown]
# With equal weights the noise moves the two minima a little, and both stay. In $x_0$ space there is one minimum left, and it covers both
# modes: the weight $\sigma^2/\alpha^2$ favours large $t$. So **"reverse KL seeks modes" is a statement about $t = 0$; the choice of
# $w_t$ decides how much of it remains.** This is a student of two parameters with an exact fake and all $t$ together. It does not say that
# DMD keeps its modes on images, where it loses them in practice. It says that the loss alone does not settle it, and that a lost mode can also come
# from the fake network's lag, the guidance, the few steps, or modes too thin for the weights to reach (try widths of 0.05).
#
# ## 7. The target of the first step: a chord (6)
#
# DP-DMD gives the student's first step its own target. The teacher walks $K$ Euler steps from the same noise $x_1$ to $z_{t_K}$, and
#
# $$v_{\rm target} = \frac{x_1 - z_{t_K}}{1 - t_K} \quad (6) \;=\; \frac{1}{1 - t_K}\sum_{k<K}(t_k - t_{k+1})\,v_k .$$
#
# It is the chord of the teacher's path, hence the time-weighted mean of the velocities along it. One Euler step of the student with
# $v_{\rm target}$ from $t = 1$ to $t_K$ lands on $z_{t_K}$ exactly. The cell checks both for every $K$ of $T = 30$.
#
# Then look at $x_1 - v_{\rm target}$, the $x_0$ to which the extended chord leads. At $K = 1$ it is the tangent at pure noise, where
# the teacher knows nothing about the image: the target is the **mean of all data, the same for each seed**. At $K = T$ it is the teacher's sample.
# The right panel shows the transition from one to the other: its error, its spread over seeds (both in units of the samples'
# spread), and the share of seeds whose target is nearest to the mode where the teacher ends. The left panel draws seed 0.

# %%
angles = torch.arange(5) * 2 * math.pi / 5 + 0.3
ring = GaussianMixture(
    torch.tensor([0.3, 0.25, 0.2, 0.15, 0.1]),
    2 * torch.stack([angles.cos(), angles.sin()], 1),
    torch.full((5,), 0.04),
    FLOW,
)
x1, steps = torch.randn(SEEDS, 2, generator=stream(SEED, "x1")), FLOW.sampling_times(30)
stages = list(sample(ring, x1, None, steps))
chords = [secant_anchor(x1, stage.x_s, steps[k].expand(SEEDS)) for k, stage in enumerate(stages, 1)]
checks["(6) is the mean velocity"] = (
    max(float((dn.mean_velocity(stages[:k]) - v).abs().max()) for k, v in enumerate(chords, 1)),
    2e-5,
)
checks["(6) lands on the anchor"] = (
    max(
        float((x1 + (steps[k] - 1) * v - stages[k - 1].x_s).abs().max())
        for k, v in enumerate(chords, 1)
    ),
    2e-6,
)

targets, last = [x1 - v for v in chords], stages[-1].x_s
curves = dn.anchor_curves(targets, last, ring.means)
print(" K   t_K    error  spread  right mode")
for k in (1, 2, 5, 10, 15, 20, 30):
    print(
        f"{k:2d}  {float(steps[k]):.3f}  "
        + "   ".join(f"{values[k - 1]:.2f}" for values in curves.values())
    )
checks["K = 1: spread of the targets"] = curves["spread over seeds"][0], 1e-2
path = torch.stack([x1[0], *(stage.x_s[0] for stage in stages)])
marks = {
    f"K = 5, shift {shift}": float(FlowSchedule(shift).sampling_times(30)[5]) for shift in (3, 1)
}
figures.chord_figure(
    path, {k: targets[k - 1][0] for k in (1, 10, 20)}, ring.means, steps[1:], curves, marks
)

# %% [markdown]
# The chord is a compromise. A small $K$ is cheap and its target is almost the tangent: nearly the same for all seeds. A large $K$ knows the
# mode but costs teacher steps, and it leaves the later steps less to do. SD3.5-M's shift of 3 moves $K = 5$ to
# $t_K = 0.94$, close to the noise; on this mixture that decides very little. How early an image's layout is decided is a question about
# images, which the notebooks on the `scenes` world can answer and this one cannot.
#
# ## 8. Velocity or $x_0$: (7) and (41) at $t = 1$
#
# (7) compares velocities, (41) compares $x_0$. For a flow $\hat x_0 = x_t - t\,v$, so the squared $x_0$ error is $t^2$ times the squared
# velocity error. The first step starts at $t = 1$: there **(7) and (41) are the same number for the same target** (the targets (6) and (39) still differ), and `diversity_loss` is one function.
#
# For an eps teacher (40) divides by $\alpha$. At SDXL's $t = 1$, $\alpha = 0.068$: an error in $\hat\varepsilon$ becomes
# $\sigma/\alpha$ times larger in $\hat x_0$. The last line shows the effect on rounding alone:
# $\hat\varepsilon$ stored in bf16, read as $\hat x_0$.

# %%
raw, target, x_t = (torch.randn(64, 4, 8, 8, generator=stream(SEED, "raw", n)) for n in range(3))
for t in (1.0, 0.75, 0.5, 0.25):
    first, truth = (Prediction(v, x_t, torch.full((64,), t), VELOCITY, FLOW) for v in (raw, target))
    in_x0, in_velocity = (
        float(diversity_loss(first, truth.x0)),
        float((first.velocity - truth.velocity).square().mean()),
    )
    print(
        f"flow, t = {t:4}: x0 error / velocity error = {in_x0 / in_velocity:.6f}, t² = {t * t:.6f}"
    )
    checks[f"x0 error = t² velocity error, t = {t:g}, relative"] = (
        abs(in_x0 / in_velocity / t**2 - 1),
        1e-5,
    )
vp, ones = VPSchedule.scaled_linear(), torch.ones(64)
eps, truth, rounded = (Prediction(v, x_t, ones, EPS, vp) for v in (raw, target, raw.bfloat16()))
magnified = math.sqrt(float(diversity_loss(eps, truth.x0)) / float((raw - target).square().mean()))
print(
    f"eps, t = 1: an eps error is {magnified:.2f} times larger in x0; bf16 alone: RMS "
    f"{math.sqrt(float(diversity_loss(rounded, eps.x0))):.3f} in x0"
)
checks["(40) magnifies by σ/α = 14.6"] = abs(magnified - 14.6), 0.1

# %% [markdown]
# ## 9. The normaliser: no sample turns, the batch does
#
# Practice divides each sample's $g$ by one number: $\mathrm{mean}|x_t - \hat x_0^{\rm real}|$ in the released script,
# $\mathrm{mean}|x - \hat x_0^{\rm real}|$ in DMD2. One positive number per sample cannot turn that sample's gradient.
# But a parameter's gradient is a **sum over samples**, and a sum with other weights points elsewhere.
# So the normaliser is a choice of $w$, per sample and noise level.
#
# The cell uses two modes of different widths in 16 dimensions and an affine student $x = Az + b$ with 272 parameters. It prints the angle between
# the parameter gradients over all levels and at one level, with the angle between two halves of the draws as a measure of chance. `KL_t` is
# $\alpha^2/\sigma^2\,g$: the plain mean of the KL gradients. The figure shows the weights.

# %%
means = torch.randn(2, 16, generator=stream(SEED, "means"))
wide = GaussianMixture(torch.tensor([0.35, 0.65]), means, torch.tensor([0.1, 0.4]), FLOW)
for name, t in (
    ("all levels", FLOW.draw_times(200_000, stream(SEED, "t"))),
    ("t = 0.5 alone", torch.full((200_000,), 0.5)),
):
    reweighted = dn.Reweighted.of(wide, means.mean(0), 0.8, t, stream(SEED, "normaliser", name))
    cosine = min(
        float(
            F.cosine_similarity(
                reweighted.gradients["none"], reweighted.gradients[rule], dim=1
            ).min()
        )
        for rule in ("released", "dmd2")
    )
    print(
        f"{name}: a sample keeps its direction (cosine {cosine:.6f}); the batch turns by "
        + ", ".join(
            f"{rule} {reweighted.turned(rule):.1f}°" for rule in ("released", "dmd2", "KL_t")
        )
        + f"; chance {reweighted.chance():.1f}°"
    )
    checks[f"one sample turns, {name}: 1 − cosine"] = abs(1 - cosine), 1e-5
    checks[f"the batch turns, {name}: chance / angle"] = (
        reweighted.chance() / reweighted.turned("released"),
        0.8,
    )

levels = [(n + 0.5) / 30 for n in range(30)]
reweighted = dn.Reweighted.of(
    wide, means.mean(0), 0.8, torch.tensor(levels).repeat_interleave(300), stream(SEED, "levels")
)
bands = {
    rule: w.reshape(30, 300).quantile(torch.tensor([0.1, 0.5, 0.9]), dim=1).tolist()
    for rule, w in reweighted.weights.items()
}
figures.weights_figure(levels, bands)

# %% [markdown]
# No sample turns. The batch turns by about ten degrees with `released`, several times more than chance, and with `dmd2` by two over all
# levels, which is chance, and by four at one level, nearly twice chance. So "the DMD gradient" of two code bases can point in different directions on the same batch, with the same two networks.
#
# - `none` ($x_0$ space) already contains a choice: against `KL_t`, the plain mean over $t$, it turns the most. That is part 6's choice of $w_t$.
# - `released` and `dmd2` are about flat above $t = 0.5$. Below, both denominators go to zero with $t$, and the weight rises tenfold and more: they
#   give small $t$ back a part of the weight that $x_0$ space took away.
# - At one level the batch turns too, because the weights differ from sample to sample (the pale bands). The script draws one $t$ per batch,
#   so within an update this is the only turn; between updates the levels are weighted as drawn here.
#
# The angle depends on the mixture; the turn itself does not. On images the mean runs over 65,536 numbers (SDXL) or 262,144 (SD3.5-M), and samples differ less.
#
# ## 10. The gradient stop (8)
#
# DP-DMD detaches the output of step 1. DMD's gradient then reaches steps 2 to 4 and not step 1; the diversity loss reaches step 1 alone.
# In `walk` this is `detach_after=1`. The cell walks a student of four steps, whose two modes are in the wrong place, without and with the stop,
# and prints the norm of each loss's gradient in the output of each step. "Small" would not do: the claim is exactly 0.

# %%
moved = GaussianMixture(ring.weights, (0.7 * ring.means).requires_grad_(), ring.variances, FLOW)
times, t = FLOW.sampling_times(4), torch.full((SEEDS,), 0.5)
for stop in (0, 1):
    stages = list(walk(moved, x1, None, times, detach_after=stop))
    x = stages[-1].x_s
    with torch.no_grad():
        x_t = perturb(FLOW, x, torch.randn(x.shape, generator=stream(SEED, "stop")), t)
        gap = dmd_gradient(x, ring(x_t, t), moved(x_t, t))
    losses = {
        "DMD": surrogate(x, gap),
        "diversity": diversity_loss(stages[0].prediction, targets[4]),
    }
    reach = {name: dn.step_gradients(stages, loss) for name, loss in losses.items()}
    for name, norms in reach.items():
        print(
            f"detach_after={stop}  {name:9}  "
            + "  ".join(f"step {k}: {norm:.2e}" for k, norm in enumerate(norms, 1))
        )
checks["(8) DMD's gradient in step 1, stopped"] = reach["DMD"][0], 0.0
checks["(8) diversity's gradient in steps 2 to 4"] = max(reach["diversity"][1:]), 0.0
assert min(reach["DMD"][1:]) > 0
assert reach["diversity"][0] > 0

# %% [markdown]
# ## Summary
#
# Each line is a claim of this notebook, the largest error found and the error allowed.

# %%
for claim, (found_error, allowed) in checks.items():
    print(f"{claim:52} {found_error:8.1e}   allowed {allowed:.0e}")
assert all(found_error <= allowed for found_error, allowed in checks.values())
session.end()
