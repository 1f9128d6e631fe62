"""Find known problems on this machine.

`facts` gathers facts about the machine; `machine` and `artifact` draw conclusions and change nothing.
"""
