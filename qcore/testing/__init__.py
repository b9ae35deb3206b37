"""Random models of one operator, made to hurt, and the comparison with official runtimes.

`draw` is where numbers come from, `cases` has a generator for every operator and form, `models`
writes a call as a .tflite, `conformance` compares, `bugs` is what the runtimes get wrong.
"""
