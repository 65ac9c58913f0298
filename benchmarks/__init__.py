"""Speed against peers and against the machine; never part of the test suite's timing.

step.py        training step and evaluation: ours, NNabla, nnabla-nas, PyTorch, onnxruntime, the limit
population.py  many subnets evaluated together against one by one
"""
