"""What each denoising step decides: measurements of recorded trajectories, as pure functions.

    trajectory    a recorded pass and its pictures, decoded on first use
    commitment    when a sample's belief x0 becomes its final image, against other seeds' finals
    branching     the diversity left after step k: within-parent variance, intraclass correlation
    bands         the radial power of x0 by step
    paths         a common plane for many trajectories, and the length of each step
    factors       on scenes: when position, size, colour, ... reach their final value
    gradients     which term of a method trains which step of the student, and how strongly
    tasks         the tasks of an analysis, and the result of each kind

`workbench.stages.recording` samples for them; `workbench.stages.analysis` runs all of them on one
prompt.
"""
