"""Measurements of images: diversity, quality, preference and prompt following, one file per metric.

A metric reads images [B, 3, H, W] in [0, 1] (or what was read from them) and knows no model that
made them. Each names its `protocol`; numbers of two protocols are never compared.
"""
