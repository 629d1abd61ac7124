"""Autograd functions that save fewer activations than torch's own. Plain torch, any device and precision."""
