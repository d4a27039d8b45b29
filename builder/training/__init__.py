"""Learn the adapter: one linear layer from a frozen encoder to a frozen language model.

Source: Merullo et al., Linearly Mapping from Image to Text Space (arXiv 2209.15162).
"""
