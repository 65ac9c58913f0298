"""What subnets cost: parameters, MACs, activations, and latency on this device."""

from nnabla_ofa.commands.profile import COMMAND

if __name__ == "__main__":
    COMMAND.run()
