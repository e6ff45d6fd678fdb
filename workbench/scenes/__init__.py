"""The embedded world: captions over coloured shapes, their renderer, detector and networks."""
