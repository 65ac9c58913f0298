"""What every other package stands on: files, processes, the machine, and data of other programs."""
