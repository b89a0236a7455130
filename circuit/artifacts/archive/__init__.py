"""Archives: named arrays in safetensors files, written in any order, resumable."""
