"""A blind pairwise user study: its design, the assignment of trials, the store of answers, the
server, and the analysis. Knows no torch.
"""
