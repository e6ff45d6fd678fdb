"""Learned scorers of single images: quality, preference and agreement with the prompt."""
