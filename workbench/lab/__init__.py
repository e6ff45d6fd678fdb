"""What the notebooks need beside the workbench itself: a first and a last line, pictures, a live
dashboard, and their execution from outside.
"""

from workbench.lab.session import NotebookSession, begin

__all__ = ["NotebookSession", "begin"]
