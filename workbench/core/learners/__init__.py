"""The `workbench.core.learner.Learner` of torch (one process, DDP, FSDP2) and that of DeepSpeed."""
