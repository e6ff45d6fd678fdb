"""Tools of the notebooks: a first and a last line, pictures, a live dashboard, the derivation's
mathematics, and execution from outside.
"""

from workbench.lab.session import NotebookSession, begin

__all__ = ["NotebookSession", "begin"]
