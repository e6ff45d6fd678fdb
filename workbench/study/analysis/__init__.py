"""Statistics of a study's ballots; knows no database and no server."""
