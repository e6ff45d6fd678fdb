"""Whether this machine can distil a full-size model."""

from __future__ import annotations

import torch

from workbench.models.backends.source import TeacherError, pipeline_index


def missing_requirements(teacher: str) -> list[str]:
    """The missing requirements for distilling `teacher`, a pipeline's folder or hub id, in plain
    words; empty if there are none. Loads no weights.
    """
    missing = []
    if not torch.cuda.is_available():
        missing.append("there is no CUDA GPU: open this notebook on a machine with one")
    try:
        pipeline_index(teacher)
    except TeacherError as error:
        missing.append(str(error))
    return missing
