"""Figures of what was measured: pure functions from data to plotly figures of one theme, for the app, notebooks and reports."""
