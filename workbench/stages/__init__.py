"""What each denoising step decides: measurements of recorded trajectories, as pure functions.

    trajectory    a recorded pass and its pictures, decoded when they are looked at
    commitment    when a sample's belief x0 becomes its final image, against other seeds' finals
    branching     how much diversity is left behind step k: within-parent variance and intraclass correlation
    bands         the radial power of x0 by step
    paths         a common plane for many trajectories, and the length of each step
    factors       on scenes: when position, size, colour, ... become what they end up being
    gradients     which term of a method trains which step of the student, and how strongly
    tasks         the names of what an examination does, and what each kind of task finds

Sampling what they need is for `workbench.stages.recording`, all of it on one prompt for
`workbench.stages.analysis`.
"""
