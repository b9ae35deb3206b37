"""Constants whose nearest integers are better ones: chosen by what operators multiply them with.

Between plan and lowering: the scales of the plan stand, and the float model gets weights that lie
on their grid, and biases that make up for the mean error of the weights (docs/tuning.md).
"""
