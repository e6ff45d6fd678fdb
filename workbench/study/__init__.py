"""A blind pairwise user study: what is asked, who is asked what, how answers are kept, and what
they say. Knows no torch.
"""
