"""One small server for each contender, all with the command line of ``options.py``."""
