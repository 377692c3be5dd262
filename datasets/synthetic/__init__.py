"""Synthetic faces: rendered from a seed, with exact keypoints."""
