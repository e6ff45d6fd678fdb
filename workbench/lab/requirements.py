"""Whether a real model can be worked with here."""

from __future__ import annotations

import torch

from workbench.models.backends.source import TeacherError, pipeline_index


def missing_requirements(teacher: str) -> list[str]:
    """What is missing to distil `teacher`, a pipeline's folder or hub id, in plain words; empty
    when nothing is. Loads no weights.
    """
    missing = (
        []
        if torch.cuda.is_available()
        else ["there is no CUDA GPU: open this notebook on a machine with one"]
    )
    try:
        pipeline_index(teacher)
    except TeacherError as error:
        missing.append(str(error))
    return missing
