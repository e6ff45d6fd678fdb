"""The plotly figures of the stages."""
