"""Trains an embedded teacher from scratch: the autoencoder, then text encoders and denoising
network jointly.

    python -m workbench scenes make-teacher --out FOLDER
        the flow teacher, in one process
    python -m workbench scenes make-teacher --out FOLDER --family sdxl
        the eps teacher, which shares FOLDER's autoencoder
    torchrun --nproc-per-node 2 -m workbench scenes make-teacher ...
        one process per core, gradients averaged

Both stages save their whole state every minute and continue where they stopped, also with more
steps than before. The network learns to denoise with two aids that are dropped afterwards: a linear
read-out of `cell_facts` from its middle layer, and an exponential average of its weights (kept as
the result). The eps teacher starts from the flow teacher's text encoders when FOLDER has them.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from workbench.core.schedules import VPSchedule, perturb
from workbench.io.files import write_atomically
from workbench.io.strict_json import to_json
from workbench.scenes.autoencoder import (
    FACTS,
    AutoencoderLoss,
    cell_facts,
    facts_loss,
    new_autoencoder,
)
from workbench.scenes.grammar import draw_requests
from workbench.scenes.networks import (
    SIZES,
    new_text_encoder,
    new_tokenizer,
    new_transformer,
    new_unet,
    save_pipeline,
)
from workbench.scenes.renderer import draw_scenes, render_scenes
from workbench.scenes.teacher_recipe import TeacherRecipe

DEFAULT = TeacherRecipe()


def text_embeddings(encoders: list[nn.Module], ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Both pipelines' tokens [B, 12, 128]: the encoders' last but one hidden states side by side;
    and each one's projection.
    """
    outputs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    return torch.cat([output.hidden_states[-2] for output in outputs], -1), [
        output.text_embeds for output in outputs
    ]


def read_out(head: nn.Linear, hidden: Tensor, facts: Tensor) -> Tensor:
    """`facts_loss` of `head` on hidden states [B, 16, C], 4 x 4 positions of 2 x 2 cells each."""
    read = head(hidden).unflatten(1, (4, 4)).unflatten(3, (-1, 2, 2))  # [B, 4, 4, classes, 2, 2]
    return facts_loss(read.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3), facts)


class FlowLoss(nn.Module):
    """Eq. (3) for the SD3 transformer and its text encoders, plus the read-out; everything that
    stage two trains.
    """

    def __init__(self, facts: float):
        super().__init__()
        self.transformer, self.facts = new_transformer(), facts
        self.text_encoder, self.text_encoder_2 = new_text_encoder(), new_text_encoder()
        self.middle = len(self.transformer.transformer_blocks) // 2
        self.head = nn.Linear(self.transformer.inner_dim, 4 * sum(FACTS))

    def embed(self, ids: Tensor, empty_tokens: int) -> tuple[Tensor, Tensor]:
        """The result of StableDiffusion3Pipeline.encode_prompt for the ids, with
        `max_sequence_length=empty_tokens`.
        """
        tokens, pooled = text_embeddings([self.text_encoder, self.text_encoder_2], ids)
        empty = tokens.new_zeros(len(ids), empty_tokens, tokens.shape[-1])
        return torch.cat([tokens, empty], 1), torch.cat(pooled, -1)

    def forward(
        self,
        x0: Tensor,
        facts: Tensor,
        ids: Tensor,
        noise: Tensor,
        t: Tensor,
        empty_tokens: int = 0,
    ):
        """The loss and its parts, from latents and noise [B, 8, 8, 8], facts [B, 2, 8, 8], token
        ids [B, 12] and times [B].
        """
        tokens, pooled = self.embed(ids, empty_tokens)
        kept = {}
        hook = self.transformer.transformer_blocks[self.middle].register_forward_hook(
            lambda module, args, output: kept.update(hidden=output[1])
        )
        at = t[:, None, None, None]
        velocity = self.transformer((1 - at) * x0 + at * noise, tokens, pooled, t * 1000).sample
        hook.remove()
        flow = (velocity.float() - (noise - x0)).square().mean()
        read = read_out(self.head, kept["hidden"], facts)
        return flow + self.facts * read, {"flow": flow, "facts": read}


