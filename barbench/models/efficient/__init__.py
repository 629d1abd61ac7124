"""Operations of the models in two forms: with few saved activations, or with few launches on a GPU (some in Triton)."""
