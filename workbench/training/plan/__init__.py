"""The memory and time that a recipe needs, without weights or a GPU."""
