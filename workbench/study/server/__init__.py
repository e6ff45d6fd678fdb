"""The participants' page and what serves it."""
