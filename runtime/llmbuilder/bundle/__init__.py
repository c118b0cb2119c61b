"""The exported directory: its manifest, and the proof that its files are what the manifest says."""
