"""What `scripts/cuda_prepare.py` makes and `scripts/cuda_check.py` measures."""
