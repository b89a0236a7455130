"""A GGUF file as a checkpoint: it is read once and kept as an ordinary checkpoint folder.

    files      which files make one model, and their digest
    contents   metadata and tensors, checked as they are read
    families   what llama.cpp's converter did to a family's settings and weights, and its inverse
    rope       the scaling of rotary positions
    splits     the pre-tokenizers that ``tokenizer.ggml.pre`` names
    tokenizer  ``tokenizer.json`` and its neighbours
    cache      the folder in the cache: written tensor by tensor, there whole or not at all

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md,
https://github.com/ggml-org/llama.cpp (convert_hf_to_gguf.py, src/llama-vocab.cpp, src/models).
"""
