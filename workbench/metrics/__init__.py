"""Measurements of images: diversity, quality, preference and prompt following, one file per metric.

A metric reads images [B, 3, H, W] in [0, 1] (or features of them), independent of the model that
generated them. Each names its `protocol`; numbers of two protocols are never compared.
"""