class EpsLoss(nn.Module):
    """The eps loss for the SDXL UNet and its text encoders, plus the read-out. A dropped caption
    is all zeros, as SDXL's is.

    The squared error of eps at signal-to-noise ratio s is weighted by min(s, 5) / s (Hang et al.
    2023, arXiv 2303.09556).
    """

    def __init__(self, facts: float):
        super().__init__()
        self.unet, self.facts, self.schedule = new_unet(), facts, VPSchedule.scaled_linear()
        self.text_encoder, self.text_encoder_2 = new_text_encoder(), new_text_encoder()
        self.head = nn.Linear(self.unet.config.block_out_channels[-1], 4 * sum(FACTS))
        for unused in (
            self.text_encoder.text_projection,
            self.text_encoder.text_model.encoder.layers[-1],
            self.text_encoder.text_model.final_layer_norm,
        ):  # SDXL reads only this encoder's hidden state
            unused.requires_grad_(False)

    def forward(
        self,
        x0: Tensor,
        facts: Tensor,
        ids: Tensor,
        noise: Tensor,
        t: Tensor,
        empty_tokens: int = 0,
    ):
        """The loss and its parts, from latents and noise [B, 8, 8, 8], facts [B, 2, 8, 8], token
        ids [B, 12] and times [B]; this family has no `empty_tokens`.
        """
        tokens, (_, pooled) = text_embeddings([self.text_encoder, self.text_encoder_2], ids)
        # the empty caption has its end token where others have a word
        said = (ids[:, 1] != ids[:, -1])[:, None]
        t = (t * self.schedule.levels).ceil().clamp(min=1) / self.schedule.levels
        kept = {}
        hook = self.unet.mid_block.register_forward_hook(
            lambda module, args, output: kept.update(hidden=output)
        )
        given = {"text_embeds": pooled * said, "time_ids": x0.new_tensor(SIZES).expand(len(x0), 6)}
        eps = self.unet(
            perturb(self.schedule, x0, noise, t),
            t * self.schedule.levels - 1,
            tokens * said[..., None],
            added_cond_kwargs=given,
        ).sample
        hook.remove()
        alpha, sigma = self.schedule.alpha_sigma(t)
        weight = (5 * sigma**2 / alpha**2).clamp(max=1)
        wrong = (weight * (eps.float() - noise).square().mean((1, 2, 3))).mean()
        read = read_out(self.head, kept["hidden"].flatten(2).mT, facts)
        return wrong + self.facts * read, {"eps": wrong, "facts": read}


def make_teacher(folder: Path, recipe: TeacherRecipe = DEFAULT, compiled: bool = False) -> Path:
    """Trains (or continues to train) and saves a StableDiffusion3Pipeline in `folder`/teacher, or a
    StableDiffusionXLPipeline in `folder`/teacher-eps; returns that path.
    """
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    # see the distiller: precision is an autocast of our own
    accelerator = Accelerator(mixed_precision="no", cpu=True)
    vae = _autoencoder(work, recipe, accelerator)
    pool = _encoded_scenes(work, recipe, accelerator, vae)
    flow = recipe.family == "sd3"
    out = folder / ("teacher" if flow else "teacher-eps")
    model = _new_flow(recipe, compiled) if flow else _new_eps(recipe, compiled, folder / "teacher")
    model = _denoiser(
        model, work / ("transformer.pt" if flow else "unet.pt"), recipe, accelerator, pool
    )
    if accelerator.is_main_process:
        network = {"transformer": model.transformer} if flow else {"unet": model.unet}
        save_pipeline(
            out,
            vae=vae,
            text_encoder=model.text_encoder,
            text_encoder_2=model.text_encoder_2,
            **network,
        )
        (out / "recipe.json").write_text(to_json(vars(recipe), indent=1))
    accelerator.end_training()
    return out


def _autoencoder(work: Path, recipe: TeacherRecipe, accelerator: Accelerator) -> AutoencoderKL:
    torch.manual_seed(recipe.seed)
    loss = AutoencoderLoss(new_autoencoder())
    batch = recipe.autoencoder_batch // accelerator.num_processes

    def data(step: int, generator: torch.Generator):
        scenes = draw_scenes(draw_requests(batch, generator.initial_seed()), generator)
        return render_scenes(scenes) * 2 - 1, cell_facts(scenes)

    _train(
        loss,
        data,
        work / "autoencoder.pt",
        recipe.autoencoder_steps,
        recipe.autoencoder_rate,
        recipe,
        accelerator,
    )
    vae = loss.vae.eval()
    scenes = draw_scenes(
        draw_requests(min(2048, recipe.scenes), 7), torch.Generator().manual_seed(7)
    )
    with torch.no_grad():
        z = torch.cat(
            [vae.encode(x * 2 - 1).latent_dist.mode() for x in render_scenes(scenes).split(128)]
        )
    vae.register_to_config(scaling_factor=1 / z.std().item(), shift_factor=z.mean().item())
    return vae


@torch.no_grad()
def _encoded_scenes(
    work: Path, recipe: TeacherRecipe, accelerator: Accelerator, vae: AutoencoderKL
) -> dict[str, Tensor]:
    """This process's share of the scenes: scaled latents, facts and token ids."""
    path = work / f"scenes-{accelerator.process_index}-of-{accelerator.num_processes}.pt"
    if path.exists():
        return torch.load(path)
    tokenizer = new_tokenizer()
    parts = {"x0": [], "facts": [], "ids": []}
    share = recipe.scenes // accelerator.num_processes
    for n in tqdm(
        range(0, share, 256), desc="encoding scenes", disable=not accelerator.is_main_process
    ):
        seed = 10_000_000 * (accelerator.process_index + 1) + n
        requests = draw_requests(256, seed)
        scenes = draw_scenes(requests, torch.Generator().manual_seed(seed))
        with torch.autocast("cpu", torch.bfloat16):
            z = vae.encode(render_scenes(scenes) * 2 - 1).latent_dist.mode().float()
        parts["x0"].append(((z - vae.config.shift_factor) * vae.config.scaling_factor).half())
        parts["facts"].append(cell_facts(scenes).to(torch.uint8))
        parts["ids"].append(
            tokenizer(
                [r.text for r in requests], padding="max_length", return_tensors="pt"
            ).input_ids
        )
    pool = {name: torch.cat(values) for name, values in parts.items()}
    write_atomically(path, lambda part: torch.save(pool, part))
    return pool


