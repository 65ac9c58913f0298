"""What every other package stands on: files, processes, the machine, and data of other programs.

files.py writes atomically and locks, container.py is the .h5 file of networks, records.py that of figures
(record_rules.py: what it must hold), machine.py says what a run ran on, comm.py joins processes,
interrupt.py handles Ctrl-C, last_line.py says so under mpirun, unpickler.py reads pickles safely, aliases.py
spares NNabla failing imports.
"""
