"""How fast the lab is, against what people would otherwise use: `python -m benchmarks`.

Both sides of every comparison are measured in turn, in the same run, so that whatever else the
machine does hits both.
"""
