"""The method, complete: what is asked for, and everything that trains a few-step student.

Read in this order: `recipe`, `schedules`, `prediction`, `denoiser`, `sampler`, `objectives`,
`distiller`. No file here knows a particular model, a folder or a user interface.
"""
