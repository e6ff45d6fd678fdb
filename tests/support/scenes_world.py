"""An embedded world with untrained weights, for tests that need every file but no picture."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from workbench.core.recipe import Recipe
from workbench.scenes.autoencoder import new_autoencoder
from workbench.scenes.networks import new_text_encoder, new_transformer, save_pipeline


def write_world(folder: Path) -> Path:
    """Writes teacher/, students/dmd and students/dp-dmd as the package ships them; returns
    `folder`.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = new_autoencoder()
        vae.register_to_config(scaling_factor=1.0, shift_factor=0.0)
        save_pipeline(
            folder / "teacher",
            vae=vae,
            transformer=new_transformer(),
            text_encoder=new_text_encoder(),
            text_encoder_2=new_text_encoder(),
        )
        for name, method in (("dmd", "dmd"), ("dp-dmd", "dp_dmd")):
            write_student(folder / "students" / name, method)
    return folder


def write_student(folder: Path, method: str) -> None:
    """An untrained student in the layout of `workbench.models.loading.save_student`."""
    folder.mkdir(parents=True)
    network, recipe = new_transformer().half(), Recipe(method=method)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()},
        folder / "diffusion_pytorch_model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "config.json").write_text(network.to_json_string())
    (folder / "student.json").write_text(
        json.dumps(
            {
                "method": method,
                "rounds": 3,
                "times": [1.0, 0.75, 0.5, 0.25, 0.0],
                "digest": recipe.digest,
                "recipe": recipe.to_dict(),
            }
        )
    )
