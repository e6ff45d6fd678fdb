"""GenEval: its rules, the detector it runs on, and its score for one image."""
