"""How decode workers and the network share the machine: a pool that can be resized, a simulation, and the tuner."""
