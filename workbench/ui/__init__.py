"""The interactive workbench: gradio pages over the same functions as the command line. One file
per tab; no torch in here.
"""

import os

# before gradio is imported: nothing leaves this machine
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
