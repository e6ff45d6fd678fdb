"""What a recipe needs in memory and time, without weights or a GPU."""
