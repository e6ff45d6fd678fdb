"""Real and embedded model families behind `workbench.denoiser.Backend`; the only modules that know integer timesteps."""
