"""An interactive research workbench for Diversity-Preserved Distribution Matching Distillation
(DP-DMD).

Read in this order: schedules, prediction, denoiser, sampler, objectives, distiller. Heavy packages
(diffusers, transformers, gradio) are imported only by the modules that need them, never by `import
workbench`.
"""
