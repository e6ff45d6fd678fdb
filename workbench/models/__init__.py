"""Teachers and students: how they are loaded, named, identified and sampled."""
