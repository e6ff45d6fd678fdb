"""Reading and writing without models: files, the hub, prompt files, pictures, tables and report
pages.
"""
