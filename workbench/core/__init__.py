"""The method, complete: a recipe, and everything that trains a few-step student by it.

Read in this order: `recipe`, `schedules`, `prediction`, `denoiser`, `sampler`, `objectives`,
`distiller`. No file here knows a particular model, a folder or a user interface.
"""
