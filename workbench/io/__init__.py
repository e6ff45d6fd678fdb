"""What is read or written and knows no model: files, the hub, prompt files, pictures, tables and
report pages.
"""
