"""The seed grid: models by seeds, cell by cell, and its export."""
