"""The ablation studies."""