def _new_flow(recipe: TeacherRecipe, compiled: bool) -> FlowLoss:
    torch.manual_seed(recipe.seed + 1)
    model = FlowLoss(recipe.facts)
    if compiled:  # not the middle block: its hook is new at each step
        for block in (
            b for n, b in enumerate(model.transformer.transformer_blocks) if n != model.middle
        ):
            block.compile(dynamic=False)
    return model


def _new_eps(recipe: TeacherRecipe, compiled: bool, flow_teacher: Path) -> EpsLoss:
    torch.manual_seed(recipe.seed + 1)
    model = EpsLoss(recipe.facts)
    for name in ("text_encoder", "text_encoder_2"):
        if (flow_teacher / name).is_dir():
            encoder = type(model.text_encoder).from_pretrained(
                flow_teacher / name, dtype=torch.float32
            )
            getattr(model, name).load_state_dict(encoder.state_dict())
    if compiled:  # not the middle block, as above
        for block in (*model.unet.down_blocks, *model.unet.up_blocks):
            block.compile(dynamic=False)
    return model


def _denoiser(
    model: nn.Module,
    path: Path,
    recipe: TeacherRecipe,
    accelerator: Accelerator,
    pool: dict[str, Tensor],
) -> nn.Module:
    """Stage two: the weight average of the trained `model`."""
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average))
    empty = new_tokenizer()([""], padding="max_length", return_tensors="pt").input_ids
    batch = recipe.batch // accelerator.num_processes

    def data(step: int, generator: torch.Generator):
        long = (
            recipe.family == "sd3" and step % recipe.long_text_every == recipe.long_text_every - 1
        )
        size = batch // 8 if long else batch
        rows = torch.randint(len(pool["x0"]), (size,), generator=generator)
        ids = pool["ids"][rows]
        dropped = torch.rand(size, generator=generator) < recipe.caption_dropout
        x0 = pool["x0"][rows].float()
        t = torch.randn(size, generator=generator).sigmoid()
        # logit-normal, but no time is rare
        t[: size // 4] = torch.rand(size // 4, generator=generator)
        return (
            x0,
            pool["facts"][rows].long(),
            torch.where(dropped[:, None], empty, ids),
            torch.randn(x0.shape, generator=generator),
            t,
            256 if long else 0,
        )

    _train(model, data, path, recipe.steps, recipe.rate, recipe, accelerator, average)
    return average.module.eval()


def _train(
    model: nn.Module,
    data,
    path: Path,
    steps: int,
    rate: float,
    recipe: TeacherRecipe,
    accelerator: Accelerator,
    average: AveragedModel | None = None,
) -> None:
    """Trains `model` in place to `steps` (AdamW), from `path` if it exists, and saves it every
    minute.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, steps, recipe.warm_up)
    )
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule} | (
        {"average": average} if average else {}
    )
    first = 0
    if path.exists():
        saved = torch.load(path)
        first = saved["step"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    main, log = accelerator.is_main_process, path.with_suffix(".jsonl")
    progress = tqdm(
        range(first, steps),
        desc=path.stem,
        initial=first,
        total=steps,
        disable=not main,
        mininterval=5,
    )
    saved_at = time.monotonic()
    for step in progress:
        seed = ((recipe.seed * 1_000_003 + step) * 64 + accelerator.process_index) + 1
        # plain attention: the CPU's bf16 flash attention has a backward that is seven times slower
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss, shown = wrapped(*data(step, torch.Generator().manual_seed(seed)))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update_parameters(model)
        if main and step % 50 == 49:
            values = {name: round(value.item(), 5) for name, value in shown.items()}
            progress.set_postfix(values)
            with log.open("a") as file:
                file.write(to_json({"step": step + 1, **values}) + "\n")
        if main and (time.monotonic() - saved_at > 60 or step == steps - 1):
            state = {"step": step + 1} | {name: part.state_dict() for name, part in parts.items()}
            write_atomically(path, partial(torch.save, state))
            saved_at = time.monotonic()
    accelerator.wait_for_everyone()


def _rate(step: int, steps: int, warm_up: int) -> float:
    """Share of the learning rate: a warm-up, a plateau, and a fall to zero over the last third, so
    that more steps can be added.
    """
    return min(1.0, (step + 1) / warm_up, 3 * (steps - step) / steps)
