"""Where a study is kept: its database, and every way to write to it."""
