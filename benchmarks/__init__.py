"""Speed against peers and against the machine; never part of the test suite's timing.

loader.py      images a second of the data back ends, of a plain Pillow loader, of a plain DALI pipeline
step.py        training step and evaluation: ours, NNabla, nnabla-nas, PyTorch, onnxruntime, the limit
stage.py       images a second of a training stage, by one process or several, on any device
population.py  many subnets evaluated together against one by one
"""
