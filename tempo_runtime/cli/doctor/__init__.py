"""What is known to go wrong on a machine, looked for on this one.

`facts` gathers what there is; `machine` and `artifact` say what that means, and touch nothing.
"""
