"""Measuring models on a prompt list: images, readings, numbers and a report, in one folder."""
