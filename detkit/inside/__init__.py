"""What happens inside a network: its layers, what they see, and which pixels speak for a box. No PyTorch is needed.

The graph is extended by its inner tensors and run by onnxruntime, or the network is asked again and again about
pictures of which parts are hidden.
"""
