"""The numbers of the paper's Tables 1 to 5, to stand beside ours.

The surviving text of Table 2 does not name its teacher; its students are SD3-M's, so the teacher is
taken to be SD3-M.
"""

from __future__ import annotations

from typing import NamedTuple

from workbench.core.presets import SD3, SD35, SDXL

PICK, COCO = "pick-a-pic", "coco-10k"
LIST_TITLES = {PICK: "Pick-a-Pic", COCO: "COCO-10K 2014", "geneval": "GenEval"}
TEACHER_TITLES = {SD35: "SD3.5-M", SDXL: "SDXL", SD3: "SD3-M"}
GROUPS = {
    "Diversity": ("DINO", "CLIP"),
    "Quality": ("VQ-R1", "MIQA"),
    "Preference": ("ImgR", "PicS"),
}
OURS = {
    "DINO": "diversity dinov3",
    "CLIP": "diversity clip",
    "VQ-R1": "vq-r1",
    "MIQA": "maniqa",
    "ImgR": "image-reward",
    "PicS": "pickscore",
}
TASK_TITLES = {
    "correct": "Overall",
    "single_object": "Single object",
    "two_object": "Two objects",
    "counting": "Counting",
    "colors": "Colors",
    "position": "Position",
    "color_attr": "Attribute binding",
}


class PaperRow(NamedTuple):
    """A printed row: its label, whether it is image-free, its NFEs, and for each prompt list its
    numbers in the order of the columns.
    """

    label: str
    image_free: bool | None
    evaluations: int | None
    numbers: dict[str, tuple[float, ...]]


def _both(label: str, image_free: bool | None, evaluations: int, *numbers: float) -> PaperRow:
    return PaperRow(label, image_free, evaluations, {PICK: numbers[:6], COCO: numbers[6:]})


def _pick(label: str, *numbers: float) -> PaperRow:
    return PaperRow(label, None, None, {PICK: numbers})


# fmt: off
TABLE_1 = {
    SD35: (_both("Base Model", None, 60, 0.240, 0.221, 4.657, 1.020, 1.007, 21.80, 0.288, 0.204, 4.636, 1.043, 0.910, 22.31),
           _both("DMD", True, 4, 0.137, 0.133, 4.649, 1.016, 1.189, 21.75, 0.210, 0.154, 4.690, 1.060, 1.053, 22.40),
           _both("DMD-LPIPS", False, 4, 0.169, 0.169, 4.598, 1.005, 1.063, 21.62, 0.204, 0.168, 4.599, 1.012, 0.949, 22.29),
           _both("DMD-GAN", False, 4, 0.183, 0.162, 4.525, 0.984, 1.033, 21.63, 0.214, 0.174, 4.584, 0.983, 0.751, 22.02),
           _both("DP-DMD", True, 4, 0.179, 0.182, 4.646, 1.017, 1.142, 21.76, 0.250, 0.182, 4.689, 1.032, 0.988, 22.41)),
    SDXL: (_both("Base Model", None, 100, 0.219, 0.204, 4.675, 1.033, 1.016, 21.96, 0.269, 0.219, 4.637, 1.056, 0.820, 22.54),
           _both("DMD", True, 4, 0.109, 0.133, 4.667, 0.971, 0.951, 21.68, 0.139, 0.143, 4.643, 0.982, 0.712, 22.21),
           _both("DMD-LPIPS", False, 4, 0.136, 0.139, 4.610, 0.976, 0.883, 21.74, 0.181, 0.137, 4.723, 0.984, 0.729, 22.38),
           _both("DMD-GAN", False, 4, 0.126, 0.124, 4.624, 1.019, 1.036, 21.80, 0.157, 0.117, 4.789, 1.030, 0.801, 22.63),
           _both("DP-DMD", True, 4, 0.173, 0.161, 4.591, 0.954, 1.011, 21.75, 0.204, 0.157, 4.765, 1.041, 0.835, 22.45))}
TABLE_2 = {
    SD3: (_both("Base Model", None, 60, 0.230, 0.205, 4.665, 1.042, 1.067, 21.46, 0.278, 0.202, 4.757, 1.065, 1.014, 22.50),
          _both("Hyper-SD", False, 8, 0.234, 0.225, 4.268, 0.917, 0.808, 20.77, 0.297, 0.236, 3.929, 0.924, 0.661, 21.56),
          _both("Flash", False, 4, 0.184, 0.172, 4.625, 1.023, 1.014, 21.62, 0.229, 0.184, 4.517, 0.998, 0.878, 22.38),
          _both("TDM", True, 4, 0.148, 0.167, 4.675, 1.013, 1.134, 21.21, 0.196, 0.172, 4.617, 1.046, 0.998, 21.49),
          _both("DP-DMD", True, 4, 0.162, 0.181, 4.673, 1.001, 1.128, 21.15, 0.197, 0.174, 4.672, 1.048, 1.034, 22.29))}
_BASE = _pick("DMD", 0.137, 0.133, 4.649, 1.016, 1.189, 21.75)
TABLE_3 = {SD35: (_BASE, _pick("K = 1", 0.157, 0.155, 4.578, 0.995, 1.121, 21.62), _pick("K = 3", 0.175, 0.178, 4.648, 1.016, 1.125, 21.67),
                  _pick("K = 5", 0.179, 0.182, 4.646, 1.017, 1.142, 21.76), _pick("K = 10", 0.187, 0.185, 4.589, 1.004, 1.112, 21.78),
                  _pick("K = 30", 0.187, 0.181, 4.602, 1.007, 1.117, 21.71))}
TABLE_4 = {SD35: (_BASE, _pick("λ = 0.01", 0.170, 0.164, 4.672, 1.003, 1.136, 21.81),
                  _pick("λ = 0.05", 0.175, 0.178, 4.648, 1.016, 1.125, 21.67), _pick("λ = 0.08", 0.176, 0.176, 4.662, 1.014, 1.117, 21.71),
                  _pick("λ = 0.1", 0.177, 0.177, 4.662, 1.001, 1.056, 21.64))}
TABLE_5 = {SD35: (PaperRow("Base Model", None, None, {"geneval": (0.66, 0.98, 0.78, 0.64, 0.83, 0.18, 0.53)}),
                  PaperRow("DP-DMD", None, None, {"geneval": (0.65, 0.99, 0.81, 0.60, 0.81, 0.21, 0.48)}))}
