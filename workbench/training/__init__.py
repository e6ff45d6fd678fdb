"""Training on disk: run folders, sweeps over recipes, exports, and plans of memory and time."""
