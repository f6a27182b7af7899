"""Networks described by a graph in JSON, as the Keras importer writes it.

The graph is data: a size, named operations from a fixed list, and the order in which they are called.
It travels in `model_args` of a bundle, so a converted Keras model needs neither its file nor Keras:

    {"version": 1, "input": [224, 224],
     "layers": {"conv1": ["conv", {"in": 3, "out": 8, "kernel": [3, 3]}], "relu1": ["relu", {}], ...},
     "calls": [["conv1", [0]], ["relu1", [1]], ...]}

Value 0 is the input, value n what call n made (counted from 1), the last call's value the output. Values of
rank 4 are (N, C, H, W); all others keep the order Keras gives them.
"""
