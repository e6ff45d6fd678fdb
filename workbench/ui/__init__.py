"""The interactive workbench: gradio pages over the same functions as the command line. One file a
tab; no torch in here.
"""
